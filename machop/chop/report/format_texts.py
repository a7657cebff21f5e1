"""Describes the formats of a network as text: `fc act 8b/4f, w 4b/2f`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from chop.record.training import MEAN_WIDTHS
from chop.record.trial import MeasuredFracWidths
from chop.report.transform_texts import describe_transforms, is_for_transform

FIXED_POINT = ("integer", "fixed", "integer_floor")
OPERANDS = {
    "data_in": "act",
    "other": "other",
    "weight": "w",
    "key": "key",
    "value": "value",
    "bias": "bias",
    "data_out": "out",
}
"""The names of operands in tables."""

NOTHING_MEASURED: MeasuredFracWidths = MappingProxyType({})

UNITS = {
    "width": "b",
    "frac_width": "f",
    "exponent_width": "e",
    "element_bits": "b",
    "element_exp_bits": "e",
    "element_frac_bits": "m",
}
"""Behind the number of bits: all of a value, behind the point, of the exponent, of the mantissa."""


def describe_formats(
    sampled_config: Mapping[str, Any], named: bool = True, frac_widths: MeasuredFracWidths = NOTHING_MEASURED
) -> str:
    """The formats of a network in one line; unquantised layers are left out.

    Each operand has the values of its keys, and the weight what it is transformed by. Without `named` the names of the
    formats are left out. `frac_widths` stand in place of "auto".

    >>> layer = {"name": "integer", "data_in_width": 8, "weight_width": 4, "weight_frac_width": "NA"}
    >>> describe_formats({"by": "name", "fc": {"config": layer}, "relu": {"config": {"name": "NA"}}})
    'fc integer act 8b/4f, w 4b/2f'
    >>> layer |= {"weight_frac_width": "auto"}
    >>> describe_formats({"fc": {"config": layer}}, frac_widths={"fc": {"weight": [1, 3]}})
    'fc integer act 8b/4f, w 4b/1f…3f'
    >>> learned = {"name": "integer", "weight_width": 7, "weight_frac_width": "learned"}
    >>> describe_formats({"fc": {"config": learned, "mean_widths": {"weight": 1.84}}}, named=False)
    'fc w 1.8b/learned'
    """
    return in_one_line(*layer_texts(sampled_config, named, frac_widths))


def layer_texts(
    sampled_config: Mapping[str, Any], named: bool = True, frac_widths: MeasuredFracWidths = NOTHING_MEASURED
) -> tuple[dict[str, str], list[str]]:
    """The formats of each quantised layer as text, and notes on the network: which batch norms are measured.

    >>> layer_texts({"fc": {"config": {"name": "integer", "weight_width": 4, "batch_norm": "measured"}}}, named=False)
    ({'fc': 'w 4b/2f'}, ['batch norms measured'])
    """
    nodes = shown_configs(sampled_config, frac_widths)
    texts = {name: text for name, config in nodes.items() if (text := _describe(config, named))}
    return texts, _measured_norms(nodes)


def in_one_line(layers: Mapping[str, str], notes: Sequence[str]) -> str:
    """The texts and notes of `layer_texts` in one line.

    >>> in_one_line({}, [])
    'unquantised'
    """
    texts = [f"{name} {text}" for name, text in layers.items()]
    return "; ".join([*(texts or ["unquantised"]), *notes])


def shown_configs(
    sampled_config: Mapping[str, Any], frac_widths: MeasuredFracWidths = NOTHING_MEASURED
) -> dict[str, Mapping[str, Any]]:
    """The config of each node as tables and pages show it.

    Learned widths have their mean in place of the widest, and `frac_widths` stand in place of "auto".

    >>> layer = {"config": {"weight_width": 7, "weight_frac_width": "auto"}, "mean_widths": {"weight": 1.84}}
    >>> shown_configs({"by": "name", "fc": layer}, {"fc": {"weight": 3}})
    {'fc': {'weight_width': 1.84, 'weight_frac_width': 3}}
    """
    entries = {name: entry for name, entry in sampled_config.items() if isinstance(entry, Mapping)}
    nodes = {name: _with_mean_widths(entry["config"], entry.get(MEAN_WIDTHS, {})) for name, entry in entries.items()}
    return {name: _with_frac_widths(config, frac_widths.get(name, {})) for name, config in nodes.items()}


def _with_mean_widths(config: Mapping[str, Any], means: Mapping[str, float]) -> Mapping[str, Any]:
    """A config with the mean bits of each operand with learned widths, in place of the widest."""
    return {**config, **{f"{operand}_width": mean for operand, mean in means.items()}}


def _with_frac_widths(config: Mapping[str, Any], found: Mapping[str, int | Sequence[int]]) -> Mapping[str, Any]:
    """The config of a node with the measured bits after the point in place of "auto"."""
    return {
        **config,
        **{f"{operand}_frac_width": own if isinstance(own, int) else tuple(own) for operand, own in found.items()},
    }


def _measured_norms(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The batch norms that are measured under the plan.

    >>> _measured_norms({"a": {"batch_norm": "measured"}, "b": {"batch_norm": "float"}, "fc": {}})
    ['batch norm measured: a']
    """
    chosen = {name: config["batch_norm"] for name, config in nodes.items() if "batch_norm" in config}
    measured = [name for name, value in chosen.items() if value == "measured"]
    if measured and len(measured) == len(chosen):
        return ["batch norms measured"]
    return [f"batch norm measured: {', '.join(measured)}"] if measured else []


def format_name(config: Mapping[str, Any]) -> str | None:
    """The name of a node's format, None for an unquantised node."""
    name = config.get("name")
    return None if name in (None, "NA") else str(name)


def _describe(config: Mapping[str, Any], named: bool) -> str:
    name = format_name(config)
    operands = {operand: operand_text(config, operand) if name else "" for operand in OPERANDS}
    operands["weight"] = " ".join([operands["weight"], *describe_transforms(config)]).strip()
    texts = ", ".join(f"{OPERANDS[operand]} {text}" for operand, text in operands.items() if text)
    return " ".join([*([name] if named and name else []), *([texts] if texts else [])])


def operand_text(config: Mapping[str, Any], operand: str) -> str:
    """The format of an operand by a config: bits as `8b/4f`, and anything else in words.

    >>> operand_text({"name": "integer", "bias_width": 2, "bias_frac_width": 0}, "bias")
    '2b/0f'
    """
    own = (key for key in config if key.startswith(f"{operand}_"))
    given = [key for key in own if operand != "weight" or not is_for_transform(key)]
    values = {key.removeprefix(f"{operand}_"): config[key] for key in given}
    width = values.get("width")
    if config["name"] in FIXED_POINT and isinstance(width, int) and values.get("frac_width") in (None, "NA"):
        values["frac_width"] = width // 2
    known = {key: value for key, value in values.items() if value not in (None, "NA") and value is not False}
    bits = "/".join(_bits(known[key], unit) for key, unit in UNITS.items() if key in known)
    return " ".join([*([bits] if bits else []), *(_words(k, v) for k, v in known.items() if k not in UNITS)])


def _bits(value: Any, unit: str) -> str:
    if isinstance(value, tuple):
        return "…".join(f"{own}{unit}" for own in value)
    if isinstance(value, float):
        return f"{value:.1f}{unit}"
    return f"{value}{unit}" if isinstance(value, int) else str(value)


def _words(key: str, value: Any) -> str:
    """A value that is no number of bits of each element: `1x16` for a block, the key itself for a switch.

    >>> _words("block_size", [1, 16]), _words("scaled", True), _words("exponent_bias", 7), _words("range_rule", "mse")
    ('1x16', 'scaled', 'exponent bias 7', 'mse')
    """
    if value is True:
        return key.replace("_", " ")
    if isinstance(value, list):
        return "x".join(map(str, value))
    return value if isinstance(value, str) else f"{key.replace('_', ' ')} {value}"
