"""The pass that quantises a graph with the formats of a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from chop.config.typed import Problem
from chop.errors import ChopError, GraphError, PassError
from chop.formats import Format, MeasuredTensor, format_name
from chop.formats.learned import LEARNED
from chop.ir import MaseGraph, QuantPlan
from chop.nn.node_config import (
    WEIGHT,
    NodeConfig,
    effect_problem,
    idle_problem,
    is_float,
    key_problems,
    node_formats,
    split_key,
)
from chop.nn.ops import Op
from chop.passes.graph.node_selection import (
    DEFAULT,
    check_by,
    select_entries,
    selection_problems,
)
from chop.passes.graph.registry import register_pass
from chop.tools.logger import get_logger
from chop.weight_transforms import format_of, transforms_of

logger = get_logger(__name__)


def config_problems(pass_args: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with a config whatever the network is: its shape, `by`, and keys that no format has."""
    try:
        check_by(pass_args.get("by"))
    except PassError as error:
        yield Problem(("by",), str(error).removeprefix("by: "))
    for key, entry in pass_args.items():
        if key != "by":
            yield from (problem.below(key) for problem in _entry_problems(key, entry))


def _entry_problems(key: str, entry: Any) -> list[Problem]:
    try:
        config = _node_config(key, entry)
    except PassError as error:
        return [Problem((), str(error))]
    try:
        return [Problem(("config", own), text) for own, text in key_problems(config)]
    except ChopError as error:
        return [Problem(("config", "name"), str(error))]


@register_pass("quantize", leaves=(), problems=config_problems, chooses_formats=True)
def quantize_transform_pass(
    graph: MaseGraph, pass_args: Mapping[str, Any] | None = None
) -> tuple[MaseGraph, dict[str, Any]]:
    """Make `graph` compute with the formats of `pass_args`, in place of any that it had.

    `pass_args` is `{"by": "type" | "name" | "regex_name", "default": {"config": {…}}, "<key>": {"config": {…}}}`; it is
    not changed. Sixteen calls in a row leave what the last one alone would. The info is `{"plan": QuantPlan}`.

    Raises PassError naming the key and the cure.
    """
    if not pass_args:
        raise PassError('quantize needs pass_args, at least {"by": "type", "default": {"config": {"name": "NA"}}}')
    plan = plan_from_config(graph, pass_args)
    try:
        graph.apply_plan(plan)
    except GraphError as error:
        raise PassError(str(error)) from error
    return graph, {"plan": graph.plan}


def plan_from_config(graph: MaseGraph, config: Mapping[str, Any]) -> QuantPlan:
    """The plan of a config for `graph`; raises PassError for invalid keys and values."""
    by = check_by(config.get("by"))
    entries = {key: _node_config(key, entry) for key, entry in config.items() if key != "by"}
    nodes = graph.quantizable_nodes()
    problems = selection_problems(entries, by, nodes)
    if problems:
        raise PassError("; ".join(problems.values()))
    chosen = select_entries(entries, by, nodes)
    return QuantPlan.of(
        {name: _formats_of(name, nodes[name], key, entries[key], by) for name, key in chosen.items() if key}
    )


def config_from_plan(plan: QuantPlan) -> dict[str, Any]:
    """The config whose plan this is, by name: the inverse of `plan_from_config`.

    Raises PassError for a node whose operands have formats of different kinds, which no config can say.

    >>> from chop.formats import Integer
    >>> config_from_plan(QuantPlan.of({"fc": {"weight": Integer(8, 6)}}))["fc"]["config"]
    {'name': 'integer', 'weight_width': 8, 'weight_frac_width': 6}
    """
    nodes = {node: {"config": _config_of(node, plan[node])} for node in plan}
    return {"by": "name", DEFAULT: {"config": {"name": "NA"}}, **nodes}


def _config_of(node: str, formats: Mapping[str, Format]) -> NodeConfig:
    plain = {operand: own for operand, chosen in formats.items() if (own := format_of(chosen)) is not None}
    names = {format_name(type(own)) for own in plain.values()}
    if len(names) > 1:
        raise PassError(f"node '{node}' has formats of different kinds ({', '.join(sorted(names))})")
    config: dict[str, Any] = {"name": names.pop() if names else "NA"}
    for transform in transforms_of(formats.get(WEIGHT)):
        config |= {f"{WEIGHT}_{key}": value for key, value in _values_of(transform).items()}
    for operand, chosen in plain.items():
        config |= {f"{operand}_{key}": value for key, value in _values_of(chosen).items()}
    return config


def _values_of(chosen: Any) -> dict[str, Any]:
    """The parameters of a format or weight transform that a config may set, without those that have their default."""
    defaults = {own.name: own.default for own in fields(chosen)}
    values = {key: getattr(chosen, key) for key in chosen.keys()}  # noqa: SIM118
    values = {key: value for key, value in values.items() if value != defaults[key]}
    return {key: _as_choice(value) for key, value in values.items()}


def _as_choice(value: Any) -> Any:
    """A parameter as a config holds it: what a training has found is in the graph, the config says that it was."""
    if isinstance(value, MeasuredTensor):
        return LEARNED
    return list(value) if isinstance(value, tuple) else value


def _node_config(key: str, entry: Any) -> NodeConfig:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("config"), Mapping):
        raise PassError(f"'{key}' must hold a table 'config', as in {{'config': {{'name': 'integer', …}}}}")
    config: NodeConfig = entry["config"]
    return config


def _formats_of(name: str, op: Op, key: str, config: NodeConfig, by: str) -> dict[str, Format]:
    try:
        if by != "regex_name" and key != DEFAULT:
            _check_effects(config, op, by)
        formats = node_formats(config, op)
    except ChopError as error:
        raise PassError(f"'{key}' (node '{name}'): {error}") from error
    missing = [operand for operand in op.operands if operand not in formats and operand != "data_out"]
    if missing and not is_float(config):
        logger.debug("%s: no format given for %s: stays in float32", name, ", ".join(missing))
    return formats


def _check_effects(config: NodeConfig, op: Op, by: str) -> None:
    """Raise PassError where a config that names its node, or its type, holds keys without effect on the op.

    One config may serve several types: those that lack an operand take no notice of its keys.
    """
    for key in config:
        where = split_key(key)
        if by == "type" and where is not None and where[0] not in op.possible_operands:
            continue
        if problem := effect_problem(key, op) or idle_problem(key, config):
            raise PassError(f"key '{key}': {problem}; remove the key")
