"""The registry of passes for `[passes.*]` of a TOML file, with the needs that each declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from chop.config.typed import Problem
from chop.errors import ChopError
from chop.ir import MaseGraph
from chop.registry import Registry

GraphPass = Callable[..., tuple[MaseGraph, dict[str, Any]]]
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
ArgumentProblems = Callable[[Mapping[str, Any]], Iterable[Problem]]
Source = Literal["batch", "two_samples", "batches", "output"]


@dataclass(frozen=True)
class PassNeeds:
    """The needs of a pass that a file names, and what it leaves valid.

    - `requires`: passes that must have run before it.
    - `inputs`: arguments that only a program can give, with where they come from: "batch" is one batch of the training
      data, `{argument of the model: tensor}`, "two_samples" the same with two samples, "batches" a list of batches with
      `num_samples` samples (an argument of the pass; absent: all), "output" which output of the model is scored.
    - `leaves`: the passes whose work still holds after it; None: that of all. What does not hold is done again where a
      later pass requires it.
    - `problems`: finds what is wrong with its arguments whatever the network is; it is told before anything runs.
    - `chooses_formats`: its arguments choose formats, so that ranges are measured before where these need it.
    - `keeps_float`: it changes a float network and keeps what that computes, the same way in every call, so that a
      search may run it first (`setup.passes`). Such a pass takes `show = false`.
    """

    requires: tuple[str, ...] = ()
    inputs: Mapping[str, Source] = field(default_factory=dict)
    leaves: tuple[str, ...] | None = None
    problems: ArgumentProblems | None = None
    chooses_formats: bool = False
    keeps_float: bool = False


PASSES: Registry[GraphPass] = Registry(
    "chop.passes",
    "pass",
    ("chop.passes.graph.analysis", "chop.passes.graph.transforms"),
    lambda item: None if callable(item) else "is no function f(graph, pass_args) -> (graph, info)",
)


def register_pass(
    name: str,
    *,
    requires: tuple[str, ...] = (),
    inputs: Mapping[str, Source] | None = None,
    leaves: tuple[str, ...] | None = None,
    problems: ArgumentProblems | None = None,
    chooses_formats: bool = False,
    keeps_float: bool = False,
) -> Callable[[Decorated], Decorated]:
    """A decorator that registers `f(graph, pass_args) -> (graph, info)` with its needs (see `PassNeeds`).

    A function called `NAME_analysis_pass` or `NAME_transform_pass` has `NAME_analysis` or `NAME_transform` as an alias.
    Raises ChopError for a source of inputs that there is not.
    """
    needs = PassNeeds(requires, dict(inputs or {}), leaves, problems, chooses_formats, keeps_float)
    for argument, source in needs.inputs.items():
        if source not in get_args(Source):
            known = ", ".join(get_args(Source))
            raise ChopError(f"the pass '{name}' takes '{argument}' from '{source}'; sources are {known}")

    def bind(function: Decorated) -> Decorated:
        function.needs = needs  # type: ignore[attr-defined]
        spelling = getattr(function, "__name__", "").removesuffix("_pass")
        aliases = (spelling,) if spelling in (f"{name}_analysis", f"{name}_transform") else ()
        PASSES.register(name, aliases=aliases)(function)
        return function

    return bind


def needs_of(name: str) -> PassNeeds:
    """The needs of a pass; none if it was registered without `register_pass`."""
    found = getattr(PASSES[name], "needs", None)
    return found if isinstance(found, PassNeeds) else PassNeeds()


def missing_before(name: str, standing: set[str]) -> Iterator[str]:
    """The passes that must run before `name`, in order; those in `standing` have run, and their work still holds.

    Raises ChopError for a pass that requires one that there is not, or itself.
    """
    yield from _missing(PASSES.canonical(name), set(standing), ())


def _missing(name: str, known: set[str], path: tuple[str, ...]) -> Iterator[str]:
    if name in path:
        raise ChopError(f"passes require each other: {' → '.join([*path, name])}")
    for required in needs_of(name).requires:
        own = PASSES.canonical(required)
        if own not in known:
            yield from _missing(own, known, (*path, name))
            known.add(own)
            yield own
