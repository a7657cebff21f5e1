"""Reads a node's config (`name`, `data_in_width`, `weight_sparsity` …) as formats and weight transforms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal

from chop.errors import FormatError, OperandError, did_you_mean
from chop.formats import FORMATS, BatchNormStatistics, Format, OutputShift
from chop.nn.ops import OP_TABLE, OPERANDS, STATISTICS, Op
from chop.weight_transforms import (
    WEIGHT_TRANSFORMS,
    WeightTransform,
    all_transform_keys,
    chained,
    transform_of_key,
)

NodeConfig = Mapping[str, Any]

BATCH_NORM = "batch_norm"
"""The key that says which statistics a batch norm has, in any format and in float32."""

BIAS_CORRECTION = "bias_correction"

GLOBAL_KEYS = ("name", "bypass", "floor", BIAS_CORRECTION, BATCH_NORM)
"""Keys that hold for all operands of a node; every other key is `<operand>_<parameter of the format>`."""

BATCH_NORM_VALUES = ("float", "measured")

FLOAT_NAMES = (None, "NA")

WEIGHT = "weight"
"""The operand that transforms are for."""


def is_float(config: NodeConfig) -> bool:
    """Whether the config leaves its node in float32.

    >>> is_float({"name": "NA", "data_in_width": 8})
    True
    """
    return config.get("name") in FLOAT_NAMES or config.get("bypass", False) is True


def format_class(config: NodeConfig) -> type[Format]:
    """The format class that a config names; `floor = true` makes `integer` round down.

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


def _truth(config: NodeConfig, key: str, more: str = "") -> bool:
    value = config.get(key, False)
    if not isinstance(value, bool):
        raise FormatError(f"{key}: expected true or false{more}, got {value!r}")
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


def transform_keys() -> list[str]:
    """Every key of a weight transform that a node config may hold, whatever its format."""
    return [f"{WEIGHT}_{key}" for key in all_transform_keys()]


def is_transform_key(key: str) -> bool:
    """Whether a key is that of a weight transform (or is spelled like one), and of no format.

    >>> is_transform_key("weight_sparsity"), is_transform_key("bias_sparsity"), is_transform_key("weight_width")
    (True, False, False)
    """
    return key.startswith(f"{WEIGHT}_") and transform_of_key(key.removeprefix(f"{WEIGHT}_")) is not None


def broken_transform(key: str) -> str:
    """Why the weight transform of a key cannot be loaded; empty for one that can, and for other keys.

    >>> broken_transform("weight_sparsity"), broken_transform("bias_sparsity")
    ('', '')
    """
    return WEIGHT_TRANSFORMS.broken().get(transform_of_key(key.removeprefix(f"{WEIGHT}_")) or "", "")


def key_problems(config: NodeConfig) -> Iterator[tuple[str, str]]:
    """The keys that no operand of the config's format has, and no weight transform: each with what is wrong.

    Raises UnknownNameError for a format that no registry holds.
    """
    if "name" not in config and set(config) - {"bypass"}:
        yield "name", 'name is missing; give a number format, or "NA" for float'
        return
    for name, values in transform_values(config).items():
        known = WEIGHT_TRANSFORMS[name].keys()
        for key in (f"{WEIGHT}_{own}" for own in values if own not in known):
            hint = did_you_mean(key, [f"{WEIGHT}_{own}" for own in known])
            yield key, f"unknown key '{key}'{hint} (weight transform '{name}')"
    if is_float(config):
        yield from _key_problems_beside_float(config)
        return
    known_here = known_keys(format_class(config))
    for key in config:
        if key not in known_here and not is_transform_key(key):
            hint = did_you_mean(key, [*known_here, *transform_keys()])
            yield key, f"unknown key '{key}'{hint} (format '{config['name']}')"


def require_registered(config: NodeConfig) -> None:
    """Raise UnknownNameError for a format, or a weight transform, that a config names and nothing here registers.

    For configs that a search wrote: they hold no misspelt keys, so one that the format lacks is that of a transform.
    """
    known = [*GLOBAL_KEYS] if config.get("name") in FLOAT_NAMES else known_keys(format_class(config))
    foreign = [key for key in config if key.startswith(f"{WEIGHT}_") and key not in known and not is_transform_key(key)]
    if foreign:
        WEIGHT_TRANSFORMS.canonical(min(foreign, key=len).removeprefix(f"{WEIGHT}_"))


def _key_problems_beside_float(config: NodeConfig) -> Iterator[tuple[str, str]]:
    """Beside "NA" there may be keys of any format; what is nearly the key of a transform is a mistake all the same."""
    named = [key for key in config if (split_key(key) or ("",))[0] == WEIGHT and not is_transform_key(key)]
    for key in named:
        hint = did_you_mean(key, transform_keys())
        if hint and key.removeprefix(f"{WEIGHT}_") not in _all_format_keys():
            yield key, f"unknown key '{key}'{hint}"


def _all_format_keys() -> set[str]:
    """The keys of all formats but those of packages that cannot be loaded."""
    return set(chain.from_iterable(cls.keys() for cls in FORMATS.working().values()))


def operand_keys(config: NodeConfig, operand: str) -> dict[str, Any]:
    """The parameters of its format that a config sets for one operand."""
    return {key.removeprefix(f"{operand}_"): value for key, value in config.items() if _is_of_format(key, operand)}


def _is_of_format(key: str, operand: str) -> bool:
    """Whether a key is a parameter of the format of `operand`."""
    return key.startswith(f"{operand}_") and key not in GLOBAL_KEYS and not is_transform_key(key)


def speaking_operand(keys: Iterable[str], operand: str, op: Op) -> str:
    """The operand whose keys hold for `operand`: its own, or where there are none of the one that it follows."""
    has_own = any(_is_of_format(key, operand) for key in keys)
    return operand if has_own else op.follows.get(operand, operand)


def node_formats(config: NodeConfig, op: Op) -> dict[str, Format]:
    """The formats that `config` gives to the operands of `op`; an operand without keys stays in float32.

    Where a weight is transformed too, its format is a `Chain`. Keys of operands that `op` does not have are skipped.

    Raises FormatError or UnknownNameError, naming the key, for anything that is not a valid choice.

    >>> from chop.nn.ops import op_of_method
    >>> found = node_formats({"name": "integer", "data_in_width": 8, "weight_width": 4}, op_of_method("relu"))
    >>> {operand: str(number_format) for operand, number_format in found.items()}
    {'data_in': 'integer 8b/4f unsigned'}
    """
    _truth(config, "bypass")
    for _, problem in key_problems(config):
        raise FormatError(problem)
    plain = {} if is_float(config) else {operand: operand_format(config, operand, op) for operand in op.operands}
    formats = {**plain, WEIGHT: chained(weight_transforms(config, op), plain.get(WEIGHT))}
    formats[STATISTICS] = norm_statistics(config, op)
    return {operand: chosen for operand, chosen in formats.items() if chosen is not None}


def weight_transforms(config: NodeConfig, op: Op) -> tuple[WeightTransform, ...]:
    """The transforms that `config` asks for of the weights that `op` owns, by name; none for a node that is bypassed.

    Raises FormatError, naming the key, or UnknownNameError.
    """
    given = transform_values(config)
    if not given or config.get("bypass") is True or not has_own_weights(op):
        return ()
    return tuple(_transform(name, values, op) for name, values in sorted(given.items()))


def norm_statistics(config: NodeConfig, op: Op) -> BatchNormStatistics | None:
    """The statistics that `config` asks for of a batch norm, to be measured under the plan; None for those that it has.

    Raises FormatError for another value than those of `BATCH_NORM_VALUES`.

    >>> from chop.nn.ops import op_of_module
    >>> from torch import nn
    >>> str(norm_statistics({"name": "NA", "batch_norm": "measured"}, op_of_module(nn.BatchNorm1d(2))))
    'measured under the plan'
    """
    value = config.get(BATCH_NORM, "float")
    if value not in BATCH_NORM_VALUES:
        hint = did_you_mean(value, BATCH_NORM_VALUES) if isinstance(value, str) else ""
        raise FormatError(f"{BATCH_NORM}: expected {' or '.join(BATCH_NORM_VALUES)}, got {value!r}{hint}")
    is_measured = value == "measured" and op.has_statistics and config.get("bypass") is not True
    return BatchNormStatistics() if is_measured else None


def _statistics_key_problem(op: Op) -> str | None:
    """The problem of the key `batch_norm` for `op`; None if there is none."""
    if op.has_statistics:
        return None
    return f"{op.name} is no batch norm with statistics of its own; {BATCH_NORM} is a key of the norm behind it"


def transform_values(config: NodeConfig) -> dict[str, dict[str, Any]]:
    """The parameters of each weight transform that a config sets, by the transform's name."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in config.items():
        if is_transform_key(key):
            parameter = key.removeprefix(f"{WEIGHT}_")
            found.setdefault(str(transform_of_key(parameter)), {})[parameter] = value
    return found


def has_own_weights(op: Op) -> bool:
    """Whether an op has weights that transforms can be for: a parameter, no activation."""
    return WEIGHT in op.operands and (WEIGHT in op.params or WEIGHT in op.owned)


def _transform_key_problem(key: str, op: Op) -> str | None:
    """The problem of a key of a weight transform for `op`; None if there is none."""
    if not is_transform_key(key) or has_own_weights(op):
        return None
    problem = f"{op.name} has no weights of its own to transform"
    if WEIGHT not in op.args:
        return problem
    return f"{problem}: it multiplies by no parameter as it stands (x @ self.w.T: write F.linear(x, self.w))"


def effect_problem(key: str, op: Op, is_for_type: bool = False) -> str | None:
    """Why a key of a config has no effect on `op`, whatever its value; None where it may have one.

    `is_for_type`: the key is for all ops of this type, some of which may have operands that `op` lacks.

    >>> from chop.nn.ops import op_of_method
    >>> effect_problem("weight_width", op_of_method("relu")), effect_problem("data_in_width", op_of_method("relu"))
    ("relu has no operand 'weight'", None)
    """
    if key == BATCH_NORM:
        return _statistics_key_problem(op)
    where = split_key(key)
    if where is None:
        return None
    kinds = [op, OP_TABLE[op.name]] if is_for_type and op.name in OP_TABLE else [op]
    if not any(where[0] in (name, own.follows.get(name)) for own in kinds for name in own.possible_operands):
        return f"{op.name} has no operand '{where[0]}'"
    return _transform_key_problem(key, op)


def idle_problem(key: str, config: NodeConfig) -> str | None:
    """Why a key of a weight transform has no effect beside the others of its config; None where it may have one.

    >>> print(idle_problem("weight_rounding_order", {"weight_rounding": "nearest", "weight_rounding_order": "stored"}))
    has no effect without rounding = "gptq" (keys start with 'weight_')
    """
    if not is_transform_key(key):
        return None
    parameter = key.removeprefix(f"{WEIGHT}_")
    name = str(transform_of_key(parameter))
    problem = WEIGHT_TRANSFORMS[name].idle(transform_values(config)[name]).get(parameter)
    return problem and f"{problem} (keys start with '{WEIGHT}_')"


def _transform(name: str, values: Mapping[str, Any], op: Op) -> WeightTransform:
    try:
        return WEIGHT_TRANSFORMS[name].from_keys(
            values,
            channel_axis=_outputs_axis(op),
            inputs_axis=inputs_axis(op),
            channel_groups=op.groups,
            sums=op.multiplies,
        )
    except FormatError as error:
        raise OperandError(WEIGHT, op.name, str(error)) from error


def _outputs_axis(op: Op) -> int | None:
    """The dimension of the output channels of a layer's weights; None where each weight is a channel (norms)."""
    if WEIGHT in op.owned:
        return -1
    return channel_axis(WEIGHT, op) if op.multiplies or op.name == "embedding" else None


def inputs_axis(op: Op) -> int | None:
    """The dimension of a layer's weights that a product sums over; of an embedding the features; None for norms."""
    if op.name.startswith("conv"):
        return 0 if op.name.startswith("conv_transpose") else 1
    if WEIGHT in op.owned:
        return -2
    return -1 if op.multiplies or op.name == "embedding" else None


def operand_format(config: NodeConfig, operand: str, op: Op) -> Format | None:
    """The format of one operand, None where `config` sets no key of it; raises FormatError, naming the key.

    Weight transforms have no part in it.
    """
    chosen = _own_format(config, operand, op)
    corrected = bias_correction(config)
    if operand == "data_out" and corrected and op.multiplies and "weight" in op.params:
        return OutputShift(chosen, last=op.name == "linear", under_plan=corrected == "plan")
    return chosen


def bias_correction(config: NodeConfig) -> bool | Literal["plan"]:
    """How `config` corrects the biases of a layer: not, alone, or under the plan; FormatError for any other value."""
    return "plan" if config.get(BIAS_CORRECTION) == "plan" else _truth(config, BIAS_CORRECTION, ', or "plan"')


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
        raise OperandError(operand, op.name, str(error)) from error


def channel_axis(operand: str, op: Op) -> int:
    """The dimension of an operand's channels.

    For weights it is that of the output channels; for activations the usual one, which holds until the operand's own
    layout is known.
    """
    if operand in op.params:
        return 1 if op.name.startswith("conv_transpose") else 0
    return 1 if op.is_image else -1


def is_activation(operand: str, op: Op) -> bool:
    """Whether an operand flows through the network (its first dimension is the batch) and is no parameter."""
    return operand not in op.params
