"""A node's lab dictionary (`name`, `data_in_width`, `weight_frac_width` …) as formats of its operands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chop.errors import FormatError, did_you_mean
from chop.formats import FORMATS, Format, OutputShift
from chop.nn.ops import OPERANDS, Op

NodeConfig = Mapping[str, Any]

GLOBAL_KEYS = ("name", "bypass", "floor", "bias_correction")
"""Keys that hold for all operands of a node; every other key is `<operand>_<parameter of the format>`."""

FLOAT_NAMES = (None, "NA")


def is_float(config: NodeConfig) -> bool:
    """Whether the config leaves its node in floating point.

    >>> is_float({"name": "NA", "data_in_width": 8})
    True
    """
    return config.get("name") in FLOAT_NAMES or config.get("bypass", False) is True


def format_class(config: NodeConfig) -> type[Format]:
    """The format that a config names; `floor = true` makes `integer` round down.

    Raises UnknownNameError for a format that no registry holds, FormatError where `floor` does not apply.
    """
    name = FORMATS.canonical(config["name"]) if isinstance(config["name"], str) else config["name"]
    if not isinstance(name, str):
        raise FormatError(f"name: expected the name of a number format, got {name!r}")
    floor = _truth(config, "floor")
    _truth(config, "bypass")
    if floor and f"{name}_floor" in FORMATS:
        return FORMATS[f"{name}_floor"]
    if floor and not name.endswith("_floor"):
        raise FormatError(f"floor: the format '{name}' has no variant that rounds down; remove the key")
    return FORMATS[name]


def _truth(config: NodeConfig, key: str) -> bool:
    value = config.get(key, False)
    if not isinstance(value, bool):
        raise FormatError(f"{key}: expected true or false, got {value!r}")
    return value


def split_key(key: str) -> tuple[str, str] | None:
    """The operand and the format's parameter in a key, or None where it names no operand.

    >>> split_key("data_in_frac_width")
    ('data_in', 'frac_width')
    >>> split_key("bias_correction")
    """
    for operand in OPERANDS:
        if key.startswith(f"{operand}_") and key not in GLOBAL_KEYS:
            return operand, key.removeprefix(f"{operand}_")
    return None


def known_keys(cls: type[Format]) -> list[str]:
    """Every key that a node config of format `cls` may hold."""
    parameters = cls.keys()
    return [*GLOBAL_KEYS, *(f"{operand}_{key}" for operand in OPERANDS for key in parameters)]


def check_keys(config: NodeConfig) -> None:
    """Raise FormatError for a key that no operand of the config's format has."""
    known = known_keys(format_class(config))
    for key in config:
        if key not in known:
            raise FormatError(f"unknown key '{key}'{did_you_mean(key, known)} (format '{config['name']}')")


def operand_keys(config: NodeConfig, operand: str) -> dict[str, Any]:
    """The parameters that a config sets for one operand."""
    split = ((split_key(key), value) for key, value in config.items() if key not in GLOBAL_KEYS)
    return {where[1]: value for where, value in split if where is not None and where[0] == operand}


def speaking_operand(keys: Iterable[str], operand: str, op: Op) -> str:
    """The operand whose keys hold for `operand`: its own, or where there are none of the one that it follows."""
    has_own = any(where is not None and where[0] == operand for where in map(split_key, keys))
    return operand if has_own else op.follows.get(operand, operand)


def node_formats(config: NodeConfig, op: Op) -> dict[str, Format]:
    """The formats that `config` gives to the operands of `op`; an operand without keys stays in float.

    Keys of operands that `op` does not have are skipped.

    Raises FormatError or UnknownNameError, naming the key, for anything that is not a valid choice.

    >>> from chop.nn.ops import op_of_method
    >>> found = node_formats({"name": "integer", "data_in_width": 8, "weight_width": 4}, op_of_method("relu"))
    >>> {operand: str(number_format) for operand, number_format in found.items()}
    {'data_in': 'integer 8.4 unsigned'}
    """
    _truth(config, "bypass")
    if "name" not in config and set(config) - {"bypass"}:
        raise FormatError('name is missing; give a number format, or "NA" for float')
    if is_float(config):
        return {}
    check_keys(config)
    formats = {operand: operand_format(config, operand, op) for operand in op.operands}
    return {operand: chosen for operand, chosen in formats.items() if chosen is not None}


def operand_format(config: NodeConfig, operand: str, op: Op) -> Format | None:
    """The format of one operand, None where `config` sets no key of it; raises FormatError, naming the key."""
    chosen = _own_format(config, operand, op)
    is_corrected = _truth(config, "bias_correction")
    if operand == "data_out" and is_corrected and op.multiplies and "weight" in op.params:
        return OutputShift(chosen, last=op.name == "linear")
    return chosen


def _own_format(config: NodeConfig, operand: str, op: Op) -> Format | None:
    values = operand_keys(config, speaking_operand(config, operand, op))
    if not values:
        return None
    layout = op.layouts.get(operand)
    try:
        chosen = format_class(config).from_keys(
            values,
            is_signed=operand not in op.unsigned,
            is_activation=is_activation(operand, op),
            channel_axis=channel_axis(operand, op),
            channel_groups=op.groups if operand in op.params else 1,
        )
        return chosen if layout is None else chosen.placed(layout)
    except FormatError as error:
        raise FormatError(f"{operand} of '{op.name}': {error} (keys start with '{operand}_')") from error


def channel_axis(operand: str, op: Op) -> int:
    """The dimension of an operand's channels: output channels of weights; of activations the usual one, which holds
    until the operand's own layout is known.
    """
    if operand in op.params:
        return 1 if op.name.startswith("conv_transpose") else 0
    return 1 if op.is_image else -1


def is_activation(operand: str, op: Op) -> bool:
    """Whether an operand flows through the network (its first dimension is the batch) and is no parameter."""
    return operand not in op.params
