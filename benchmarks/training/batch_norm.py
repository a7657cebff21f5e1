"""Batch norm measured under each plan: accuracy of random plans, fronts with and without, and the factor in time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

import chop
from chop.actions.calibration import calibrate
from chop.actions.search.search_space.base import SpaceSetup
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.dataset import MaseDataModule
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import Classification
from chop.evaluation.memory import keep_freed_memory
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph import fold_batch_norm_transform_pass

PLANS = 200
SAMPLES = 4096
TURNS = 25
AUTO = {f"{operand}_{key}": [value] for operand in ("data_in", "weight", "bias") for key, value in
        (("frac_width", "auto"), ("range_rule", "mse"))}  # fmt: skip
LAYER = {"name": ["integer"], "data_in_width": [3, 4, 6, 8], "weight_width": [2, 3, 4, 8], "bias_width": [8], **AUTO}


def data_of(name: str) -> MaseDataModule:
    """A data set, ready."""
    data = MaseDataModule(name, batch_size=512)
    data.prepare_data()
    data.setup()
    return data


def evaluator(kind: str, rows: int, data: MaseDataModule) -> tuple[Evaluator, list[int]]:
    """The evaluator of the space of jsc-s with one kind of batch norm, and the sizes of its axes."""
    graph = MaseGraph(get_model("jsc-s", pretrained=True))
    setup = SpaceSetup(by="type", calibration_rows=rows, batch_norm=kind)  # type: ignore[arg-type]
    space = MixedPrecisionPTQ(graph, {"linear": {"config": LAYER}}, "type", setup)
    calibrate(graph, data, rows)
    axes = space.axes()
    assert axes is not None
    return Evaluator(graph, axes, data.batches("val", SAMPLES, SAMPLES)), [len(axis) for axis in axes]


def measured(own: Evaluator, codes: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float]:
    """The accuracy of configurations, and the seconds of CPU time."""
    measure = Classification(own.targets, 5)
    started = time.process_time()
    found = own.run(codes, [measure])[0]["accuracy_micro"]
    return found, time.process_time() - started


def factor(own: Evaluator, plain: Evaluator, codes: np.ndarray[Any, Any]) -> float:
    """The time of configurations as a multiple of that of `plain`: both in turns, the median of the ratios."""
    seconds = [[measured(one, codes)[1] for one in (own, plain)] for _ in range(TURNS)]
    return median(longer / usual for longer, usual in seconds)


def random_plans() -> None:
    """Random plans of jsc-s, and whole blocks of its space for the time."""
    data = data_of("jsc")
    plain, sizes = evaluator("float", 512, data)
    random = np.random.default_rng(3).integers(0, sizes, (PLANS, len(sizes)))
    block = np.stack(np.unravel_index(np.arange(4096), sizes), 1)
    before, _ = measured(plain, random)
    print(
        "| calibration samples | mean accuracy | better in | largest gain | time, 4,096 of the space | 200 at random |"
    )
    print("|---|---|---|---|---|---|")
    print(f"| statistics of the float network | {before.mean():.3f} | | | 1 | 1 |")
    for rows in (256, 512, 1024):
        own, _ = evaluator("measured", rows, data)
        found, _ = measured(own, random)
        gain = found - before
        times = [factor(own, plain, codes) for codes in (block, random)]
        print(
            f"| {rows} | {found.mean():.3f} | {(gain > 0).sum()} of {PLANS} | {gain.max():.2f} | {times[0]:.2f} | "
            f"{times[1]:.2f} |",
            flush=True,
        )


def folded(name: str, samples: torch.Tensor) -> MaseGraph:
    """A network whose batch norms are folded into the layers before them."""
    graph = MaseGraph(get_model(name, pretrained=True))
    graph, _ = fold_batch_norm_transform_pass(graph, {"dummy_in": {"x": samples}, "show": False})
    return graph


def front(model: str | MaseGraph, data: str, samples: int, lists: Mapping[str, Any], **options: Any) -> Any:
    """The exact front of a space."""
    layers = options.pop("layers", ["linear"])
    space = chop.Space(layers={name: dict(lists) for name in layers}, **options)
    study = chop.search(
        get_model(model, pretrained=True) if isinstance(model, str) else model,
        data,
        space,
        objectives=["accuracy", "bitops"],
        strategy="brute_force",
        num_samples=samples,
        progress=False,
    )
    return study.front


def show_fronts(name: str, fronts: Mapping[str, Any], levels: Sequence[float]) -> None:
    """The least BitOPs that reach an accuracy."""
    print(f"\n{name}: BitOPs at an accuracy of at least\n")
    print(f"| | {' | '.join(map(str, levels))} |\n|---|{'---|' * len(levels)}")
    for kind, table in fronts.items():
        cells = []
        for level in levels:
            reached = table[table["accuracy"] >= level]["bitops"]
            cells.append(f"{int(reached.min()):,}" if len(reached) else "–")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print all tables."""
    torch.set_num_threads(1)
    keep_freed_memory()
    random_plans()
    lists = {"formats": ["integer"], "data_in_width": [3, 4, 6], "weight_width": [2, 4], "bias_width": [8], **AUTO}
    kinds = {kind: front("jsc-s", "jsc", 1024, lists, batch_norm=kind) for kind in ("float", "measured")}
    show_fronts("jsc-s", {f'batch_norm = "{kind}"': own for kind, own in kinds.items()}, (0.55, 0.6, 0.65, 0.68, 0.7))
    corrections: list[tuple[str, Any]] = [("false", False), ("true", True), ('"plan"', "plan")]
    shapes = {**lists, "data_in_width": [3, 4], "weight_width": [2, 3]}
    networks: list[tuple[str | MaseGraph, str, list[str], dict[str, Any], tuple[float, ...]]] = [
        (folded("jsc-s", torch.randn(2, 16)), "jsc", ["linear"], lists, (0.55, 0.6, 0.65, 0.68, 0.7)),
        ("shapes-cnn", "shapes", ["conv2d", "linear"], shapes, (0.6, 0.7, 0.8, 0.9, 0.95)),
        (
            "toy",
            "toy_tiny",
            ["linear"],
            {**lists, "data_in_width": [2, 3, 4], "weight_width": [2, 3, 4]},
            (0.7, 0.8, 0.9, 0.95, 0.98),
        ),
    ]
    for model, data, layers, own, levels in networks:
        fronts = {
            f"bias_correction = {text}": front(
                model, data, 1024 if data == "jsc" else 512, {**own, "bias_correction": value}, layers=layers
            )
            for text, value in corrections
        }
        show_fronts(model if isinstance(model, str) else "jsc-s, norms folded", fronts, levels)
