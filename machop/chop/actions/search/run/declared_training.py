"""The training that a strategy declares: what speaks against it before anything is trained, and the training itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.search_space.base import SearchSpaceBase
from chop.actions.search.settings.search import SearchSettings
from chop.actions.search.strategies.base import STRATEGIES, Training
from chop.actions.search.strategies.runners.base import RunnerBase
from chop.config.typed import Problem, parse_table
from chop.dataset.data import Data
from chop.errors import ChopError, MetricError, SearchError
from chop.ir import MaseGraph, QuantPlan
from chop.record.finished import checksum
from chop.tools.logger import get_logger
from chop.training.snapshots import TRAININGS, SnapshotTraining, loss_problem

logger = get_logger(__name__)

ASKED_ABOUT = 5
"""Points of a space that runners are asked about before anything is trained."""

MOST_NAMED = 8
"""Layers that a message names."""

LINE_BREAK = "\n  "
"""Joins the lines of an error with several reasons."""

_NO_LADDER = (
    "has no effect on networks that are trained: each snapshot is measured on all samples; remove it, or, to search "
    "points of the space, {}"
)

_NO_MEASURED_NORMS = (
    "trains networks of its own, whose batch norms have the statistics of the float network, and the space measures "
    'them: leave out batch_norm = "measured", or, to search points of the space, {}'
)


def training_problems(
    settings: SearchSettings, space: SearchSpaceBase, data: Data, device: str = "cpu"
) -> list[Problem]:
    """The problems of the training that the strategy of a search declares, with cures; nothing is trained."""
    training = declared_training(settings)
    if training is None:
        return []
    setup = ("strategy", "setup")
    has_ladder = training.own_networks and settings.setup.ladder
    found = [Problem((*setup, "ladder"), _NO_LADDER.format(training.as_points))] if has_ladder else []
    problem = training_problem(training, space, data, device)
    return [*found, *([Problem(setup, f"'{settings.strategy}' {problem}")] if problem else [])]


def training_name_problems(settings: SearchSettings, space: SearchSpaceBase) -> list[Problem]:
    """The problem of a declared training with the names of the formats, where a space has problems of its own."""
    training = declared_training(settings)
    if training is None or training.name not in TRAININGS.working():
        return []
    problem = TRAININGS[training.name].name_problem(space.format_names)
    return [Problem(("strategy", "setup"), f"'{settings.strategy}' {problem}")] if problem else []


def declared_training(settings: SearchSettings) -> Training | None:
    """The training that the strategy of a search needs, if any."""
    return STRATEGIES[settings.strategy].training(settings.strategy_options)


def training_problem(training: Training, space: SearchSpaceBase, data: Data, device: str = "cpu") -> str | None:
    """The reason why a training cannot run on this space and these data, with the cure; or None. Nothing is trained."""
    try:
        engine = TRAININGS[training.name]
    except ChopError as error:
        return f"needs a training that is not there: {error}"
    options, problems = parse_table(engine.Options, dict(training.options))
    if problems:
        wrong = "; ".join(f"{'.'.join(problem.path)}: {problem.message}" for problem in problems)
        return f"gives the training '{training.name}' wrong options: {wrong}"
    if training.own_networks and space.measures_norms:
        return _NO_MEASURED_NORMS.format(training.as_points)
    return (
        engine.problem(options, space.possible_formats())
        or engine.data_problem(options, space.graph, data)
        or loss_problem(space.graph, data, device)
    )


def engine_of(
    training: Training, space: SearchSpaceBase, data: Data, seed: int = 0, device: str = "cpu"
) -> SnapshotTraining:
    """The training itself, checked before (`training_problem`), for the graph and the formats of a space."""
    cls = TRAININGS[training.name]
    options, _ = parse_table(cls.Options, dict(training.options))
    return cls(space.graph, data, space.possible_formats(), options, seed, device)


def file_digests(training: Training) -> dict[str, str]:
    """The checksums of the files that a training reads, which was checked before."""
    cls = TRAININGS[training.name]
    options, _ = parse_table(cls.Options, dict(training.options))
    return {path: checksum(Path(path).read_bytes()) for path in cls.files(options)}


def require_measurable(training: Training, space: SearchSpaceBase, instruments: Instruments) -> None:
    """Raise SearchError where a runner has no metrics for the networks to be trained, whatever widths they get.

    `space` says which formats they can have: a few of its points are asked about, without what networks of their own
    have no formats for, and one that is measurable is enough.
    """
    left = _left_in_float(training, space) if training.own_networks else []
    plans = [space.plan(space.point(number)) for number in {space.size * n // ASKED_ABOUT for n in range(ASKED_ABOUT)}]
    for runner in instruments.runners.needed:
        reasons = [_reason(runner, space.graph, plan.without(left)) for plan in plans]
        if reasons[0] and all(reasons):
            told = reasons[0].without(_only_left(space, left))
            lines = [str(told), *_causes(training, space, left)]
            raise SearchError(
                f"nothing is trained: no network of this training would have the metric "
                f"'{runner.metrics[0].name}': {LINE_BREAK.join(lines)}"
            )


def tell_left_out(training: Training, space: SearchSpaceBase) -> None:
    """Warn of operands that the space gives formats to, and the training finds none for."""
    left = _left_in_float(training, space)
    if not left:
        return
    scope = TRAININGS[training.name].scope
    told = f"the training finds formats for {scope}" if scope else "the training finds no formats for them"
    if training.own_networks:
        logger.warning(
            "%s stay in float: %s. Take their formats out of the space, which are not used; or, to search points of "
            "the space, %s",
            _named(left),
            told,
            training.as_points,
        )
    else:
        logger.warning(
            "%s have the first of their choices in each trial: %s; give one choice, or take another strategy",
            _named(left),
            told,
        )


def _left_in_float(training: Training, space: SearchSpaceBase) -> list[tuple[str, str]]:
    """The operands that the space has formats for, and the training finds none for."""
    return list(TRAININGS[training.name].left_in_float(space.graph, space.possible_formats() or {}))


def _only_left(space: SearchSpaceBase, left: Collection[tuple[str, str]]) -> set[str]:
    """The nodes that have formats in the space, and none in the networks of the training."""
    kept = {node for node, operand in space.possible_formats() or {} if (node, operand) not in left}
    return {node for node, _ in left} - kept


def _causes(training: Training, space: SearchSpaceBase, left: Iterable[tuple[str, str]]) -> list[str]:
    """What layers have no formats for, with cures: the training, or the space itself."""
    ops, chosen = space.graph.quantizable_nodes(), space.possible_formats() or {}
    layers = [(node, operand) for node, operand in left if ops[node].multiplies]
    found = []
    if layers and (scope := TRAININGS[training.name].scope):
        found.append(
            f"the training leaves {_named(layers)} in float: it finds formats for {scope}; make such modules of them, "
            f"one for each call, or, to search points of the space, {training.as_points}"
        )
    served = {node for node, own in chosen if chosen[node, own]}
    bare = [name for name, op in ops.items() if op.multiplies and name not in served]
    if bare:
        kinds = " and ".join(dict.fromkeys(f"'{ops[name].name}'" for name in bare))
        found.append(f"the search space has no formats for {', '.join(bare)}: add a seed for them (by type: {kinds})")
    return found


def _named(operands: Iterable[tuple[str, str]]) -> str:
    """Operands by node, `fc (weight, bias)`; of many nodes the first."""
    by_node: dict[str, list[str]] = {}
    for node, operand in operands:
        by_node.setdefault(node, []).append(operand)
    named = [f"{node} ({', '.join(own)})" for node, own in by_node.items()]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return ", ".join(named[:MOST_NAMED]) + more


def _reason(runner: RunnerBase, network: MaseGraph, plan: QuantPlan) -> MetricError | None:
    """The reason why a runner cannot measure a network; None if it can."""
    try:
        runner.require(network, plan)
    except MetricError as error:
        return error
    return None
