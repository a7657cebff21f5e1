"""InputGenerator and call_model."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch import nn

from chop.dataset import MaseDataModule
from chop.errors import ChopError
from chop.ir import MaseGraph
from chop.models import get_model, get_model_info
from chop.tools.get_input import InputGenerator, as_keywords, call_model, failures_named


@pytest.fixture
def data() -> MaseDataModule:
    module = MaseDataModule("toy_tiny", 64)
    module.setup()
    return module


def generator(data: MaseDataModule, part: str = "val", most: int | None = None) -> InputGenerator:
    return InputGenerator(data, get_model_info("toy"), "cls", part, most)


def test_gives_batches_as_keywords_of_the_model(data: MaseDataModule) -> None:
    batches = list(generator(data))
    assert [set(batch) for batch in batches] == [{"x"}] * 4
    assert torch.equal(torch.cat([batch["x"] for batch in batches]), data.batches("val")[0][0])
    assert get_model("toy")(**batches[0]).shape == (64, 2)


@pytest.mark.parametrize("part", ["train", "val_dataloader"])
def test_starts_anew_with_the_same_batches(data: MaseDataModule, part: str) -> None:
    inputs = generator(data, part, 2)
    first, second = ([batch["x"] for batch in inputs] for _ in range(2))
    assert len(first) == 2
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_next_works_as_in_the_lab(data: MaseDataModule) -> None:
    inputs = generator(data, "train", 2)
    assert not torch.equal(next(inputs)["x"], next(inputs)["x"])
    with pytest.raises(StopIteration):
        next(inputs)
    assert len(list(islice(inputs, 9))) == 2


def test_an_unknown_part_is_refused(data: MaseDataModule) -> None:
    with pytest.raises(ChopError, match="did you mean 'test'"):
        generator(data, "tests")


def test_inputs_of_three_forms() -> None:
    one, two = torch.ones(2), torch.zeros(2)

    def model(a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tensor(1.0 if b is None else 2.0)

    assert call_model(model, one) == 1
    assert call_model(model, (one, two)) == call_model(model, [one, two]) == 2
    assert call_model(model, {"a": one, "b": two}) == 2
    assert call_model(lambda x: {"loss": None, "logits": x}, one) is one
    assert call_model(lambda x: (x, two), one, 0) is one
    with pytest.raises(ChopError, match="no tensor"):
        call_model(lambda x: {"nothing": 1}, one)
    assert as_keywords({"a": one}) == {"a": one}
    with pytest.raises(ChopError, match="dictionary"):
        as_keywords((one, two))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_of_another_type_are_told_the_cure(dtype: torch.dtype) -> None:
    with pytest.raises(ChopError, match=r"x\.float\(\) in the data set"), failures_named("the model fails"):
        call_model(nn.Linear(4, 3), torch.ones(2, 4, dtype=dtype))
    with pytest.raises(ChopError, match=r"x\.float\(\) in the data set"):
        MaseGraph(nn.Sequential(nn.Linear(4, 3))).observe(torch.ones(2, 4, dtype=dtype))


def test_batch_norm_on_one_sample_is_told_the_cure() -> None:
    with pytest.raises(ChopError, match="batches of two samples or more"), failures_named("the training fails"):
        nn.BatchNorm1d(4).train()(torch.ones(1, 4))
