"""The pictures of a study, with either library."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from torch import nn

import chop
from chop.api.study import Study
from chop.errors import ChopError, SearchError
from chop.report.plots.backends import figure_of
from chop.report.plots.pictures import Axis, Bars, Bound, HeatMap, Parallel, Points, Scatter, Steps
from tests.api.conftest import few

pytest.importorskip("matplotlib", reason="the extra plots is not installed")
pytest.importorskip("plotly", reason="the extra plotly is not installed")

Arrays = tuple[np.ndarray, np.ndarray]
NAMES = ("front", "history", "hypervolume", "parallel", "layers", "importance", "correlation")


@pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_drawn_by_either_library(name: str, backend: Any, study: Study) -> None:
    figure = getattr(study, f"plot_{name}")(backend=backend)
    if backend == "plotly":
        assert json.loads(figure.to_json())["data"]
    else:
        assert figure.axes
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_plotly_draws_where_it_is_installed_and_matplotlib_where_it_is_not(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert type(study.plot_history()).__module__.startswith("plotly.")
    monkeypatch.setattr("chop.report.plots.backends.find_spec", lambda name: name == "matplotlib" or None)
    assert study.plot_history().axes
    with pytest.raises(ChopError, match=r"need the package plotly: .*pip install .chop-search\[plotly\]"):
        study.plot_history(backend="plotly")
    monkeypatch.setattr("chop.report.plots.backends.find_spec", lambda name: None)
    with pytest.raises(ChopError, match=r"needs plotly \(.*\[plotly\].* or matplotlib \(.*\[plots\]"):
        study.plot_front()
    with pytest.raises(ChopError, match="backend: expected one of plotly, matplotlib, got 'seaborn'"):
        study.plot_front(backend="seaborn")  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
def test_the_picture_of_a_front_has_every_network(study: Study, backend: Any) -> None:
    figure = study.plot_front(backend=backend)
    front = sorted(study.front["average_bitwidth"])
    if backend == "plotly":
        clouds = [own for own in figure.data if own.name.endswith("networks")]
        (shown,) = [own for own in figure.data if own.name == "front"]
        assert figure.layout.xaxis.title.text == "average bitwidth [bit]"
        assert (sum(len(own.x) for own in clouds), list(shown.x)) == (len(study), pytest.approx(front))
        assert all(f"trial {number}" in "".join(clouds[0].hovertext) for number in range(len(study)))
        layer = study.best().formats.split("; ")[0].replace(" integer", "")
        assert any(layer in text and "loss: " in text for text in shown.hovertext)
    else:
        (axes,) = figure.axes
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("average bitwidth [bit]", "accuracy (30 validation samples)")
        assert len(axes.collections[0].get_offsets()) == len(study)
        (line,) = [own for own in axes.lines if own.get_label() == "front"]
        assert list(line.get_xdata()) == pytest.approx(front)
        labels = [own.get_text() for own in axes.texts]
        assert labels
        assert {*labels} <= {str(number) for number in study.front["trial"]}


def test_a_front_can_be_shown_by_any_two_metrics(study: Study) -> None:
    figure = study.plot_front(x="loss", backend="plotly")
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (
        "loss (30 validation samples)",
        "accuracy (30 validation samples)",
    )
    figure = study.plot_front(y="average_bitwidth", backend="plotly")
    assert figure.layout.xaxis.title.text == "accuracy (30 validation samples)"
    assert figure.layout.yaxis.title.text == "average bitwidth [bit]"
    (tests,) = [own for own in figure.data if own.name == "test set, 95 %"]
    assert max(tests.error_x.array) > 0
    assert sorted(tests.y) == sorted(study.front["average_bitwidth"])
    assert [own.text for own in figure.layout.annotations] == ["FP32 (32 bit)"]
    assert max(own for trace in figure.data for own in trace.y) <= 8
    figure = study.plot_front("average_bitwidth", "average_weight_bits", backend="plotly")
    assert figure.data[-1].name == "FP32 is outside: 32 bit, 32 bit"
    (shown,) = [own for own in study.plot_front(x="loss", backend="plotly").data if own.name == "front"]
    assert shown.mode == "markers"
    with pytest.raises(SearchError, match="'speed' is no metric of this study"):
        study.plot_front(x="speed")


def test_objectives_keep_the_order_of_the_user(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(objectives=["loss", "average_bitwidth", "accuracy"]))
    assert [own.metric for own in study.objectives] == ["loss", "average_bitwidth", "accuracy"]
    assert list(study.front)[:4] == ["trial", "loss", "average_bitwidth", "accuracy"]
    assert study.front["loss"].is_monotonic_increasing
    figure = study.plot_front(backend="plotly")
    assert figure.layout.yaxis.title.text == "loss (30 validation samples)"
    assert figure.layout.xaxis.title.text == "average bitwidth [bit]"
    shown = study._repr_html_()
    assert shown.index(">loss") < shown.index(">average_bitwidth") < shown.index(">accuracy")


def test_the_layers_of_a_trial_are_those_of_its_network(study: Study) -> None:
    best = study.best()
    heat, *others = study.plot_layers(best.number, backend="plotly").data  # a trace for each colour of text
    for own in others:
        heat.z = np.where(np.isnan(heat.z), own.z, heat.z)
        heat.text = np.where(np.array(heat.text) == "", own.text, heat.text)
    assert list(heat.y) == ["_0", "_2"]
    assert [2**value for value in heat.z[0]] == [best.config["_0"]["config"][f"{own}_width"] for own in OPERANDS]
    assert heat.text[0][1] == f"{best.config['_0']['config']['weight_width']}b/{best.frac_widths['_0']['weight']}f"
    with pytest.raises(SearchError, match="there is no trial 99"):
        study.plot_layers(99)


OPERANDS = ("data_in", "weight", "bias")


def test_a_picture_that_the_records_hold_too_little_for_says_what_is_missing(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(widths=[4], objectives=["accuracy"]))
    assert study.plot_front(backend="matplotlib").axes
    for name, message in {
        "history": "two measured trials, and the study has one",
        "hypervolume": "two measured trials, and the study has one",
        "parallel": "the space has one point",
        "importance": "the space has one point",
        "correlation": "at least 12 measured trials",
    }.items():
        with pytest.raises(SearchError, match=message):
            getattr(study, f"plot_{name}")()


def test_bars_of_importance_sum_to_all_of_the_variance(study: Study) -> None:
    figure = study.plot_importance(backend="plotly")
    assert len(figure.data) == 2
    for bars in figure.data:
        assert bars.y[-1] == "interactions and noise"
        assert sum(bars.x) == pytest.approx(1, abs=1e-4)
        assert min(bars.x) >= 0
    assert "a linear model of 16 trials" in figure.layout.xaxis2.title.text


def test_too_few_trials_for_importance_say_how_many_it_needs(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(widths=[2, 3, 4, 6, 8], n_trials=9))
    with pytest.raises(
        SearchError, match=r"importance of the 4 choices needs 32 measured trials .*, and the study has 9"
    ):
        study.plot_importance()


def test_a_front_without_a_network_shows_the_nearest(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(constraints={"model_size": {"max": "1 B"}}))
    names = [own.name for own in study.plot_front(backend="plotly").data]
    assert names[:2] == ["16 violate a constraint", "nearest to the constraints"]
    assert study.plot_front(backend="matplotlib").axes
    with pytest.raises(SearchError, match=r"no history: no trial satisfies all constraints$"):
        study.plot_history()
    assert "study.best(" not in study._repr_html_()
    assert "study.plot_front()" in study._repr_html_()


def test_names_are_no_markup() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    points = Points(hostile, "front", [1.0], [2.0], [hostile], [hostile])
    heat = HeatMap(hostile, [hostile], [hostile], [[4.0]], [[hostile]], "bits", [[hostile]])
    pictures = [
        Scatter(hostile, hostile, [points], [Bound(hostile, "x", 3.0)]),
        heat,
        Parallel([Axis(hostile, [0.0], [hostile])], 0),
        Bars(hostile, [(hostile, [(hostile, 1.0)])], hostile),
        Steps(hostile, [1.0], [(hostile, [1.0])]),
    ]
    for picture in pictures:
        text = json.dumps(json.loads(figure_of(picture, "plotly").to_json()))
        assert "&lt;img" in text
        assert "<img" not in text
