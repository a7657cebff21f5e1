"""Writes a TOML file to begin with: a commented search of number formats for a model."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from math import prod

from chop.actions.setup import Prepared, prepare, traced
from chop.config.next_command import file_command
from chop.config.options import RunOptions
from chop.errors import ConfigError
from chop.models import get_model_info
from chop.models.build import ships_weights
from chop.nn.ops import Op
from chop.tools.user_code import is_user_reference

WIDTHS = {"weight": (2, 4, 8), "bias": (8,)}
"""Bits to choose from, by operand."""

ACTIVATIONS = (4, 8)
"""Bits to choose from for what flows through the network."""

MOST_MEASURED = 10_000
"""Points up to which all of them are measured; for more a strategy chooses."""

SAMPLES = 2_000
"""Validation samples that a search measures on."""


@dataclass(frozen=True)
class _Layers:
    """The layers of one kind in a model: what they are, and their names."""

    op: Op
    names: tuple[str, ...]

    def lists(self) -> dict[str, tuple[int, ...]]:
        """The bits to choose from, by operand."""
        operands = (name for name in self.op.operands if name != "data_out")
        return {name: WIDTHS.get(name, ACTIVATIONS) for name in operands}

    @property
    def points(self) -> int:
        """The number of combinations of these layers."""
        return prod([*map(len, self.lists().values())] * len(self.names))


def new_config(options: RunOptions) -> str:
    """The text of a file with a search for the model of `options`, on its data, with a comment on each decision.

    Raises ConfigError where the model has no layer whose formats could be searched.
    """
    prepared = prepare(options)
    ops = traced(prepared.model, prepared.data_module).quantizable_nodes()
    layers = _layers(ops)
    if not layers:
        raise ConfigError([f"{options.model} has no layer that multiplies matrices, so there are no formats to search"])
    points = prod(own.points for own in layers)
    left = Counter(op.name for op in ops.values() if not op.multiplies)
    parts = [
        _head(options, points),
        _space(layers, left),
        _strategy(points, sum(len(targets) for _, targets in prepared.data_module.batches("val", SAMPLES))),
        _metrics(prepared),
    ]
    return "\n".join(parts)


def usual_data(model: str) -> str:
    """The data set that the weights of a bundled model were trained on; raises ConfigError if there is none."""
    known = None if is_user_reference(model) else get_model_info(model).trained_on
    if known is None:
        raise ConfigError([f"ch config new {model}: name a data set too: ch config new {model} DATASET"])
    return known


def _layers(ops: dict[str, Op]) -> list[_Layers]:
    kinds: dict[str, list[str]] = {}
    for name, op in ops.items():
        if op.multiplies:
            kinds.setdefault(op.name, []).append(name)
    return [_Layers(ops[names[0]], tuple(names)) for names in kinds.values()]


def _head(options: RunOptions, points: int) -> str:
    def named(key: str, value: str) -> str:
        if not is_user_reference(value):
            return f'{key} = "{value}"'
        return f"# Your own code is named on the command line alone: --{key} {shlex.quote(value)}"

    model, data = str(options.model), str(options.dataset)
    weights = (
        "is_pretrained = true  # the weights that ship with the model"
        if not is_user_reference(model) and ships_weights(model)
        else '# load_name = "best.ckpt"  # trained weights: without them all figures are random'
    )
    return f"""# Number formats for {model} on {data}: {points:,} points.
#   {file_command(options, "ch", "config", "check", "FILE.toml")}
#   {file_command(options, "ch", "search", "--config", "FILE.toml", "--dry-run")}
#   {file_command(options, "ch", "search", "--config", "FILE.toml")}
{named("model", model)}
{named("dataset", data)}
task = "{options.task}"
{weights}
seed = 0
"""


def _space(layers: list[_Layers], left: Counter[str]) -> str:
    names = [name for own in layers for name in own.names]
    others = ", ".join(f"{name} ({count})" for name, count in left.items())
    note = f"\n# Left in float32: {others}. Give them a table of their own to change that." if left else ""
    tables = "\n".join(map(_seed, layers))
    return f"""# What a search may choose from, in a table for each kind of layer. Each layer has its own choices.{note}
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"

[search.search_space.setup]
by = "type"
# exclude = ["{names[-1]}"]  # this layer stays in float32

{tables}
# Other choices for one layer; the first and the last often need more bits.
# [search.search_space.override."{names[0]}".config]
# weight_width = [8]
"""


def _seed(own: _Layers) -> str:
    """The table of one kind of layer."""
    lines = [f"# {_few(own.names)}", f"[search.search_space.seed.{own.op.name}.config]"]
    lines.append('name = ["integer"]  # fixed point; others: `ch info format`')
    for operand, widths in own.lists().items():
        lines.append(f"{operand}_width = {list(widths)}")
        lines.append(f'{operand}_frac_width = ["auto"]')
    return "\n".join([*lines, ""])


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _strategy(points: int, samples: int) -> str:
    name, end = (
        ("brute_force", "# n_trials = 1000  # without it: all points")
        if points <= MOST_MEASURED
        else ("surrogate", "n_trials = 200  # each is a point of the space, measured")
    )
    return f"""# How points are chosen: `ch info strategy`.
[search.strategy]
name = "{name}"

[search.strategy.setup]
{end}
# timeout = 600  # seconds

# What is measured: `ch info runner`. Samples: the first ones of the validation set.
[search.strategy.sw_runner.basic_evaluation]
data_loader = "val_dataloader"
num_samples = {samples}

[search.strategy.hw_runner.average_bitwidth]
"""


def _metrics(prepared: Prepared) -> str:
    best = prepared.data_module.task.monitored
    return f"""# Objectives, and constraints (`min`, `max`, `max_drop`: how much worse than the FP32 baseline).
[search.strategy.metrics]
{best.name}.direction = "{best.direction}"
# {best.name}.max_drop = 0.02
average_bitwidth.direction = "minimize"
"""
