"""The pass that measures how much the output changes when one layer alone is quantised."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chop.errors import ChopError, PassError
from chop.ir import MaseGraph, QuantPlan
from chop.nn.node_config import node_formats
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args
from chop.passes.graph.registry import register_pass
from chop.passes.graph.samples import require_finite, running, samples_argument, samples_of
from chop.tools.files import write_whole
from chop.tools.model_outputs import OutputName, predictions_of
from chop.tools.terminal import table_of, terminal

ARGUMENTS = ("choices", "input_generator", "num_samples", "score", "output", "save_dir", "nodes")
LEAST_WIDTH, CELL_HEIGHT, LABEL_WIDTH, LINE_HEIGHT, LETTER = 90, 26, 230, 14, 7
"""Sizes of the picture in pixels; a letter is about as wide as that."""

Score = Callable[[Tensor], float]
Errors = dict[str, dict[str, float]]


@register_pass("sensitivity", inputs={"input_generator": "batches", "output": "output"})
def sensitivity_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Quantise each node alone with each of `choices` and measure the change of the output.

    `choices` is a list of lab dictionaries ({"name": "integer", "weight_width": 4, …}); `input_generator` an iterable
    of {argument: batch}, of which the first `num_samples` rows (512) are used; `nodes` limits the nodes; `output` names
    the output that is measured, of a model with several. Measured is the relative error |y - float| / |float| of all
    outputs, or what `score` (a function of them) loses against float.
    Choices that mean nothing for an op are left out. With `save_dir`, `sensitivity.svg` shows it. The info is
    {node: {choice: number}}. The graph itself stays as it is.
    """
    args = check_args("sensitivity", pass_args, ARGUMENTS)
    choices = _choices(args.get("choices"))
    rows = [batch.inputs for batch in samples_of("sensitivity", graph, args)]
    alone = copy.deepcopy(graph)
    alone.apply_plan(QuantPlan())
    with running(samples_argument("sensitivity")):
        exact = _outputs(alone, rows, args.get("output"))
    require_finite(samples_argument("sensitivity"), "output", exact)
    found: Errors = {}
    for name, op in alone.quantizable_nodes().items():
        if name not in (args.get("nodes") or [name]):
            continue
        for label, config in choices.items():
            formats = _formats(config, op, name)
            if formats:
                alone.apply_plan(QuantPlan.of({name: formats}))
                got = _outputs(alone, rows, args.get("output"))
                found.setdefault(name, {})[label] = _loss(exact, got, args.get("score"))
    _show(found, list(choices), "score lost" if args.get("score") else "relative error")
    if args.get("save_dir"):
        write_whole(Path(args["save_dir"]) / "sensitivity.svg", heat_map(found, list(choices)))
    return graph, found


def heat_map(values: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> str:
    """A table of numbers as SVG, the greater the redder (by logarithm)."""
    known = [value for row in values.values() for value in row.values() if value > 0]
    low, high = (math.log(min(known)), math.log(max(known))) if known else (0.0, 1.0)
    heads = [label.split(" ") for label in columns]
    cell = max([LEAST_WIDTH, *(LETTER * len(word) + 12 for words in heads for word in words)])
    top = LINE_HEIGHT * max(len(words) for words in heads) + 16
    width, height = LABEL_WIDTH + cell * len(columns), top + CELL_HEIGHT * len(values)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
    ]
    for number, words in enumerate(heads):
        x = LABEL_WIDTH + cell * number + cell // 2
        for line, word in enumerate(words):
            y = top - 8 - LINE_HEIGHT * (len(words) - 1 - line)
            parts.append(f'<text x="{x}" y="{y}" text-anchor="middle">{escape(word)}</text>')
    for line, (name, row) in enumerate(values.items()):
        y = top + CELL_HEIGHT * line
        parts.append(f'<text x="{LABEL_WIDTH - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        parts += [
            _cell(LABEL_WIDTH + cell * columns.index(label), y, cell, value, low, high) for label, value in row.items()
        ]
    return "\n".join([*parts, "</svg>", ""])


def _cell(x: int, y: int, width: int, value: float, low: float, high: float) -> str:
    share = (math.log(value) - low) / (high - low) if value > 0 and high > low else 0.0
    shade = round(255 - 175 * share)
    return (
        f'<rect x="{x}" y="{y}" width="{width - 2}" height="{CELL_HEIGHT - 2}" fill="rgb(255,{shade},{shade})"/>'
        f'<text x="{x + width // 2}" y="{y + 17}" text-anchor="middle">{value:.3g}</text>'
    )


def _choices(given: Any) -> dict[str, Mapping[str, Any]]:
    if not isinstance(given, Sequence) or not given or not all(isinstance(config, Mapping) for config in given):
        raise PassError('sensitivity needs choices, a list of tables such as {"name": "integer", "weight_width": 4}')
    return {_label(config): config for config in given}


def _label(config: Mapping[str, Any]) -> str:
    values = [f"{key}={str(value).replace(' ', '')}" for key, value in config.items() if key != "name"]
    return " ".join([str(config.get("name")), *values])


def _formats(config: Mapping[str, Any], op: Any, name: str) -> dict[str, Any]:
    try:
        return node_formats(config, op)
    except ChopError as error:
        raise PassError(f"sensitivity, node '{name}': {error}") from error


@torch.no_grad()
def _outputs(graph: MaseGraph, rows: list[list[Any]], output: OutputName) -> Tensor:
    return torch.cat([predictions_of(graph.model(*inputs), output) for inputs in rows])


def _loss(exact: Tensor, got: Tensor, score: Score | None) -> float:
    return score(exact) - score(got) if score else float((got - exact).norm() / exact.norm())


def _show(found: Errors, columns: list[str], what: str) -> None:
    rows = [(name, *(f"{row[label]:.3g}" if label in row else "" for label in columns)) for name, row in found.items()]
    terminal().print(table_of(("node", *columns), rows, header_style="bold", title=what, title_justify="left"))
