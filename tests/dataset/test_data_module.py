"""MaseDataModule: loaders for training, fixed rows for measuring, the user's own data."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset

from chop.actions.setup import tell_of_own_batches
from chop.config.options import RunOptions
from chop.dataset import MaseDataModule
from chop.errors import DatasetError

USER_FILE = """
import torch
from torch.utils.data import *

X = torch.arange(100).float().reshape(50, 2)
Y = torch.arange(50) % 3
ROWS = TensorDataset(X, Y)

def plain():
    return {"train": DataLoader(ROWS, 8, shuffle=True), "val": DataLoader(ROWS, 8), "test": DataLoader(ROWS, 8)}

def shuffled(): return {part: DataLoader(ROWS, 8, shuffle=True, drop_last=True) for part in ("train", "val", "test")}
def subset(): return dict(plain(), val=DataLoader(ROWS, 4, sampler=SubsetRandomSampler([3, 5, 7, 9, 11])))
def weighted(): return dict(plain(), train=DataLoader(ROWS, 4, sampler=WeightedRandomSampler(torch.ones(50), 50)))
def sized(batch_size): return {part: DataLoader(ROWS, batch_size) for part in ("train", "val", "test")}

class Stream(IterableDataset):
    def __iter__(self): return iter(ROWS)

def stream(): return dict(plain(), val=DataLoader(Stream(), 8))

class Parts:
    train = val = test = DataLoader(TensorDataset(X, X.sum(1)), 8)
    metrics = {"mae": (lambda p, y: (p[:, 0] - y).abs().mean(), "minimize")}
    @staticmethod
    def loss(p, y): return (p[:, 0] - y) ** 2

def regression(): return Parts

class Rows(Dataset):
    def __init__(self, form): self.form = form
    def __len__(self): return 50
    def __getitem__(self, i): return self.form(X[i]), Y[i]

IMAGES = TensorDataset(torch.zeros(50, 3, 8, 6), Y)
def images(): return {part: DataLoader(IMAGES, 8) for part in ("train", "val", "test")}

def tuples(): return {part: DataLoader(Rows(lambda x: (x, -x)), 8, shuffle=True) for part in ("train", "val", "test")}
def dicts(): return {part: DataLoader(Rows(lambda x: {"a": x, "b": -x}), 8) for part in ("train", "val", "test")}

def counts(): return dict(plain(), num_classes=None, loss=lambda p, y: (p[:, 0] - y) ** 2)
def no_test(): return {"train": 1, "val": 2}
def bad_metric(): return dict(plain(), metrics={"m": lambda p, y: 0})
def one_shot(): return dict(plain(), val=(batch for batch in DataLoader(ROWS, 8)))
def threes(): return dict(plain(), val=[(X, Y, Y)])
def broken():
    return 1 / 0
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "data.py"
    path.write_text(USER_FILE, encoding="utf-8")
    return path


def set_up(name: str, batch_size: int = 64, seed: int = 0) -> MaseDataModule:
    module = MaseDataModule(name, batch_size, seed=seed)
    module.prepare_data()
    module.setup()
    return module


@pytest.fixture
def toy() -> MaseDataModule:
    return set_up("toy_tiny")


@pytest.mark.parametrize("part", ["val", "val_dataloader", "train", "test_dataloader"])
def test_batches_are_exactly_the_first_rows(toy: MaseDataModule, part: str) -> None:
    batches = toy.batches(part, 100, 32)
    assert [len(y) for _, y in batches] == [32, 32, 32, 4]
    whole_x, whole_y = toy.batches(part)[0]
    assert torch.equal(torch.cat([x for x, _ in batches]), whole_x[:100])
    assert torch.equal(torch.cat([y for _, y in batches]), whole_y[:100])


def test_batches_of_the_training_part_ignore_its_shuffling(toy: MaseDataModule) -> None:
    assert torch.equal(toy.batches("train", 50)[0][0], toy.batches("train", 50)[0][0])
    shuffled = next(iter(toy.train_dataloader()))[0]
    assert not torch.equal(shuffled, toy.batches("train", 64)[0][0])


def test_more_rows_than_there_are_gives_all_and_says_so(toy: MaseDataModule, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "chop"):
        batches = toy.batches("val", 10_000)
    assert sum(len(y) for _, y in batches) == 200
    assert "200 samples" in caplog.text


def test_training_order_comes_from_the_seed() -> None:
    first, same, other = (set_up("toy_tiny", seed=seed).train_dataloader() for seed in (1, 1, 2))
    order = [torch.cat([y for _, y in loader]) for loader in (first, same, other)]
    assert torch.equal(order[0], order[1])
    assert not torch.equal(order[0], order[2])


def test_an_epoch_holds_every_row_once(toy: MaseDataModule) -> None:
    x = torch.cat([x for x, _ in toy.train_dataloader()])
    assert len(x) == 1_600
    assert torch.equal(x.sort(0).values, toy.batches("train")[0][0].sort(0).values)


def test_loaders_with_workers_give_the_same_rows() -> None:
    alone = [y for _, y in set_up("toy_tiny").val_dataloader()]
    module = MaseDataModule("toy_tiny", 64, num_workers=1)
    module.setup()
    assert all(torch.equal(a, b) for a, b in zip(alone, [y for _, y in module.val_dataloader()], strict=True))


def test_before_setup_the_error_says_what_to_call() -> None:
    module = MaseDataModule("toy_tiny", 8)
    assert module.dataset_info.num_classes == 2
    for call in (module.train_dataloader, lambda: module.batches("val")):
        with pytest.raises(DatasetError, match=r"setup\(\)"):
            call()


def test_wrong_arguments_are_named(toy: MaseDataModule) -> None:
    with pytest.raises(DatasetError, match="did you mean 'val_dataloader'"):
        toy.batches("vall_dataloader")
    with pytest.raises(DatasetError, match="at least 1"):
        toy.batches("val", 0)
    with pytest.raises(DatasetError, match="batch_size"):
        MaseDataModule("toy_tiny", 0)


def test_a_cache_that_is_not_needed_is_named(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.INFO, "chop"):
        MaseDataModule("toy_tiny", 8, custom_dataset_cache_path=tmp_path).prepare_data()
    assert "needs no cache" in caplog.text


def test_user_data_are_measured_in_stored_order(user_file: Path) -> None:
    for name in ("plain", "shuffled", "stream", "weighted"):
        module = set_up(f"{user_file}:{name}")
        for part in ("train", "val"):
            x, y = module.batches(part, 20)[0]
            assert x[:, 0].tolist() == [2.0 * row for row in range(20)], (name, part)
            assert y.tolist() == [row % 3 for row in range(20)]
        assert sum(len(y) for _, y in module.batches("val")) == 50


def test_a_subset_stays_a_subset(user_file: Path) -> None:
    x, _ = set_up(f"{user_file}:subset").batches("val")[0]
    assert x[:, 0].tolist() == [6.0, 10.0, 14.0, 18.0, 22.0]


def test_training_uses_the_users_own_loader(user_file: Path) -> None:
    module = set_up(f"{user_file}:plain")
    assert isinstance(module.train_dataloader().sampler, RandomSampler)
    assert isinstance(module.val_dataloader().sampler, SequentialSampler)


def test_batch_size_goes_to_a_function_that_takes_it(user_file: Path) -> None:
    sized = set_up(f"{user_file}:sized", batch_size=7)
    assert sized.train_dataloader().batch_size == 7
    assert not sized.has_own_batches


def test_a_batch_size_that_loaders_ignore_is_told_where_it_was_given(
    user_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = set_up(f"{user_file}:plain")
    with caplog.at_level(logging.INFO, "chop"):
        tell_of_own_batches(RunOptions(dataset="mine"), plain)
        assert not caplog.text
        tell_of_own_batches(RunOptions(dataset="mine", batch_size=7), set_up(f"{user_file}:sized", batch_size=7))
        assert not caplog.text
        tell_of_own_batches(RunOptions(dataset="mine", batch_size=7), plain)
    assert "--batch-size 7 is not used: mine takes no batch_size" in caplog.text


def test_facts_of_user_data_are_found_out(user_file: Path) -> None:
    info = set_up(f"{user_file}:plain").dataset_info
    assert (info.num_features, info.num_classes, info.rows) == (2, 3, 150)
    assert set_up(f"{user_file}:regression").dataset_info.num_classes is None
    assert set_up(f"{user_file}:counts").dataset_info.num_classes is None
    assert info.image_size is None
    images = set_up(f"{user_file}:images").dataset_info
    assert (images.num_features, images.image_size) == (3, (8, 6))


def test_an_object_with_loss_and_metrics(user_file: Path) -> None:
    module = set_up(f"{user_file}:regression")
    assert module.loss is not None
    assert module.loss(torch.ones(2, 1), torch.zeros(2)).tolist() == [1.0, 1.0]
    assert module.metrics["mae"][1] == "minimize"
    assert set_up(f"{user_file}:plain").loss is None


def test_tuples_and_dictionaries_are_cut_alike(user_file: Path) -> None:
    pairs = set_up(f"{user_file}:tuples").batches("train", 10, 4)
    assert [len(x[1]) for x, _ in pairs] == [4, 4, 2]
    assert torch.equal(pairs[0][0][0], -pairs[0][0][1])
    named = set_up(f"{user_file}:dicts").batches("val", 10, 4)
    assert [set(x) for x, _ in named] == [{"a", "b"}] * 3
    assert named[2][0]["b"].tolist() == [[-16.0, -17.0], [-18.0, -19.0]]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_test", "returned no test"),
        ("bad_metric", r"metrics\['m'\] must be"),
        ("one_shot", "val is a generator"),
        ("threes", "tuple of 3 where"),
        ("broken", r"data\.py:\d+: ZeroDivisionError"),
        ("brocken", "did you mean 'broken'"),
        ("ROWS", "name a function"),
    ],
)
def test_what_is_wrong_with_user_data_is_said(user_file: Path, function: str, message: str) -> None:
    from chop.errors import ChopError

    with pytest.raises(ChopError, match=message):
        set_up(f"{user_file}:{function}")


def test_data_of_a_user_are_called_their_own_with_the_reference_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(USER_FILE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    by_reference = MaseDataModule("mine.py:plain", 8)
    by_reference.setup()
    assert by_reference.dataset_info.provenance == "mine.py:plain, your own data"
    rows = DataLoader(TensorDataset(torch.ones(8, 2), torch.arange(8) % 2), 4)
    built = MaseDataModule("data", 8, built=dict.fromkeys(("train", "val", "test"), rows))
    built.setup()
    assert built.dataset_info.provenance == "your own data"
