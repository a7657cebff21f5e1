"""The pictures of a comparison are whole, say what they are of, and show no band where there is one seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from torch import nn

from chop.actions.compare.job import CompareOptions, compare
from chop.dataset import MaseDataModule
from chop.record.comparison import CompareSummary
from chop.record.names import PICTURES
from chop.report import compare_plots, compare_report
from chop.report.compare_best_plot import best_so_far
from chop.report.figures import SIZES
from chop.report.plots.matplotlib_settings import FOR_COLUMNS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@pytest.fixture
def summary(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> CompareSummary:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(compare_plots, "find_spec", lambda name: None)  # they are drawn here
    return compare(jsc_tiny, jets, lab, tmp_path / "c", CompareOptions(("tpe", "uniform"), seeds=2))


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))  # type: ignore[attr-defined]


def test_a_front_is_whole_with_any_number_of_strategies(summary: CompareSummary) -> None:
    one = summary.strategies[0]
    uniform = {name: values[:1] for name, values in summary.cloud.items()}
    for count in (1, 2, 3, 4):
        strategies = [replace(one, name=f"strategy {place}") for place in range(count)]
        figure = compare_plots.front(replace(summary, strategies=strategies, uniform=uniform))
        assert figure is not None
        figure.draw_without_rendering()
        for artist in (*figure.legends, *(axes.title for axes in figure.axes)):
            box = artist.get_window_extent()
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, count
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, count


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_whole_in_the_widths_of_a_paper(summary: CompareSummary, size: str) -> None:
    one, (width, _) = summary.strategies[0], SIZES[size]
    many = replace(summary, strategies=[replace(one, name=f"strategy {place}") for place in range(5)])
    for name, figure in compare_plots.figures(many, width, FOR_COLUMNS):
        assert figure.get_figwidth() == width
        figure.draw_without_rendering()
        shown = [figure.axes[0].title, figure.axes[0].xaxis.label, *figure.legends, *figure.axes[0].texts]
        for artist in shown:
            box = artist.get_window_extent()
            assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1, (name, artist)
            assert figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, (name, artist)


def test_marked_networks_lie_within_the_axes(summary: CompareSummary) -> None:
    cost, value = summary.pairs[0]
    far = {cost: np.array([31.0]), value: np.array([0.01])}
    figure = compare_plots.front(replace(summary, uniform=far))
    assert figure is not None
    for name, (low, high) in ((cost, figure.axes[0].get_xlim()), (value, figure.axes[0].get_ylim())):
        for shown in (summary.front[name], far[name], *(one.front[name] for one in summary.strategies)):
            assert low < shown.min() and shown.max() < high


def test_every_picture_says_what_was_measured_on(summary: CompareSummary) -> None:
    assert summary.samples == "512 validation samples"
    drawn = dict(compare_plots.figures(summary))
    assert set(drawn) == set(PICTURES) - {"best_so_far"}  # which is of one objective
    assert all("512 validation samples" in texts(figure).replace("\n", " ") for figure in drawn.values())


def test_a_space_of_one_layer_marks_no_network_as_uniform(summary: CompareSummary) -> None:
    assert not any(len(values) for values in summary.uniform.values())
    figure = compare_plots.front(summary)
    assert figure is not None and "all layers alike" not in texts(figure)


def test_bands_are_of_several_seeds_and_of_few_strategies(summary: CompareSummary, tmp_path: Path) -> None:
    def bands(of: CompareSummary) -> int:
        return sum(len(axes.collections) for axes in compare_plots.hypervolume(of).axes)

    one_seed = replace(summary, seeds=[0])
    many = replace(summary, strategies=[replace(summary.strategies[0], name=str(place)) for place in range(10)])
    assert (bands(summary), bands(one_seed), bands(many)) == (2, 0, 0)
    assert "median and 10-90 % band over 2 seeds, 18 networks" in texts(compare_plots.hypervolume(summary))
    assert "median over 2 seeds, " in texts(compare_plots.hypervolume(many))
    for name, figure in compare_plots.figures(one_seed):
        assert "band" not in texts(figure) and "10-90" not in texts(figure), name
    report = compare_report.report_text(one_seed, [])
    assert "10-90" not in report and "median" not in report.partition("## Verdict")[0]
    plots = [tmp_path / f"{name}.png" for name in PICTURES]
    captions = [line for line in compare_report.report_text(one_seed, plots).splitlines() if line.startswith("![")]
    assert len(captions) == 5 and not any("band" in line or "over seeds" in line for line in captions)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_one_objective_has_its_best_value_so_far_and_what_samples_cannot_tell_apart(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, direction: str
) -> None:
    metric = "accuracy" if direction == "maximize" else "loss"
    lab["strategy"]["metrics"] = {metric: {"direction": direction}}
    summary = compare(jsc_tiny, jets, lab, tmp_path / "c", CompareOptions(("random", "brute_force"), seeds=2))
    best = float(summary.front[metric][0])
    figure = best_so_far(summary)
    assert figure is not None
    (axes,) = figure.axes
    lines = {line.get_label(): np.asarray(line.get_ydata(), np.float64) for line in axes.lines}
    assert set(lines) == {"random", "brute_force", f"best of all: {best:.4g}"}
    assert lines["random"][-1] == lines["brute_force"][-1] == best
    rises = np.diff(lines["brute_force"]) * (1 if direction == "maximize" else -1)
    assert (rises >= -1e-12).all() and (rises > 1e-3).any()
    low, high = axes.get_ylim()
    assert low < best < high
    assert "2 seeds, 18 networks in the space, 512 validation samples" in texts(figure).replace("\n", " ")
    assert ("not told apart from the best (95 %)" in texts(figure)) == (metric == "accuracy")
