"""The target of a search, `export_to`: a space is kept to what can be exported to it, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from chop.actions.search.search_space import SearchSpaceBase
from chop.actions.search.search_space.exportable import needed_passes
from chop.config.typed import Problem
from chop.dataset.data import Data, first_batch
from chop.errors import ChopError, UnknownNameError
from chop.ir import MaseGraph

SETUP = ("search_space", "setup")
TARGET = "export_to"
"""The key under `[search.search_space.setup]` that names the target."""


def with_needed_passes(setup: Any, graph: MaseGraph) -> Any:
    """The setup with the passes that its target needs, if it names one.

    Raises UnknownNameError for a target that no exporter has.
    """
    target = getattr(setup, TARGET, None)
    if target is None:
        return setup
    return replace(setup, passes=needed_passes(target, graph, setup.passes))


def changes_norms(setup: Any, graph: MaseGraph) -> bool:
    """Whether the target of a setup needs passes that are not listed; False for a target that there is not."""
    with suppress(UnknownNameError):
        return bool(with_needed_passes(setup, graph) != setup)
    return False


def without_target(space: Mapping[str, Any]) -> dict[str, Any]:
    """The table of a space without its target."""
    return {**space, "setup": {key: value for key, value in space["setup"].items() if key != TARGET}}


def kept_to_target(space: SearchSpaceBase, given: Any, data: Data) -> list[Problem]:
    """Leave out of a space what cannot be exported to the target of its setup, if it names one; all problems of it.

    `given` is the setup of the file: the space's own has the passes that the target needs.
    """
    setup = space.setup
    target = getattr(setup, TARGET, None)
    if target is None:
        return []
    try:
        space.keep_exportable(target, first_batch(data, "train", 2)[0])
    except ChopError as error:
        return [Problem(("setup", TARGET), str(error))]
    if added := [name for name in setup.passes if name not in given.passes]:
        line = f"For {target}, passes change the float network first, and keep what it computes: {', '.join(added)}."
        space.remarks = [line, *space.remarks]
    return space.problems()
