"""Reads the samples that a pass is given: the batches of `input_generator`, and the one of `dummy_in`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from chop.errors import ChopError, PassError, first_line
from chop.ir import MaseGraph
from chop.tools.get_input import hint_on

USUAL_SAMPLES = 512
"""`num_samples` where none is given."""

FORM = '{argument of the model: batch}, such as {"x": a tensor}'
"""What a pass expects of each batch, in words."""


def samples_argument(name: str) -> str:
    """How errors call the samples of the pass `name`: by the pass and its argument."""
    return f"{name}: input_generator"


@dataclass(frozen=True)
class Batch:
    """Samples by argument of the model, the values of the graph's placeholders for them, and their number."""

    samples: Any
    inputs: list[Any]
    rows: int


def samples_of(
    name: str, graph: MaseGraph, args: Mapping[str, Any], usual: int | None = USUAL_SAMPLES, least: int = 1
) -> list[Batch]:
    """The first `num_samples` (`usual`) samples of `input_generator`, which the pass `name` was given in `args`.

    Raises PassError for a generator that is none or yields no sample, for batches that are no dictionaries of the
    model's arguments, and for a `num_samples` below `least`.
    """
    generator, wanted = args.get("input_generator"), args.get("num_samples", usual)
    if not isinstance(generator, Iterable):
        raise PassError(f"{name} needs input_generator, an iterable of {FORM}; got {type(generator).__name__}")
    if type(wanted) is not int or wanted < least:
        raise PassError(f"{name}: num_samples must be a whole number of at least {least}, got {wanted!r}")
    batches = list(first_batches(graph, generator, wanted, samples_argument(name)))
    if not batches:
        raise PassError(
            f"{samples_argument(name)} yields no samples; give a list or an InputGenerator, as a generator of Python "
            "is empty after one use"
        )
    return batches


def first_batches(
    graph: MaseGraph, generator: Iterable[Any], wanted: int, what: str = "input_generator"
) -> Iterator[Batch]:
    """The first `wanted` samples of a generator, batch by batch; errors begin with `what`."""
    rows = 0
    for batch in generator:
        _require_arguments(batch, what)
        kept, count = first_samples(batch, wanted - rows)
        if not count:
            raise PassError(f"{what}: a batch without samples: its tensors need samples as their first dimension")
        yield Batch(kept, placeholder_inputs(graph, kept, what), count)
        rows += count
        if rows >= wanted:
            return


def placeholder_inputs(graph: MaseGraph, given: Any, what: str = "dummy_in") -> list[Any]:
    """The values of the graph's placeholders from `{argument: value}`.

    Raises PassError, which begins with `what`, for anything else and for names that do not fit.
    """
    _require_arguments(given, what)
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    names = [str(node.target) for node in placeholders]
    unknown = set(given) - set(names)
    missing = [str(n.target) for n in placeholders if str(n.target) not in given and not n.args]
    if unknown or missing:
        raise PassError(f"{what}: the model takes {', '.join(names)}; given are {', '.join(map(str, given)) or 'none'}")
    return [given.get(str(node.target), node.args[0] if node.args else None) for node in placeholders]


def first_samples(batch: Mapping[str, Any], most: int) -> tuple[Any, int]:
    """At most `most` samples of a batch, and how many; a value without samples (None, a common mask) stays as it is."""
    lengths = [len(value) for value in pytree.tree_leaves(batch) if isinstance(value, Tensor) and value.ndim]
    rows = lengths[0] if lengths else 0

    def cut(value: Any) -> Any:
        return value[:most] if isinstance(value, Tensor) and value.ndim and len(value) == rows else value

    return pytree.tree_map(cut, dict(batch)), min(rows, most)


@contextmanager
def running(what: str) -> Iterator[None]:
    """Raise PassError, which begins with `what`, where the graph does not run on the samples of a pass."""
    try:
        yield
    except ChopError:
        raise
    except Exception as error:
        told = f"{what}: the graph does not run on these samples: {first_line(error)}{hint_on(error)}"
        raise PassError(told) from error


def require_finite(what: str, node: fx.Node | str, value: Any) -> None:
    """Raise PassError, which begins with `what`, for NaN and infinity at a node; minus infinity may be a mask."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return
    if bool((value.isnan() | (value == math.inf)).any()):
        raise PassError(
            f"{what}: NaN or infinity at node '{node}' on these samples: leave out samples that hold such values, or "
            "mend the model"
        )


def _require_arguments(given: Any, what: str) -> None:
    if not isinstance(given, Mapping):
        raise PassError(f"{what}: expected {FORM}, got {type(given).__name__}")
