"""What is asked of each model of the zoo: every path of chop must compute what the reference computes."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.actions.calibration import calibrate
from chop.actions.search import search
from chop.actions.setup import traced
from chop.dataset import MaseDataModule
from chop.errors import ChopError
from chop.evaluation.plan_runner import PlanRunner
from chop.ir import MaseGraph
from chop.ir.graph.node_costs import node_costs
from chop.nn import Op
from chop.passes.graph import quantize_transform_pass
from tests.zoo import data, reference
from tests.zoo.counting import multiply_accumulates
from tests.zoo.specimens import Specimen

CLOSE = 1e-5
"""Largest difference, relative to the greatest output, that another order of float sums may make."""
MOVED = 3
"""Nodes whose widths the search chooses; all others have one choice."""
CONFIG: dict[str, Any] = {
    "name": "integer",
    "data_in_width": 8,
    "data_in_frac_width": 4,
    "weight_width": 7,
    "weight_frac_width": 5,
    "bias_width": 8,
    "bias_frac_width": 6,
}
PRUNED = 0.4
"""The share of the weights that is pruned in one check."""
NARROW = 5
"""The second width of the nodes that the search chooses for."""
BLOCKS = {
    "name": "mxint",
    **{f"{own}_element_bits": 6 for own in ("data_in", "weight", "bias")},
    **{f"{own}_block_size": [4, 4] for own in ("data_in", "weight", "bias")},
}


@dataclass(frozen=True)
class Verdict:
    """What became of a model: `right`, `refused` or `wrong`, and the figures behind that."""

    specimen: Specimen
    verdict: str
    traced_by: str = ""
    nodes: int = 0
    difference: float = 0.0
    macs: int = 0
    why: str = ""

    @property
    def is_as_it_must_be(self) -> bool:
        return self.verdict == ("refused" if self.specimen.refused else "right")


def examine(specimen: Specimen) -> Verdict:
    """Run one model through guard, plans, search, test set and saved graph."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
            return _Examination(specimen, Path(folder)).verdict()
    except ChopError as error:
        return Verdict(specimen, "refused", why=str(error))
    except AssertionError as error:
        return Verdict(specimen, "wrong", why=str(error))
    except Exception as error:
        return Verdict(specimen, "wrong", why=f"{type(error).__name__}: {error}")


class _Examination:
    def __init__(self, specimen: Specimen, folder: Path) -> None:
        self.specimen, self.folder = specimen, folder
        self.module = MaseDataModule(f"{Path(data.__file__)}:{specimen.data}", batch_size=data.BATCH)
        self.module.prepare_data()
        self.module.setup()
        loaders = getattr(data, specimen.data)()
        self.loss = loaders.get("loss")
        self.parts = {part: [_in_one(list(loaders[part]))] for part in data.SAMPLES}
        self.difference = 0.0

    def verdict(self) -> Verdict:
        graph = traced(self.specimen.model(), self.module)
        self.ops = graph.quantizable_nodes()
        self.nodes = list(self.ops)
        self._same_calls()
        self._same_under_a_plan(graph)
        self._same_when_pruned(graph)
        self._same_with_measured_ranges()
        self._samples_stay_apart()
        self._same_in_a_search()
        macs = self._same_costs(graph)
        traced_by = "export" if any("val" in node.meta for node in graph.nodes) else "fx"
        return Verdict(self.specimen, "right", traced_by, len(self.nodes), self.difference, macs)

    def _same_calls(self) -> None:
        mode = reference.FixedPointCalls()
        reference.run(self.specimen.model(), self.parts["val"][0][0], mode)
        assert len(mode.calls) == len(self.nodes), f"calls {mode.calls}, nodes {self.nodes}"

    def _same_under_a_plan(self, graph: MaseGraph) -> None:
        """The float model; then one plan: wrapper, runner, and the graph that was saved and loaded."""
        batches = self.parts["val"]
        self._compare("in float", self._scores(graph, batches), self._expected([{}] * len(self.nodes), "val"))
        graph, info = quantize_transform_pass(graph, {"by": "type", "default": {"config": CONFIG}})
        wanted = self._expected([settings(CONFIG)] * len(self.nodes), "val")
        self._compare("under a plan", self._scores(graph, batches), wanted)
        runner = PlanRunner(traced(self.specimen.model(), self.module), self.module.batches("val"))
        self._compare("plan by plan", runner.predictions(info["plan"]), wanted)
        path = graph.export(self.folder / "graph.safetensors")
        x, _ = self.module.batches("train", 2)[0]
        loaded = MaseGraph.from_checkpoint(path, self.specimen.model(), x)
        self._compare("saved and loaded", self._scores(loaded, batches), wanted)

    def _same_when_pruned(self, graph: MaseGraph) -> None:
        """Weights that are pruned and then rounded, in the wrapper and plan by plan."""
        config = CONFIG | {"weight_sparsity": PRUNED}
        graph, info = quantize_transform_pass(graph, {"by": "type", "default": {"config": config}})
        by_call = [settings(CONFIG)] * len(self.nodes)
        wanted = reference.predictions(self.specimen.model(), self.parts["val"], by_call, pruned=PRUNED)
        self._compare("pruned", self._scores(graph, self.parts["val"]), wanted)
        runner = PlanRunner(traced(self.specimen.model(), self.module), self.module.batches("val"))
        self._compare("pruned, plan by plan", runner.predictions(info["plan"]), wanted)

    def _same_with_measured_ranges(self) -> None:
        """Fraction widths that follow from the ranges of the training samples."""
        graph = traced(self.specimen.model(), self.module)
        config = CONFIG | dict.fromkeys(("data_in_frac_width", "weight_frac_width", "bias_frac_width"), "auto")
        calibrate(graph, self.module)
        graph, _ = quantize_transform_pass(graph, {"by": "type", "default": {"config": config}})
        ranges = reference.ranges_of(self.specimen.model(), self.parts["train"][0][0])
        wanted = self._expected([settings(config)] * len(self.nodes), "val", ranges)
        self._compare("with measured ranges", self._scores(graph, self.parts["val"]), wanted)

    def _samples_stay_apart(self) -> None:
        """With blocks over two dimensions a sample's outputs do not depend on its neighbours."""
        if self.specimen.mixes_samples:
            return
        graph = traced(self.specimen.model(), self.module)
        graph, _ = quantize_transform_pass(graph, {"by": "type", "default": {"config": BLOCKS}})
        ((x, y),) = self.parts["val"]
        turned = torch.arange(len(y)).roll(1)
        found = self._scores(graph, [(_taken(x, turned), y)])
        self._compare("with other neighbours in a block", found.roll(-1, 0), self._scores(graph, [(x, y)]))

    def _same_in_a_search(self) -> None:
        """Every trial of an exhaustive search, and the winners on the test set."""
        with quiet():
            search(self.specimen.model(), self.module, search_config(self.ops), self.folder / "search", seed=0)
        rows = list(json.loads((self.folder / "search" / "log.json").read_text(encoding="utf-8")).values())
        assert len(rows) == 2 ** min(MOVED, len(self.nodes)), f"{len(rows)} trials"
        for row in rows:
            self._compare_scores(f"trial {row['number']}", row, row["software_metrics"], "val")
        for row in json.loads((self.folder / "search" / "best.json").read_text(encoding="utf-8")).values():
            on_test = {name: one["value"] for name, one in row["test_metrics"].items()}
            self._compare_scores(f"trial {row['number']} on the test set", row, on_test, "test")

    def _compare_scores(self, what: str, row: Mapping[str, Any], found: Mapping[str, float], part: str) -> None:
        config = row["sampled_config"]
        expected = self._expected([settings(config[node]["config"]) for node in self.nodes], part)
        for name, value in self._metrics(expected, part).items():
            assert abs(found[name] - value) <= 1e-4 * max(1.0, abs(value)), f"{what}: {name} {found[name]}, not {value}"

    def _metrics(self, predictions: Tensor, part: str) -> dict[str, float]:
        targets = torch.cat([y for _, y in self.parts[part]])
        if self.loss is not None:
            return {"loss": float(self.loss(predictions.reshape(targets.shape), targets).mean())}
        right = predictions.argmax(1) == targets
        recalls = [right[targets == own].double().mean() for own in range(data.CLASSES)]
        return {"loss": float(F.cross_entropy(predictions, targets)), "accuracy": float(sum(recalls)) / data.CLASSES}

    def _expected(
        self, by_call: Sequence[reference.Settings], part: str, ranges: reference.Ranges | None = None
    ) -> Tensor:
        return reference.predictions(self.specimen.model(), self.parts[part], by_call, ranges)

    @torch.no_grad()
    def _scores(self, graph: MaseGraph, batches: Sequence[tuple[Any, Tensor]]) -> Tensor:
        graph.model.eval()
        return torch.cat([reference.scores(_call(graph.model, x)) for x, _ in batches])

    def _compare(self, what: str, found: Tensor, wanted: Tensor) -> None:
        assert found.shape == wanted.shape, f"{what}: outputs {tuple(found.shape)}, not {tuple(wanted.shape)}"
        difference = float((found - wanted).abs().max() / wanted.abs().max())
        self.difference = max(self.difference, difference)
        assert difference <= CLOSE, f"{what}: outputs differ by {difference:.1e} of the largest"

    def _same_costs(self, graph: MaseGraph) -> int:
        x, _ = self.module.batches("train", 4)[0]
        found = sum(cost.macs for cost in node_costs(graph, x).values())
        wanted = multiply_accumulates(self.specimen.model(), x)
        assert found == wanted, f"{found} multiply-accumulates a sample, not {wanted}"
        return found


def _taken(x: Any, samples: Tensor) -> Any:
    if isinstance(x, Mapping):
        return {key: value[samples] for key, value in x.items()}
    return x[samples] if isinstance(x, Tensor) else tuple(value[samples] for value in x)


def _call(model: Any, x: Any) -> Any:
    return model(**x) if isinstance(x, dict) else model(*x) if isinstance(x, tuple | list) else model(x)


def settings(config: Mapping[str, Any]) -> reference.Settings:
    """The widths of each operand in a node's config; none where the node stays in float32."""
    if config.get("name") in (None, "NA"):
        return {}
    operands = ("data_in", "weight", "bias")
    return {own: (config[f"{own}_width"], config[f"{own}_frac_width"]) for own in operands if f"{own}_width" in config}


def search_config(ops: Mapping[str, Op]) -> dict[str, Any]:
    """An exhaustive search of two choices for each of the first nodes: widths of the input, or else of the weight."""
    lists = {key: [value] for key, value in CONFIG.items()}
    seed: dict[str, Any] = {"default": {"config": lists}}
    for node, op in islice(ops.items(), MOVED):
        own = {key: value for key, value in lists.items() if key == "name" or _operand(key) in op.operands}
        moved = "data_in" if "data_in" in op.operands else "weight"
        seed[node] = {"config": own | {f"{moved}_width": [CONFIG[f"{moved}_width"], NARROW]}}
    return {
        "search_space": {"name": "graph/quantize/mixed_precision_ptq", "setup": {"by": "name"}, "seed": seed},
        "strategy": {
            "name": "brute_force",
            "sw_runner": {"basic_evaluation": {"data_loader": "val_dataloader", "num_samples": data.SAMPLES["val"]}},
            "hw_runner": {"average_bitwidth": {}},
            "setup": {"sum_scaled_metrics": False},
            "metrics": {"loss": {"direction": "minimize"}, "average_bitwidth": {"direction": "minimize"}},
        },
    }


def _operand(key: str) -> str:
    return key.removesuffix("_width").removesuffix("_frac")


def _in_one(batches: Sequence[tuple[Any, Tensor]]) -> tuple[Any, Tensor]:
    """All samples as one batch, as chop measures them."""
    inputs, targets = zip(*batches, strict=True)
    first = inputs[0]
    if isinstance(first, Mapping):
        return {key: torch.cat([x[key] for x in inputs]) for key in first}, torch.cat(targets)
    if isinstance(first, Tensor):
        return torch.cat(inputs), torch.cat(targets)
    return tuple(torch.cat(column) for column in zip(*inputs, strict=True)), torch.cat(targets)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the tables that a search prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
