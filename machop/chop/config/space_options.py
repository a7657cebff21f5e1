"""The options of `ch train --for-space` on the command line: its own, those that it shares, those without effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from chop.config.options import RunOptions
from chop.config.overrides import Override
from chop.config.run_config import SPACE_TRAINING, RunConfig, typed_flag
from chop.config.space_training import SpaceTrainingOptions

SHARED = tuple(
    own.name for own in fields(RunOptions) if own.name in {option.name for option in fields(SpaceTrainingOptions)}
)
"""Options of every command that mean this training where they stand on the command line."""

OF_FLOAT_TRAINING = tuple(own.name for own in fields(RunOptions) if own.metadata["of_training"] or own.name in SHARED)
"""Options whose values at the top of a file are for the training in float."""


def for_space(run_config: RunConfig, given: Mapping[str, Any]) -> RunConfig:
    """The options with those of the command line in the table of this training, and problems of those without effect.

    `given` are the options that no other command has; None: not given.
    """
    typed = [name for name in OF_FLOAT_TRAINING if run_config.sources[name] == "command line"]
    values = {name: getattr(run_config.options, name) for name in typed if name in SHARED}
    values |= {name: value for name, value in given.items() if value is not None}
    placed = run_config.with_overrides(
        [Override(f"--{name.replace('_', '-')}", (SPACE_TRAINING, name), value) for name, value in values.items()]
    )
    idle = [typed_flag(name) for name in typed if name not in SHARED]
    problems = [f"command line: {flag} has no effect with --for-space: leave it out" for flag in idle]
    return replace(placed, of_options=(*placed.of_options, *problems))
