"""`ch test --from-search`: which figures of a row pass for those of the search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import Tensor

import chop
from chop.actions.replay import SearchRow
from chop.errors import SearchError
from chop.models import get_model
from chop.weight_transforms import WEIGHT_TRANSFORMS, WeightTransform
from tests.conftest import Command


@dataclass(frozen=True)
class Halved(WeightTransform):
    """Divides weights by `halved`."""

    halved: float = 2.0

    def apply(self, weights: Tensor) -> Tensor:
        return weights / self.halved


SPACE = """
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
[search.search_space.seed.seq_blocks_2.config]
name = ["integer"]
weight_width = [4, 8]
{also}
[search.strategy]
name = "brute_force"
[search.strategy.sw_runner.basic_evaluation]
num_samples = 500
[search.strategy.hw_runner.average_bitwidth]
[search.strategy.metrics.accuracy_micro]
[search.strategy.metrics.average_bitwidth]
"""


@pytest.mark.parametrize(
    ("also", "moved", "message"),
    [
        ("", 1 / 500, ""),
        ("", 0.01, "accuracy_micro is"),
        ("data_in_width = [8]\nbias_width = [8]", 1 / 500, "accuracy_micro is"),
    ],
    ids=["a sample by the order of float sums", "more than that", "sums are exact"],
)
def test_a_row_may_differ_by_what_the_order_of_float_sums_makes(
    also: str, moved: float, message: str, ch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "space.toml").write_text(SPACE.format(also=also), encoding="utf-8")
    ch("search", "jsc-tiny", "jsc", "--pretrained", "--config", "space.toml", "--project", "p")
    logged = SearchRow.metrics.fget  # type: ignore[attr-defined]

    def metrics(row: SearchRow) -> dict[str, float]:
        found: dict[str, float] = logged(row)
        return {**found, "accuracy_micro": found["accuracy_micro"] + moved}

    monkeypatch.setattr(SearchRow, "metrics", property(metrics))
    row = ("--from-search", "mase_output/p/software/search_ckpts", "--row", "0")
    _, err = ch("test", *row, status=1 if message else 0)
    assert message in err
    assert ("about 1 of 500 samples" in err) is not bool(message)


@pytest.mark.parametrize("name", ["integer", "NA"])
def test_a_weight_transform_of_a_package_that_is_missing_is_named(name: str, ch: Command, tmp_path: Path) -> None:
    space = SPACE.format(also="weight_halved = [2.0]").replace('"integer"', f'"{name}"')
    (tmp_path / "space.toml").write_text(space, encoding="utf-8")
    with WEIGHT_TRANSFORMS.restored():
        WEIGHT_TRANSFORMS.register("halved")(Halved)
        ch("search", "jsc-tiny", "jsc", "--pretrained", "--config", "space.toml", "--project", "p")
    folder = "mase_output/p/software/search_ckpts"
    told = [ch(action, "--from-search", folder, "--row", "0", status=1)[1] for action in ("test", "transform")]
    with pytest.raises(SearchError) as refused:
        chop.load_study(tmp_path / folder, model=get_model("jsc-tiny"))
    for message in (*told, str(refused.value)):
        assert (
            "has a format that is not known here (unknown weight transform 'halved' (known: rounding, sparsity))"
            in message
        )
        assert "install the package, that registers it" in message
