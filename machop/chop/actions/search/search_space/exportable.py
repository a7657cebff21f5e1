"""Leaves out of a space what no export of a target can write, and says what and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from chop.actions.search.search_space.left_out import WHOLE, LeftOut
from chop.actions.search.search_space.node_choices import TRANSFORMS, Indexes, NodeChoices
from chop.actions.search.search_space.transform_choices import acting_transforms, combinations, meant_values
from chop.config.typed import Problem
from chop.exporters.base import exporters_for
from chop.exporters.choices import Branch, Choices, Refused, RefusedChoices
from chop.formats import Format
from chop.ir import MaseGraph
from chop.nn.node_config import GLOBAL_KEYS, format_class, is_float, is_transform_key, split_key
from chop.passes.graph.registry import PASSES
from chop.tools.whole_numbers import readable

FORMAT = "<format>"
"""Stands for a format in the reasons against it."""

MOST_REASONS = 3
"""Reasons that a remark on a node tells."""

NO_LIST = {"width": [8], "frac_width": ["auto"]}
"""What an operand may have where no other has lists to take over."""


@dataclass(frozen=True)
class NodeReasons:
    """Why choices of a node cannot be exported.

    `before` and `left` are the numbers of its choices. Where none is left, `in_float` are the operands that lack a
    format in the branch that lacks the fewest, and `of` is the name of that branch's format.
    """

    before: int
    left: int
    reasons: tuple[str, ...]
    in_float: tuple[str, ...] = ()
    of: str = ""


@dataclass(frozen=True)
class ExportableChoices:
    """The choices of all nodes that an exporter can write.

    `told` are the nodes that lost some, with the reasons; `nodes_refused` those that no choice of formats helps.
    """

    exporter: str
    nodes: Mapping[str, NodeChoices]
    told: Mapping[str, NodeReasons]
    nodes_refused: Mapping[str, str]

    @property
    def size(self) -> int:
        """The number of networks, where no nodes are tied; 0 where none can be exported."""
        return 0 if self.nodes_refused else prod(node.size for node in self.nodes.values())


def exportable_choices(
    target: str, graph: MaseGraph, example: Any, nodes: Mapping[str, NodeChoices], leaders: Mapping[str, str]
) -> ExportableChoices:
    """The choices of `nodes` without what cannot be exported to a target.

    Of several exporters of a target it is the one that takes the most networks: it takes every network that is left.
    `leaders` are the nodes whose choices others have too. Raises UnknownNameError for a target that no exporter has.
    """
    asked = {name: [Branch(*node.lists(branch)) for branch in node.branches] for name, node in nodes.items()}
    found = []
    for name, exporter in exporters_for(target).items():
        refused = exporter.refused(graph, example, asked)
        found.append(_kept(name, nodes, leaders, asked, refused))
        if not found[-1].told and not found[-1].nodes_refused:
            break  # no other takes more
    return max(found, key=lambda own: own.size)


def _kept(
    exporter: str,
    nodes: Mapping[str, NodeChoices],
    leaders: Mapping[str, str],
    asked: Choices,
    refused: Refused,
) -> ExportableChoices:
    left_out: dict[str, LeftOut] = {}
    for name, node in nodes.items():
        leader = leaders.get(name, name)
        left_out[leader] = left_out.get(leader, LeftOut()) | _left_out(node, refused.choices[name])
    kept = {name: _without(node, left_out[leaders.get(name, name)]) for name, node in nodes.items()}
    told = {
        name: _reasons(node, kept[name].size, asked[name], refused.choices[name])
        for name, node in nodes.items()
        if kept[name].size < node.size
    }
    return ExportableChoices(exporter, kept, told, refused.nodes)


def _left_out(node: NodeChoices, refused: Sequence[RefusedChoices]) -> LeftOut:
    """The combinations of values that lead to what is refused."""
    by_meaning = {branch.meaning: own for branch, own in zip(node.branches, refused, strict=True)}
    bypassed = next((own for branch, own in zip(node.branches, refused, strict=True) if branch.holds_float), None)
    keys: set[tuple[str, str]] = set()
    for head in node.heads:
        branch, values = node.branch(head), _values(node, head)
        own = by_meaning.get(branch.meaning, bypassed)
        assert own is not None
        if own.is_whole:
            keys.add(LeftOut.key(WHOLE, values))
            continue
        for operand, lists in branch.formats.items():
            places = _places(node, operand, own)
            wrong = [chosen for place, chosen in enumerate(lists.values) if place in places]
            for indexes, chosen in node.combinations(head, operand) if wrong else ():
                if chosen in wrong:
                    keys.add(LeftOut.key(operand, {**values, **_values(node, indexes)}))
        keys |= _transforms_left_out(node, head, own)
    return LeftOut(frozenset(keys))


def _places(node: NodeChoices, operand: str, refused: RefusedChoices) -> set[int]:
    """The places in an operand's list that are refused for it, or for one that follows it."""
    group = {operand, *node.following(operand)}
    return {place for name, place in refused.formats if name in group}


def _transforms_left_out(node: NodeChoices, head: Indexes, refused: RefusedChoices) -> set[tuple[str, str]]:
    if not refused.transforms:
        return set()
    transforms, values = node.branch(head).transforms, _values(node, head)
    wrong = [own for place, own in enumerate(transforms) if place in refused.transforms]
    keys = [key for key in node.choices if is_transform_key(key)]
    found = set()
    for indexes in combinations(node.choices, keys):
        config = _values(node, indexes)
        acting = acting_transforms(meant_values(config), node.op, node.rounds_weights(head))
        if acting in wrong:
            found.add(LeftOut.key(TRANSFORMS, {**values, **config}))
    return found


def _without(node: NodeChoices, left_out: LeftOut) -> NodeChoices:
    """The node without some combinations, and with no value in its lists that is in none that is left."""
    if not left_out:
        return node
    own = NodeChoices(node.node, node.op, node.stated, node.tied_operands, left_out)
    if not own.size:
        return own
    used = _used(own)
    lists = {key: used[first] for key in node.stated if (first := node.tied_keys.get(key, key)) in used}
    plain = NodeChoices(node.node, node.op, lists, node.tied_operands)
    return plain if plain.size == own.size else NodeChoices(node.node, node.op, lists, node.tied_operands, left_out)


def _used(node: NodeChoices) -> dict[str, list[Any]]:
    """The values of each key that some choice has; keys of formats that are left out are not there."""
    used: dict[str, set[int]] = {key: set() for key in node.choices}
    for head in node.heads:
        branch = node.branch(head)
        if not branch.size:
            continue
        combined = [head]
        combined += [indexes for operand in branch.formats for indexes, _ in node.combinations(head, operand)]
        combined += _transforms_of(node, head)
        for indexes in combined:
            for key, index in indexes.items():
                used[key].add(index)
    return {key: [node.choices[key][index] for index in sorted(own)] for key, own in used.items() if own}


def _transforms_of(node: NodeChoices, head: Indexes) -> list[Indexes]:
    """The combinations of the keys of weight transforms that are not left out."""
    keys = [key for key in node.choices if is_transform_key(key)]
    found = combinations(node.choices, keys)
    values = _values(node, head)
    return [own for own in found if not node.left_out.has(TRANSFORMS, {**values, **_values(node, own)})]


def _values(node: NodeChoices, indexes: Indexes) -> dict[str, Any]:
    return {key: node.choices[key][index] for key, index in indexes.items()}


def _reasons(node: NodeChoices, left: int, asked: Sequence[Branch], refused: Sequence[RefusedChoices]) -> NodeReasons:
    """The reasons of a node, each once."""
    reasons: list[str] = []
    lacking = []
    for branch, lists, own in zip(node.branches, asked, refused, strict=True):
        name = _values(node, branch.head)["name"]
        reasons += _of_formats(lists, own)
        reasons += [own.whole] if own.whole else []
        is_in_float = is_float({"name": name}) and bool(own.in_float)
        reasons += ["it would stay in float"] if is_in_float and left else own.in_float.values()
        lacking += [(own.in_float, name)] if own.in_float else []
    in_float, of = min(lacking, key=lambda own: len(own[0])) if lacking and not left else ({}, "")
    return NodeReasons(node.size, left, tuple(dict.fromkeys(reasons)), tuple(in_float), of)


def _of_formats(lists: Branch, refused: RefusedChoices) -> list[str]:
    """The reasons against formats; those that differ in the format alone are one."""
    pairs: list[tuple[Format | None, str]] = [
        (lists.formats[operand][place], reason) for (operand, place), reason in refused.formats.items()
    ]
    pairs += [(lists.transforms[place], reason) for place, reason in refused.transforms.items()]
    alike: dict[str, list[str]] = {}
    for chosen, reason in pairs:
        alike.setdefault(reason.replace(f"'{chosen}'", FORMAT), []).append(f"'{chosen}'")
    others = {reason: len(set(formats)) - 1 for reason, formats in alike.items()}
    return [
        reason.replace(FORMAT, formats[0] + (f" (and {others[reason]} more)" if others[reason] else ""))
        for reason, formats in alike.items()
    ]


def needed_passes(target: str, graph: MaseGraph, listed: Sequence[str]) -> list[str]:
    """The passes to run on the float network: those that every exporter of a target needs, then the rest of `listed`.

    Raises UnknownNameError for a target that no exporter has.
    """
    first, *others = exporters_for(target).values()
    has_norms = any(op.has_statistics for op in graph.quantizable_nodes().values())
    needed = [own for own in first.float_passes if all(own in other.float_passes for other in others)]
    given = [PASSES.canonical(own) for own in listed]
    if not has_norms or set(needed) <= set(given):
        return list(listed)
    return [*needed, *(name for name, own in zip(listed, given, strict=True) if own not in needed)]


def remarks_on(target: str, found: ExportableChoices, sizes: tuple[int, int]) -> list[str]:
    """What a space lost to a target, in lines for people: of all, then of the nodes, those alike together.

    `sizes` are the numbers of its networks before and after.
    """
    before, left = sizes
    if before == left or not left:
        return []
    lines = [
        f"Kept to what can be exported to {_named(target, found.exporter)}: {readable(left)} of {readable(before)} "
        "configurations."
    ]
    alike: dict[NodeReasons, list[str]] = {}
    for name, own in found.told.items():
        alike.setdefault(own, []).append(name)
    for own, names in alike.items():
        each = "each of " if len(names) > 1 else ""
        lines.append(
            f"Left out: {own.before - own.left:,} of the {own.before:,} choices of {each}{', '.join(names)}: "
            f"{_told(own.reasons)}."
        )
    return lines


def _named(target: str, exporter: str) -> str:
    return target if exporter == target else f"{target} ({exporter})"


def _told(reasons: Sequence[str]) -> str:
    more = f"; and for {len(reasons) - MOST_REASONS} more reasons" if len(reasons) > MOST_REASONS else ""
    return "; ".join(reasons[:MOST_REASONS]) + more


def no_choice_problems(
    target: str,
    found: ExportableChoices,
    nodes: Mapping[str, NodeChoices],
    place_of: Callable[[str], tuple[str, ...]],
) -> list[Problem]:
    """The problems of nodes that keep no choice, with what to write in the tables where `place_of` finds them."""
    problems = [Problem(("setup", "export_to"), f"node '{name}': {why}") for name, why in found.nodes_refused.items()]
    alike: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for name, own in found.told.items():
        if not own.left:
            cure = _cure(nodes[name], own, place_of(name))
            alike.setdefault((place_of(name), f"{_told(own.reasons)}{cure}"), []).append(name)
    for (path, text), names in alike.items():
        each = f"node{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"
        problems.append(Problem(path, f"no choice of {each} can be exported to {target}: {text}"))
    return problems


def _cure(node: NodeChoices, own: NodeReasons, place: tuple[str, ...]) -> str:
    """The cure, as what to write in the file; empty if the reasons say it."""
    if place == ("setup", "exclude"):
        return "; take it out of the list, and give it formats"
    if not own.in_float:
        return ""
    if _is_in_float(node):
        lines = _lists_to_add(node, [operand for operand in node.op.operands if operand != "data_out"], own.of)
        table = f'[search.search_space.seed.{node.op.name}.config] (by = "type")'
        return f"; add in a table such as {table}: {', '.join(lines)}"
    return f"; add here: {', '.join(_lists_to_add(node, own.in_float, own.of))}"


def _is_in_float(node: NodeChoices) -> bool:
    return all(is_float({"name": name}) for name in node.stated.get("name", ["NA"]))


def _lists_to_add(node: NodeChoices, operands: Iterable[str], of: str) -> list[str]:
    """The lines of a TOML file that give formats to operands: the lists of another operand, as far as there are any."""
    is_in_float = _is_in_float(node)
    lines = ['name = ["integer"]'] if is_in_float else []
    known = () if is_float({"name": of}) else format_class({"name": of}).keys()
    for operand in operands:
        given = {key: own for key, own in _lists_of_another(node, operand).items() if key in known}
        lines += [f"{operand}_{key} = {json.dumps(values)}" for key, values in (given or NO_LIST).items()]
    return lines


def _lists_of_another(node: NodeChoices, operand: str) -> dict[str, list[Any]]:
    """The lists of another operand of the node, by parameter: of the weight for a bias."""
    by_operand: dict[str, dict[str, list[Any]]] = {}
    for key, values in node.stated.items():
        where = split_key(key)
        if where is not None and key not in GLOBAL_KEYS and not is_transform_key(key):
            by_operand.setdefault(where[0], {})[where[1]] = values
    return by_operand.get("weight" if operand == "bias" else "data_in") or next(iter(by_operand.values()), {})
