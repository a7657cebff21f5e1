"""Data as users bring them: every way of measuring finds what plain torch finds on the samples themselves."""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset, WeightedRandomSampler
from torchmetrics.classification import MulticlassAccuracy

from chop.actions.evaluate import test_scores as scores_of
from chop.actions.search import SearchResult, search
from chop.actions.search.run import block_by_block
from chop.actions.setup import Prepared
from chop.actions.train import train
from chop.config.options import RunOptions
from chop.dataset import MaseDataModule
from chop.ir import MaseGraph
from chop.passes.graph import quantize_transform_pass

SAMPLES = {"train": 160, "val": 97, "test": 81}
"""Of batches of 16 the last of val and test hold one sample."""


class Scores(nn.Module):
    """Three scores from eight features, by layers that are worth quantising; `give` makes the outputs of them."""

    def __init__(self, give: Callable[[Tensor, Tensor], Any] = lambda h, scores: scores) -> None:
        super().__init__()
        self.a, self.b, self.give = nn.Linear(8, 16), nn.Linear(16, 3), give

    def forward(self, x: Tensor) -> Any:
        h = F.relu(self.a(x))
        return self.give(h, self.b(h))


class MeanOfSteps(Scores):
    """The same for sequences of any length."""

    def forward(self, x: Tensor) -> Any:
        h = F.relu(self.a(x))
        return self.give(h, self.b(h).mean(1))


class WithMask(Scores):
    """The same with an argument that may be None."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return self.b(F.relu(self.a(x)))


@dataclass
class Outputs:
    """Outputs that are a dataclass."""

    features: Tensor
    scores: Tensor


class Pair(NamedTuple):
    """Outputs that are a named tuple."""

    features: Tensor
    scores: Tensor


def samples(part: str) -> tuple[Tensor, Tensor]:
    """`(samples, 8)` and classes `(samples,)`, the same in every call."""
    generator = torch.Generator().manual_seed(len(part) + 10 * SAMPLES[part])
    x = torch.randn(SAMPLES[part], 8, generator=generator)
    return x, x[:, :3].argmax(1)


def loaders(make: Callable[[Tensor, Tensor], Any]) -> dict[str, Any]:
    return {part: make(*samples(part)) for part in SAMPLES}


def plain(x: Any, y: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(x, y), 16)


class Rows(Dataset[Any]):
    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class Stream(IterableDataset[Any]):
    def __init__(self, x: Tensor, y: Tensor, once: bool) -> None:
        self.rows = list(zip(x, y, strict=True))
        self.left = iter(self.rows) if once else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows) if self.left is None else self.left


def collated(form: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor], Any]:
    """A loader whose batches are what `form` makes of x and y."""

    def collate(rows: Sequence[tuple[Tensor, Tensor]]) -> Any:
        return form(torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows]))

    return lambda x, y: DataLoader(TensorDataset(x, y), 16, collate_fn=collate)


def padded(x: Tensor, y: Tensor) -> DataLoader[Any]:
    """Sequences of 2 to 5 steps, padded batch by batch."""
    rows = [(own.expand(2 + number % 4, 8) * 1.0, own_y) for number, (own, own_y) in enumerate(zip(x, y, strict=True))]

    def pad(batch: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        xs, ys = zip(*sorted(batch, key=lambda row: len(row[0])), strict=True)
        return nn.utils.rnn.pad_sequence(list(xs[:7]), batch_first=True), torch.stack(ys[:7])

    return DataLoader(Rows(rows), 16, collate_fn=pad)


def unlabelled(y: Tensor) -> Tensor:
    y = y.clone()
    y[::4] = -100
    return y


@dataclass
class Case:
    """What `build_data` returns, the model, and how to read its batches and its output by hand."""

    data: Callable[[], dict[str, Any]]
    model: Callable[[], nn.Module] = Scores
    by_hand: Callable[[], dict[str, Any]] | None = None
    pick: Callable[[Any], Tensor] = lambda output: output


CASES: dict[str, Case] = {
    **{
        str(dtype): Case(
            lambda dtype=dtype: loaders(lambda x, y: plain(x, y.to(dtype))), by_hand=lambda: loaders(plain)
        )
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    },
    "targets (n, 1)": Case(lambda: loaders(lambda x, y: plain(x, y[:, None])), by_hand=lambda: loaders(plain)),
    "targets in a list": Case(lambda: loaders(collated(lambda x, y: (x, y.tolist()))), by_hand=lambda: loaders(plain)),
    "targets in an array": Case(
        lambda: loaders(collated(lambda x, y: (x.numpy(), y.int().numpy()))), by_hand=lambda: loaders(plain)
    ),
    "targets as single tensors": Case(
        lambda: loaders(collated(lambda x, y: [x, tuple(y)])), by_hand=lambda: loaders(plain)
    ),
    "no label": Case(
        lambda: loaders(lambda x, y: plain(x, unlabelled(y))),
        by_hand=lambda: loaders(lambda x, y: plain(x[unlabelled(y) >= 0], y[unlabelled(y) >= 0])),
    ),
    "classes in float": Case(
        lambda: {**loaders(lambda x, y: plain(x, y.float())), "num_classes": 3}, by_hand=lambda: loaders(plain)
    ),
    "shuffled, last batch dropped": Case(
        lambda: loaders(lambda x, y: DataLoader(TensorDataset(x, y), 16, shuffle=True, drop_last=True)),
        by_hand=lambda: loaders(plain),
    ),
    "drawn with weights": Case(
        lambda: loaders(
            lambda x, y: DataLoader(TensorDataset(x, y), 16, sampler=WeightedRandomSampler(y + 1.0, len(y)))
        ),
        by_hand=lambda: loaders(plain),
    ),
    "a batch sampler": Case(
        lambda: loaders(
            lambda x, y: DataLoader(
                TensorDataset(x, y),
                batch_sampler=torch.utils.data.BatchSampler(RandomSampler(range(len(y))), 16, True),
            )
        ),
        by_hand=lambda: loaders(plain),
    ),
    "a list of batches": Case(lambda: loaders(lambda x, y: list(plain(x, y))), by_hand=lambda: loaders(plain)),
    "a stream": Case(lambda: loaders(lambda x, y: DataLoader(Stream(x, y, False), 16)), by_hand=lambda: loaders(plain)),
    "a stream that drops": Case(
        lambda: loaders(lambda x, y: DataLoader(Stream(x, y, False), 16, drop_last=True)),
        by_hand=lambda: loaders(plain),
    ),
    "a stream that is read once": Case(
        lambda: loaders(lambda x, y: DataLoader(Stream(x, y, True), 16)), by_hand=lambda: loaders(plain)
    ),
    "padded batch by batch": Case(lambda: loaders(padded), MeanOfSteps),
    "dictionaries with labels": Case(
        lambda: loaders(collated(lambda x, y: collections.UserDict(x=x, mask=None, labels=y))),
        WithMask,
        by_hand=lambda: loaders(plain),
    ),
    "None beside tensors": Case(
        lambda: loaders(collated(lambda x, y: ((x, None), y))), WithMask, by_hand=lambda: loaders(plain)
    ),
    "a pair": Case(
        lambda: {**loaders(plain), "output": 1}, lambda: Scores(lambda h, s: (h, s)), pick=lambda output: output[1]
    ),
    "names": Case(
        lambda: {**loaders(plain), "output": "scores"},
        lambda: Scores(lambda h, s: {"features": h, "scores": s}),
        pick=lambda output: output["scores"],
    ),
    "a dataclass": Case(
        lambda: {**loaders(plain), "output": "scores"}, lambda: Scores(Outputs), pick=lambda output: output.scores
    ),
    "a named tuple": Case(
        lambda: {**loaders(plain), "output": "scores"}, lambda: Scores(Pair), pick=lambda output: output.scores
    ),
    "nested": Case(
        lambda: {**loaders(plain), "output": (1, "out")},
        lambda: Scores(lambda h, s: (h, {"out": s, "other": h})),
        pick=lambda output: output[1]["out"],
    ),
    "logits": Case(
        lambda: loaders(plain), lambda: Scores(lambda h, s: {"h": h, "logits": s}), pick=lambda output: output["logits"]
    ),
    "a loss beside the scores": Case(
        lambda: loaders(plain), lambda: Scores(lambda h, s: (s.mean(), s)), pick=lambda output: output[1]
    ),
    "a tuple of one": Case(
        loaders_of := lambda: loaders(plain), lambda: Scores(lambda h, s: (s,)), pick=lambda o: o[0]
    ),
    "squeezed": Case(
        loaders_of, lambda: Scores(lambda h, s: s.unsqueeze(-1).squeeze()), pick=lambda o: o.reshape(-1, 3)
    ),
}


def set_up(folder: Path, built: dict[str, Any]) -> MaseDataModule:
    """A data module of `build_data` that returns `built`."""
    from chop.dataset import user_data

    module = MaseDataModule(f"{folder / 'mine.py'}:build_data", 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_data, "load_user_object", lambda reference: lambda: built)
        module.setup()
    return module


def fitted(case: Case) -> nn.Module:
    """A model that is right for most samples, so that errors show."""
    torch.manual_seed(0)
    model, batches = case.model(), list((case.by_hand or case.data)()["train"])
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(8):
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(case.pick(model(x)), y).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def found_by_hand(model: nn.Module, case: Case, part: str) -> dict[str, float]:
    """Metrics from the loaders themselves, with torchmetrics and torch."""
    pairs = [(case.pick(model(x)), y) for x, y in (case.by_hand or case.data)()[part]]
    predictions, targets = torch.cat([p for p, _ in pairs]), torch.cat([y for _, y in pairs])
    macro, micro = (
        MulticlassAccuracy(3, average=average)(predictions, targets).item() for average in ("macro", "micro")
    )
    return {"loss": F.cross_entropy(predictions, targets).item(), "accuracy": macro, "accuracy_micro": micro}


SEED = {"name": ["integer"], "data_in_width": [8], "data_in_frac_width": [4], "weight_width": [2, 3, 8]}
SEED |= {"weight_frac_width": ["NA"], "bias_width": [8], "bias_frac_width": [4]}
TABLE: dict[str, Any] = {
    "search_space": {
        "name": "graph/quantize/mixed_precision_ptq",
        "setup": {"by": "type"},
        "seed": {"default": {"config": {"name": ["NA"]}}, "linear": {"config": SEED}},
    },
    "strategy": {
        "name": "brute_force",
        "sw_runner": {"basic_evaluation": {}},
        "hw_runner": {"average_bitwidth": {}},
        "metrics": {"accuracy": {}, "average_bitwidth": {}},
    },
}


def require_right(model: nn.Module, case: Case, found: SearchResult) -> None:
    """What was found on the validation and the test set is what plain torch finds for the same networks."""
    for row in found.best:
        graph, _ = quantize_transform_pass(MaseGraph(model), row.sampled_config)
        wanted = found_by_hand(graph.model, case, "val")
        assert {metric: row.trial.metrics[metric] for metric in wanted} == pytest.approx(wanted, abs=1e-5)
        on_test = {metric: value for metric, (value, _, _) in (row.test_metrics or {}).items()}
        assert on_test == pytest.approx(found_by_hand(graph.model, case, "test"), abs=1e-5)
    assert max(row.trial.metrics["accuracy"] for row in found.best) > 0.6


@pytest.mark.parametrize("name", CASES)
def test_a_search_finds_what_plain_torch_finds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block, where many configurations are measured at once."""
    monkeypatch.setattr(block_by_block, "LARGEST_LOG", 5)
    model = fitted(CASES[name])
    require_right(model, CASES[name], search(model, set_up(tmp_path, CASES[name].data()), TABLE, tmp_path / "out"))


@pytest.mark.parametrize("name", ["torch.uint8", "no label", "padded batch by batch", "names", "squeezed"])
@pytest.mark.parametrize("setup", [{"ask_batch": 1}, {"ask_batch": 1, "ladder": [24]}])
def test_trials_one_by_one_find_the_same(name: str, setup: dict[str, Any], tmp_path: Path) -> None:
    model = fitted(CASES[name])
    table = copy.deepcopy(TABLE)
    table["strategy"]["setup"] = setup
    require_right(model, CASES[name], search(model, set_up(tmp_path, CASES[name].data()), table, tmp_path / "out"))


@pytest.mark.parametrize("name", CASES)
def test_training_and_testing_find_what_plain_torch_finds(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    data, model = set_up(tmp_path, case.data()), case.model()
    result = train(RunOptions(max_epochs=2, batch_size=16, learning_rate=0.02), model, data, tmp_path / "out")
    batches = len(list(case.data()["train"]))
    assert result.steps == 2 * batches
    assert result.last_metrics == pytest.approx(found_by_hand(model.eval(), case, "val"), abs=1e-5)
    scores = scores_of(model, Prepared(model, data))
    assert {metric: value for metric, (value, _, _) in scores.items()} == pytest.approx(
        found_by_hand(model, case, "test"), abs=1e-5
    )
