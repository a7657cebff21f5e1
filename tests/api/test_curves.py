"""chop.plot_curves: what a curve holds, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import chop
from chop.api.study import Study
from chop.report.plots.curves import curves
from chop.report.plots.pictures import Curves
from chop.scoring.intervals import wilson_interval
from tests.api.conftest import few


@pytest.fixture
def uniform(mlp: nn.Module, arrays: tuple[np.ndarray, np.ndarray]) -> Study:
    """Two formats in three widths, the same in both layers, and all tuned."""
    space = chop.Space(["integer", "scale_integer"], [2, 4, 8], tie_operands=["data_in", "weight", "bias"])
    finish = {"max_epochs": 1, "rows": 20}
    return chop.search(
        mlp, arrays, space, strategy="uniform", finish=finish, objectives=["accuracy", "average_bitwidth"]
    )


def of(searches: Any, x: str, by: str | None = None) -> Curves:
    return curves({name: [own.files for own in group] for name, group in searches.items()}, x, None, by)


def test_a_curve_for_each_format_before_and_after_tuning_with_intervals(uniform: Study) -> None:
    found = of({"": [uniform]}, "weight_width", "name")
    assert [(own.name, own.tuned) for own in found.curves] == [
        ("integer", False),
        ("integer", True),
        ("scale_integer", False),
        ("scale_integer", True),
    ]
    trials = uniform.to_pandas()
    first = found.curves[0].places[0]
    (row,) = trials[(trials["_0/name"] == "integer") & (trials["_0/weight_width"] == first.x)].to_dict("records")
    assert first.x == 2
    assert first.middle == first.low == first.high == row["accuracy"]
    assert first.interval == wilson_interval(round(row["accuracy"] * 30), 30)[1:]
    assert [place.x for place in found.curves[0].places] == [2, 4, 8]
    assert found.baseline == uniform.summary.baselines["FP32"].trial.metrics["accuracy"]
    assert "30 validation samples, tuned with seed 0" in found.title


def test_searches_of_one_name_are_one_curve_with_a_band(mlp: nn.Module, arrays: Any) -> None:
    one, other = (chop.search(mlp, arrays, **few(strategy="uniform", seed=seed)) for seed in (1, 2))
    alone = [of({"": [own]}, "average_bitwidth").curves[0].places for own in (one, other)]
    (curve,) = of({"": [one, other]}, "average_bitwidth").curves
    for place, first, second in zip(curve.places, *alone, strict=True):
        values = sorted((first.middle, second.middle))
        assert (place.low, place.middle, place.high, place.networks) == (values[0], sum(values) / 2, values[1], 2)
    assert {own.name for own in of({"a": [one], "b": [other]}, "average_bitwidth").curves} == {"a", "b"}


@pytest.mark.parametrize("backend", ["matplotlib", "plotly"])
def test_both_libraries_draw_all_curves_and_the_baseline(uniform: Study, backend: Any) -> None:
    pytest.importorskip(backend)
    figure = chop.plot_curves({"mine": uniform}, "weight_width", by="name", backend=backend)
    if backend == "plotly":
        names = [own.name for own in figure.data]
    else:
        (axes,) = figure.axes
        names = [own.get_label() for own in axes.lines if not own.get_label().startswith("_")]
        names.remove("FP32")
    kinds = [f"{name}, {when}" for name in ("integer", "scale_integer") for when in ("before tuning", "tuned")]
    assert names == kinds


def test_what_no_network_has_and_layers_that_differ_are_refused(study: Study) -> None:
    with pytest.raises(chop.ChopError, match="no network has 'weight_widht'; did you mean 'weight_width'"):
        chop.plot_curves(study, "weight_widht")
    with pytest.raises(chop.ChopError, match="'weight_width' is not the same in all layers of trial"):
        chop.plot_curves(study, "weight_width")
    with pytest.raises(chop.ChopError, match="no network has both 'name' and 'accuracy'"):
        chop.plot_curves(study, "name")
    with pytest.raises(chop.ChopError, match="is empty"):
        chop.plot_curves({}, "weight_width")
    with pytest.raises(chop.ChopError, match="is empty"):
        chop.plot_curves({"a": []}, "weight_width")
    with pytest.raises(chop.ChopError, match="expected studies"):
        chop.plot_curves([3], "weight_width")  # type: ignore[list-item]


def test_number_in_a_legend_says_what_it_is(uniform: Study) -> None:
    names = {own.name for own in of({"": [uniform]}, "average_bitwidth", "weight_width").curves}
    assert names - {""} and all(name.startswith("weight width ") for name in names - {""})


def test_ch_report_draws_them_as_files(uniform: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from chop.report.figures import Against, write_figures

    written = write_figures(uniform.folder, tmp_path, Against("weight_width", "name"))
    assert tmp_path / "curves.svg" in written
    assert (tmp_path / "curves.svg").read_text(encoding="utf-8").startswith("<?xml")
