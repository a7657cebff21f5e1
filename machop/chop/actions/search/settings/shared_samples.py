"""Copies the samples of the runner that has an option for them to the runners that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from chop.actions.search.settings.tables import RunnerChoice
from chop.actions.search.strategies.runners.base import RUNNERS, RowOptions
from chop.config.typed import Problem
from chop.tools.logger import get_logger

logger = get_logger(__name__)

LOADER_KEYS = ("data_loader", "dataloader")
SAMPLE_KEYS = ("num_samples", "eval_samples")
KEYS = tuple(field.name for field in fields(RowOptions))


def with_shared_samples(
    choices: Sequence[RunnerChoice], tables: Mapping[str, Mapping[str, Any]]
) -> tuple[RunnerChoice, ...]:
    """The runners; those of outputs measure on the samples of the first one whose table states them.

    A runner that has a number of samples of its own, in its table or by default, keeps it; so it is with the part.
    """
    stating = [choice for choice in choices if _states(tables[choice.name], (*LOADER_KEYS, *SAMPLE_KEYS))]
    if not stating or _samples_of(stating[0].options) is None:
        return tuple(choices)
    return tuple(_shared(choice, tables[choice.name], stating[0]) for choice in choices)


def samples_problems(choices: Sequence[RunnerChoice]) -> list[Problem]:
    """The problems of runners of outputs that have no option for samples."""
    return [
        Problem(
            ("strategy", choice.group, choice.name),
            f"its Options have no {' and no '.join(missing)}: derive them from RowOptions, as a runner of outputs must "
            "say on which samples it measures",
        )
        for choice in choices
        if _is_of_outputs(choice) and (missing := [key for key in KEYS if not hasattr(choice.options, key)])
    ]


def _shared(choice: RunnerChoice, table: Mapping[str, Any], source: RunnerChoice) -> RunnerChoice:
    part, samples = _samples_of(source.options) or ("", None)
    if choice is source or not _is_of_outputs(choice) or getattr(choice.options, "num_samples", 0) is not None:
        return choice
    own: dict[str, Any] = {"num_samples": samples}
    own |= {} if _states(table, LOADER_KEYS) else {"data_loader": part}
    if replace(choice.options, **own) == choice.options:
        return choice
    logger.info(
        "%s measures on %s of %s, as %s does; num_samples in its table says otherwise",
        choice.name,
        "all samples" if samples is None else f"the first {samples:,} samples",
        own.get("data_loader", choice.options.data_loader),
        source.name,
    )
    return replace(choice, options=replace(choice.options, **own))


def _is_of_outputs(choice: RunnerChoice) -> bool:
    return RUNNERS[choice.name].needs == "outputs"


def _states(table: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return any(key in table for key in keys)


def _samples_of(options: Any) -> tuple[str, int | None] | None:
    """The data set and the number of samples of a runner; None if its options do not state them."""
    if not hasattr(options, "data_loader"):
        return None
    key = "eval_samples" if hasattr(options, "eval_samples") else "num_samples"
    return options.data_loader, getattr(options, key, None)
