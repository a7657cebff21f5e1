"""The pictures of a study: `study.plot_front()` and its like."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from chop.api.study_records import StudyRecords
from chop.report.format_texts import describe_formats
from chop.report.html.search_data import network_row, search_data
from chop.report.plots import search_pictures as pictures
from chop.report.plots.backends import Backend, figure_of


class StudyPlots(StudyRecords):
    """The pictures of a search, each a figure of plotly where that is installed (the extra `plotly`), else matplotlib.

    `backend="matplotlib"` (the extra `plots`) or `backend="plotly"` asks for one of them. A figure of plotly shows
    metrics and formats on hover. All methods raise ChopError where neither is installed, and SearchError where the
    records hold too little for a picture.
    """

    @cached_property
    def _plot_data(self) -> dict[str, Any]:
        """The data of the search's page."""
        return search_data(self._files)

    def plot_front(self, x: str | None = None, y: str | None = None, backend: Backend | None = None) -> Any:
        """All trials and the front, by two metrics: the second objective and the first, if not given."""
        data = self._plot_data
        configs = [self._configs.get(own, {}) for own in data["trials"]["number"]]
        is_told = len(describe_formats(configs[0])) * len(configs) <= pictures.MOST_LETTERS if configs else False
        formats = [*map(describe_formats, configs)] if is_told else []
        return figure_of(pictures.front_picture(data, self.summary.goals, formats, x, y), backend)

    def plot_history(self, backend: Backend | None = None) -> Any:
        """The best value of each objective so far, by evaluation."""
        return figure_of(pictures.history_picture(self._plot_data), backend)

    def plot_hypervolume(self, backend: Backend | None = None) -> Any:
        """The hypervolume of the front so far, by evaluation: the share of the box of all measured values."""
        return figure_of(pictures.hypervolume_picture(self._plot_data), backend)

    def plot_parallel(self, backend: Backend | None = None) -> Any:
        """Every trial as a line across its choices and objectives (parallel coordinates)."""
        return figure_of(pictures.parallel_picture(self._plot_data), backend)

    def plot_layers(self, trial: int | None = None, backend: Backend | None = None) -> Any:
        """The bits of each layer of a trial's network; without `trial` those of all networks along the front."""
        if trial is None:
            return figure_of(pictures.front_layers_picture(self._plot_data), backend)
        return figure_of(pictures.layers_picture(network_row(self._row_of(trial), self.summary)), backend)

    def plot_importance(self, backend: Backend | None = None) -> Any:
        """The share of each goal's variance that each choice explains by itself, if all values are equally likely.

        These are the main effects of a functional ANOVA, from a linear model of all trials; what is left is
        interactions of choices and noise. A strategy that looks for good networks does not try all values evenly: the
        effects of values that it hardly tried are uncertain.
        """
        return figure_of(pictures.importance_picture(self._plot_data), backend)

    def plot_correlation(self, backend: Backend | None = None) -> Any:
        """The rank correlation of all pairs of metrics over the trials."""
        return figure_of(pictures.correlation_picture(self._plot_data), backend)
