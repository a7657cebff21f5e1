"""Puts measured statistics in place of those that a batch norm has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from chop.errors import GraphError
from chop.formats import BatchNormStatistics, Format
from chop.nn.ops import STATISTICS, Op


def statistics_tensors(module: nn.Module, formats: Mapping[str, Format]) -> dict[str, Tensor]:
    """The tensors of a batch norm that its measured statistics replace, by name; none in training.

    Raises GraphError for statistics that nothing has measured yet.
    """
    chosen = formats.get(STATISTICS)
    if chosen is None or module.training:
        return {}
    return dict(zip(("running_mean", "running_var"), _measured(chosen, module.running_var), strict=True))


def put_statistics(op: Op, formats: Mapping[str, Format], args: list[Any], kwargs: dict[str, Any]) -> None:
    """Put measured statistics in the arguments of a call of batch norm as a function, in place."""
    chosen = formats.get(STATISTICS)
    if chosen is None:
        return
    old = [arg.of(args, kwargs) for arg in op.statistics.values()]
    for arg, value in zip(op.statistics.values(), _measured(chosen, old[1]), strict=True):
        if arg.index < len(args):
            args[arg.index] = value
        else:
            kwargs[next(key for key in arg.keywords if key in kwargs)] = value


def _measured(chosen: Format, like: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(chosen, BatchNormStatistics) or chosen.mean is None or chosen.variance is None:
        raise GraphError(
            "the statistics of a batch norm are to be measured under the plan, and nothing has measured them yet: run "
            "measure_batch_norm_transform_pass"
        )
    mean, variance = chosen.mean, chosen.variance
    return mean.on(like).to(like.dtype), variance.on(like).to(like.dtype)
