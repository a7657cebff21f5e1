"""`chop.plot_curves`: one metric of several searches against a choice, or against another metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chop.api.study import Study
from chop.errors import ConfigError
from chop.report.plots.backends import Backend, figure_of
from chop.report.plots.curves import curves

Studies = Study | Sequence[Study]


def plot_curves(
    studies: Studies | Mapping[str, Studies],
    x: str,
    y: str | None = None,
    by: str | None = None,
    backend: Backend | None = None,
) -> Any:
    """Curves of the metric `y` (the first objective, if not given) against `x`: a figure of plotly, else matplotlib.

    `x` is a key of the layers (`weight_width`, `weight_sparsity`), which all layers of a network must share, as those
    of the strategy "uniform" do, or a metric (`average_bitwidth`). There is a curve for each value of `by`, such a key
    as well (`name`: the format), and for each name of a mapping of studies. Networks that were tuned after a search
    have a curve beside those that were not. Studies in a list are drawn as one: several seeds of a search.

    Marks are medians. A bar is the 95 % interval of an accuracy by its number of samples; a band reaches from the
    lowest to the highest network. `backend` is as for `study.plot_front`. Raises SearchError for what no network has.
    """
    named = studies if isinstance(studies, Mapping) else {"": studies}
    groups = {name: [own] if isinstance(own, Study) else list(own) for name, own in named.items()}
    if not groups or not all(groups.values()):
        raise ConfigError(
            ["studies: expected a study, a list of studies, or a mapping from names to these; it is empty"]
        )
    for own in (own for group in groups.values() for own in group if not isinstance(own, Study)):
        raise ConfigError([f"studies: expected studies (chop.search, chop.load_study), got {own!r}"])
    return figure_of(curves({name: [own.files for own in group] for name, group in groups.items()}, x, y, by), backend)
