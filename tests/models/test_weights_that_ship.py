"""The weights in the package reach what docs/reference/models.md says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chop.dataset import MaseDataModule
from chop.models import MODELS, get_model
from tests.scores import predict, score

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
LEAST = {
    "jsc-tiny": 0.62,
    "jsc-toy": 0.66,
    "jsc-s": 0.71,
    "jsc-mlp": 0.72,
    "toy": 0.9,
    "shapes-cnn": 0.92,
    "reviews-transformer": 0.93,
}


def table() -> dict[str, dict[str, str]]:
    """The rows of the table by model, each `{column: text}`."""
    lines = [
        line.strip("|\n ").split(" | ")
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    return {row[0].strip("`"): dict(zip(lines[0], row, strict=True)) for row in lines[1:]}


@pytest.mark.parametrize("name", sorted(LEAST))
def test_shipped_weights_reach_the_table(name: str) -> None:
    row = table()[name]
    data = MaseDataModule(row["data"], 1024)
    data.setup()
    model = get_model(name, dataset_info=data.dataset_info, pretrained=True).eval()
    scores = score(*predict(model, data.batches("test")), num_classes=data.dataset_info.num_classes)
    assert scores["accuracy_micro"] >= LEAST[name]
    assert scores["accuracy_micro"] == pytest.approx(float(row["accuracy_micro"].split()[0]), abs=2e-4)
    assert scores["accuracy"] == pytest.approx(float(row["accuracy (macro)"].split()[0]), abs=2e-4)
    assert f"{sum(p.numel() for p in model.parameters()):,}" == row["parameters"]


def test_every_model_is_in_the_table() -> None:
    assert set(table()) == set(MODELS) == set(LEAST)
