"""What `build_data` may return beside plain tensors, and what is refused with the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from chop.dataset import MaseDataModule, user_data
from chop.errors import ChopError, DatasetError

X, Y = torch.arange(80.0).reshape(10, 8), torch.arange(10) % 3


def parts(form: Callable[[Tensor, Tensor], Any] = lambda x, y: (x, y), **more: Any) -> dict[str, Any]:
    """Three parts of two batches, each made by `form`, and more keys."""
    return {part: [form(X[:6], Y[:6]), form(X[6:], Y[6:])] for part in ("train", "val", "test")} | more


def set_up(built: dict[str, Any]) -> MaseDataModule:
    module = MaseDataModule("mine.py:build_data", 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_data, "load_user_object", lambda reference: lambda: built)
        module.setup()
    return module


def with_labels(y: Tensor, *labels: int) -> Tensor:
    y = y.clone()
    y[: len(labels)] = torch.tensor(labels)
    return y


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (parts(lambda x, y: (x, {"kind": y})), "train set: the targets are a dict with 'kind'"),
        (parts(lambda x, y: (x, None)), "the targets are None"),
        (parts(lambda x, y: (x, [str(own) for own in y])), "no tensor can be made"),
        (parts(lambda x, y: (x, (y, y))), "the targets are 2 tensors"),
        (parts(lambda x, y: (x, y, y)), "yields a tuple of 3"),
        (parts(lambda x, y: (x, y * 1j)), "complex"),
        (parts(lambda x, y: (x.to_sparse(), y)), "sparse"),
        (parts(lambda x, y: (["a", "b"], y)), "holds text"),
        (parts(lambda x, y: (x, y[:2])), r"6 samples but targets \(2,\)"),
        (parts(lambda x, y: ((x, x[:3]), y)), r"x\[1\] is \(3, 8\)"),
        (parts(lambda x, y: (x, torch.full_like(y, -100))), "no sample with a label"),
        (parts(lambda x, y: (x, with_labels(y, -1))), "has a target -1: classes are whole numbers from 0"),
        (parts(num_classes=2), "has a target 2, but num_classes = 2"),
        (parts(num_classes="3"), "num_classes is '3'"),
        (parts(num_classes=0), "num_classes is 0"),
        (parts(metric={}), "unknown key 'metric'; did you mean 'metrics'"),
        (parts(metrics=[1]), "metrics is a list"),
        (parts(metrics={"m": (max, "maximise")}), "did you mean 'maximize'"),
        (parts(metrics={"accuracy": (max, "maximize")}), "name of a metric of ours"),
        (parts(loss="mse"), "loss is 'mse'"),
        (parts(loss=nn.MSELoss), r"return an instance, MSELoss\(\)"),
        (parts(output=1.5), "output is 1.5"),
        (parts(val=[]), "val set is empty"),
        (parts(val=TensorDataset(X, Y)), "single samples where batches belong"),
        (parts(val=DataLoader(TensorDataset(X, Y), batch_size=None)), "single samples where batches belong"),
    ],
)
def test_what_cannot_be_read_is_named(built: dict[str, Any], message: str) -> None:
    with pytest.raises(ChopError, match=message):
        set_up(built)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_whole_numbers_are_int64_and_classes(dtype: torch.dtype) -> None:
    module = set_up(parts(lambda x, y: (x, y.to(dtype))))
    assert module.batches("val")[0][1].dtype is torch.int64
    assert module.dataset_info.num_classes == 3


def test_false_and_true_are_classes_unless_the_data_has_a_loss() -> None:
    assert set_up(parts(lambda x, y: (x, y > 0))).dataset_info.num_classes == 2
    own = set_up(parts(lambda x, y: (x, y > 0), loss=F.mse_loss))
    assert own.dataset_info.num_classes is None
    assert own.batches("val")[0][1].dtype is torch.bool


@pytest.mark.parametrize("more", [{}, {"num_classes": 3}, {"loss": F.cross_entropy}])
def test_samples_without_a_label_are_left_out(more: dict[str, Any]) -> None:
    module = set_up(parts(lambda x, y: (x, with_labels(y, -100, -100)), **more))
    (x, y), *others = module.batches("val")
    assert not others and len(x) == len(y) == 6 and int(y.min()) == 0
    assert module.dataset_info.num_classes == 3
    x, y = module.as_batch((X, with_labels(Y, -100)))
    assert torch.equal(x, X[1:]) and torch.equal(y, Y[1:])


def test_where_targets_are_no_classes_minus_a_hundred_is_a_number() -> None:
    data = parts(lambda x, y: (x, with_labels(y, -100)), num_classes=None, loss=F.mse_loss)
    assert len(set_up(data).batches("val")[0][1]) == 10


def test_batches_of_other_lengths_stay_apart_and_are_cut() -> None:
    module = set_up({part: [(X[:6], Y[:6]), (X[6:, :5], Y[6:])] for part in ("train", "val", "test")})
    assert [tuple(x.shape) for x, _ in module.batches("val")] == [(6, 8), (4, 5)]
    assert [tuple(x.shape) for x, _ in module.batches("val", 8)] == [(6, 8), (2, 5)]


def test_no_batch_is_left_with_one_sample() -> None:
    assert [len(y) for _, y in set_up(parts()).batches("val", None, 3)] == [3, 3, 4]


def test_a_loader_that_uses_its_memory_again_is_read_right() -> None:
    class Reusing:
        def __iter__(self) -> Any:
            memory = torch.empty(5, 8)
            for start in (0, 5):
                yield memory.copy_(X[start : start + 5]), Y[start : start + 5]

    module = set_up(parts() | {"val": Reusing()})
    assert torch.equal(module.batches("val")[0][0], X)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(list(zip(X, Y, strict=True)))


def test_a_stream_with_workers_yields_each_sample_once() -> None:
    module = set_up(parts() | {"train": DataLoader(Stream(), 5, num_workers=2)})
    assert sum(len(y) for _, y in module.batches("train")) == 10
    assert sum(len(y) for _, y in module.train_dataloader()) == 10


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("sampler", "is_told"),
    [
        (WeightedRandomSampler([1.0] + [0.0] * 9, 10), True),
        (RandomSampler(Y, replacement=True), True),
        (RandomSampler(Y, num_samples=4), True),
        (RandomSampler(Y), False),
        (SubsetRandomSampler([1, 2]), False),
        (SequentialSampler(Y), False),
    ],
)
def test_a_sampler_that_measuring_passes_over_is_named(
    sampler: Any, is_told: bool, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=4, sampler=sampler, drop_last=True)
    with caplog.at_level("INFO", "chop"):
        module = set_up(parts() | {part: loader})
    assert sum(len(y) for _, y in module.batches(part)) == (2 if isinstance(sampler, SubsetRandomSampler) else 10)
    told = f"the {part} set: its {type(sampler).__name__} is not used"
    assert (told in caplog.text) is (is_told and part != "train")


def test_targets_of_several_lengths_are_refused() -> None:
    data = {part: [(X[:5], X[:5, :3].long()), (X[5:], X[5:, :4].long())] for part in ("train", "val", "test")}
    with pytest.raises(DatasetError, match="pad them to one length"):
        set_up(data)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (X.index_fill(0, torch.tensor([3, 7]), float("nan")), "in 2 of 10 samples (the first is sample 3, from 0)"),
        (X.index_fill(0, torch.tensor([0]), float("inf")), "in 1 of 10 samples (the first is sample 0, from 0)"),
        (X.index_fill(0, torch.tensor([0]), float("-inf")), ""),  # a mask
        (X, ""),
    ],
)
def test_samples_that_hold_no_numbers_are_told(x: Tensor, told: str, caplog: pytest.LogCaptureFixture) -> None:
    module = set_up(parts() | {"val": [(x[:6], Y[:6]), ({"x": x[6:]}, Y[6:])]})
    list(module.batches("val"))
    found = [record.message for record in caplog.records if "NaN or infinity" in record.message]
    assert len(found) == bool(told) and all(f"the val set holds NaN or infinity {told}" in text for text in found)


def test_what_is_no_data_at_all_is_told_with_its_type() -> None:
    with pytest.raises(DatasetError, match=r"no train, val, test \(its type is int\); it must return a dictionary"):
        set_up(3)  # type: ignore[arg-type]
