"""Formats, chains and the tensors that they hold as JSON, for the headers of files with weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from chop.formats import FORMATS, BatchNormStatistics, Format, MeasuredTensor, OutputShift, format_name
from chop.formats.keyed import frozen
from chop.ir.plan import QuantPlan
from chop.models.checkpoint_file import MEASURED
from chop.weight_transforms import WEIGHT_TRANSFORMS, Chain, TrainedOffset, WeightTransform, transform_name

BESIDE_FORMATS: dict[str, type[Format]] = {"bias_correction": OutputShift, "batch_norm_statistics": BatchNormStatistics}
"""Parts of a plan that are no number formats with a name in files of searches."""
BESIDE_TRANSFORMS: dict[str, type[WeightTransform]] = {"trained_offset": TrainedOffset}
"""Parts of a chain that are no weight transforms with a key in files of searches."""
CHAIN = "chain"
TENSOR_KEY = "tensor"


def tensor_as_json(values: Tensor, measured: dict[str, Tensor]) -> dict[str, str]:
    """The name of a tensor, which is put in `measured` under it."""
    name = f"{MEASURED}{len(measured)}"
    measured[name] = values
    return {TENSOR_KEY: name}


def tensor_from_json(value: Mapping[str, str], measured: Mapping[str, Tensor]) -> MeasuredTensor:
    """The tensor that `tensor_as_json` named; raises KeyError where there is none."""
    return MeasuredTensor(measured[value[TENSOR_KEY]])


def plan_as_json(plan: QuantPlan, measured: dict[str, Tensor]) -> dict[str, Any]:
    """`{node: {operand: {"format": name, parameter: value}}}`; tensors that formats hold are put in `measured`."""
    return {
        node: {operand: format_as_json(chosen, measured) for operand, chosen in plan[node].items()} for node in plan
    }


def format_as_json(chosen: Format, measured: dict[str, Tensor]) -> dict[str, Any]:
    """`{"format": name, parameter: value}`; tensors that the format holds are put in `measured`."""
    values = _values_as_json(chosen, measured)
    if isinstance(chosen, Chain):
        return {"format": CHAIN, **values, "transforms": [_transform_as_json(o, measured) for o in chosen.transforms]}
    own = next((name for name, cls in BESIDE_FORMATS.items() if cls is type(chosen)), None)
    return {"format": own or format_name(type(chosen)), **values}


def _transform_as_json(own: WeightTransform, measured: dict[str, Tensor]) -> dict[str, Any]:
    beside = next((name for name, cls in BESIDE_TRANSFORMS.items() if cls is type(own)), None)
    return {"transform": beside or transform_name(type(own)), **_values_as_json(own, measured)}


def _values_as_json(own: Format | WeightTransform, measured: dict[str, Tensor]) -> dict[str, Any]:
    """The parameters: formats within formats, and tensors, as tables."""
    found: dict[str, Any] = {}
    for field in fields(own):
        value = getattr(own, field.name)
        if isinstance(value, MeasuredTensor):
            value = tensor_as_json(value.values, measured)
        found[field.name] = format_as_json(value, measured) if isinstance(value, Format) else value
    return found


def format_from_json(values: Mapping[str, Any], measured: Mapping[str, Tensor]) -> Format:
    """The format that `format_as_json` wrote.

    Raises ChopError, KeyError, TypeError or AttributeError for what it did not write.
    """
    given = _given(values, measured)
    if values["format"] == CHAIN:
        return Chain(tuple(_transform(own, measured) for own in values["transforms"]), given["then"])
    name = values["format"]
    return (BESIDE_FORMATS[name] if name in BESIDE_FORMATS else FORMATS[name])(**given)


def _transform(values: Mapping[str, Any], measured: Mapping[str, Tensor]) -> WeightTransform:
    name = values["transform"]
    return (BESIDE_TRANSFORMS[name] if name in BESIDE_TRANSFORMS else WEIGHT_TRANSFORMS[name])(
        **_given(values, measured)
    )


def _given(values: Mapping[str, Any], measured: Mapping[str, Tensor]) -> dict[str, Any]:
    """The parameters of a format or a weight transform in a file."""
    return {key: _value(value, measured) for key, value in values.items() if key not in ("format", "transform")}


def _value(value: Any, measured: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict) and set(value) == {TENSOR_KEY}:
        return tensor_from_json(value, measured)
    return format_from_json(value, measured) if isinstance(value, dict) else frozen(value)
