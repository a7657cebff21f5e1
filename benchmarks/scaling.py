"""Points a second against the number of layers, choices and samples, of the evaluator and of the plain loop.

    make scaling

Writes docs/pictures/scaling.svg. CPU seconds of one thread, so that what else the machine does counts little.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from evaluator_problems import CLASSES, Problem, balanced, of_product
from saved_picture import BLUE, ORANGE, new_figure, save
from torch import nn

from chop.evaluation.memory import keep_freed_memory

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "scaling.svg"
WIDTH = 32
MOST_POINTS = 5000
LAYERS, CHOICES, SAMPLES = (1, 2, 3, 4, 6, 8), (2, 3, 6, 9, 18), (32, 128, 512, 2048, 8192)
USUAL = 4, 9, 512
PANELS = (("layers", LAYERS), ("choices of a layer", CHOICES), ("samples", SAMPLES))


def network(layers: int) -> nn.Module:
    """So many linear layers, the last of them the head."""
    torch.manual_seed(0)
    hidden = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(layers - 1)]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, CLASSES))


def widths_of(choices: int) -> Any:
    """Widths of input, weight and bias that make so many choices."""
    weights = {2: [4, 8], 3: [2, 4, 8], 6: [2, 4, 8], 9: [2, 4, 8], 18: [2, 4, 8]}[choices]
    biases = [2, 4, 8] if choices >= 9 else [8]
    return ([4, 8] if choices in (6, 18) else [8]), weights, biases


def rates(layers: int, choices: int, samples: int) -> tuple[float, float]:
    """Points a second of the evaluator and of the loop."""
    problem = Problem(network(layers), balanced(samples, WIDTH), widths_of(choices), layers)
    assert problem.sizes == (choices,) * layers
    points = min(MOST_POINTS, choices**layers)
    codes = of_product(layers, choices, points) if points < choices**layers else _all(problem)
    evaluator, measure = problem.evaluator()
    few = codes[:: max(1, len(codes) // 10)]
    ours = least(lambda: evaluator.run_sorted(codes, [measure]))
    return len(codes) / ours, len(few) / least(lambda: problem.loop(few))


def _all(problem: Problem) -> Any:
    import numpy as np

    return np.array(list(itertools.product(*(range(size) for size in problem.sizes))))


def least(function: Callable[[], Any]) -> float:
    """The least CPU time of some calls, after a first one, in seconds."""
    function()
    found = []
    for _ in range(3):
        started = time.process_time()
        function()
        found.append(time.process_time() - started)
    return max(min(found), 1e-9)


def draw(panels: list[tuple[str, list[int], list[tuple[float, float]]]]) -> None:
    """Three panels, one below the other, with a common scale of rates."""
    figure, axes = new_figure(7.2, 3, sharey=True)
    for axis, (name, values, found) in zip(axes, panels, strict=True):
        for column, label, style, color in ((0, "evaluator", "o-", BLUE), (1, "plain loop", "s--", ORANGE)):
            axis.plot(values, [row[column] for row in found], style, label=label, markersize=4, color=color)
        axis.set(xlabel=name, ylabel="networks a second", xscale="log", yscale="log")
        axis.set_xticks(values, [f"{value:,}" for value in values])
        axis.minorticks_off()
        axis.grid(True)
    axes[0].legend(loc="center right", bbox_to_anchor=(1, 0.45))
    axes[0].set_title(f"{WIDTH} features; unless varied {USUAL[0]} layers, {USUAL[1]} choices each, {USUAL[2]} samples")
    save(figure, PICTURE)


def main() -> None:
    """Measure and draw."""
    torch.set_num_threads(1)
    keep_freed_memory()
    panels = []
    for place, (name, values) in enumerate(PANELS):
        found = []
        for value in values:
            setting = [value if n == place else usual for n, usual in enumerate(USUAL)]
            found.append(rates(*setting))
            print(f"{name} {value}: {found[-1][0]:,.0f}/s, loop {found[-1][1]:,.0f}/s", flush=True)
        panels.append((name, list(values), found))
    draw(panels)


if __name__ == "__main__":
    main()
