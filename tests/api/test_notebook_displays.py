"""What a notebook shows of a study, a network, a space and a table: small, escaped, without scripts and requests."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from torch import nn

import chop
from chop.api.study import Study
from chop.api.tables import Table
from chop.report.notebook.front_image import front_image
from chop.report.notebook.study_display import MOST_LETTERS, study_html
from chop.report.plots.pictures import Bound, Points, Scatter
from tests.api.conftest import few

Arrays = tuple[np.ndarray, np.ndarray]
HOSTILE = '"><script>alert(1)</script>'
MOST_BYTES = 60_000
ALLOWED = {
    *("div", "b", "img", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "code"),
}


class Tags(HTMLParser):
    """Collects elements, attributes and texts, and checks that every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style", "src", "alt", "width", "height"}
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def shown(html: str) -> Tags:
    """The parts of a display, which must be small and load nothing."""
    found = Tags(html)
    assert len(html.encode()) < MOST_BYTES
    assert found.tags <= ALLOWED
    assert all(source.startswith("data:image/svg+xml;base64,") for source in found.sources)
    return found


def test_a_study_shows_its_front_why_it_ended_and_what_comes_next(study: Study) -> None:
    found = shown(study._repr_html_())
    assert f"Pareto front: {len(study.front)} of 16 measured configurations (16 in the space)" in found.text
    for network in study.front_networks:
        assert f"{network.metrics['accuracy']:.4g}" in found.text
    assert "every point of the space has been measured" in found.text
    assert "FP32" in found.text
    assert f"study[{study.front['trial'][0]}]" in found.text
    assert re.search(r"The space: 4 choices, 16 points\n", found.text)
    svg = ElementTree.fromstring(b64decode(found.sources[0].split(",")[1]))
    circles = svg.iter("{http://www.w3.org/2000/svg}circle")
    assert len([*circles]) >= 16 + len(study.front)


def test_a_network_shows_its_metrics_and_the_formats_and_bytes_of_its_layers(study: Study) -> None:
    best = study.best()
    found = shown(best._repr_html_())
    value, low, high = best.test_metrics["accuracy"]  # type: ignore[index]
    assert f"{value:.4g} [{low:.4g}, {high:.4g}]" in found.text
    bits = [best.config[node]["config"] for node in ("_0", "_2")]
    own = sum((8 * 12, 12 * 3)[n] * own["weight_width"] + (12, 3)[n] * own["bias_width"] for n, own in enumerate(bits))
    assert f"These layers: 147 parameters in {own / 8:.4g} B, 588 B in float32." in found.text
    assert f"{bits[0]['weight_width']}b/{best.frac_widths['_0']['weight']}f" in found.text


def test_a_trial_that_is_not_on_the_front_and_a_loaded_study_are_shown_as_well(study: Study, tmp_path: Path) -> None:
    loaded = chop.load_study(study.save(tmp_path / "kept"))
    assert shown(loaded._repr_html_()).text == shown(study._repr_html_()).text
    for network in loaded:
        assert f"Network of trial {network.number}" in shown(network._repr_html_()).text


def test_displays_of_tuned_networks_tell_the_epochs(mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(widths=[4], finish={"max_epochs": 2}))
    assert "tuned for 2 epochs" in shown(study.best()._repr_html_()).text
    assert "Tuned: 1 network, each for 2 epochs" in shown(study._repr_html_()).text
    assert "tuned for" not in shown(study.best().untuned._repr_html_()).text


@pytest.mark.parametrize(
    "more",
    [
        {"constraints": {"model_size": {"max": "1 B"}}},
        {"objectives": ["accuracy"]},
        {"objectives": ["accuracy", "average_bitwidth", "bitops"]},
        {"objectives": ["accuracy"], "widths": [8]},
        {"objectives": ["accuracy", "average_bitwidth"], "sum_direction": "maximize"},
    ],
)
def test_studies_of_all_kinds_are_shown(more: dict[str, object], mlp: nn.Module, arrays: Arrays) -> None:
    study = chop.search(mlp, arrays, **few(**more))
    assert "measured configurations" in shown(study._repr_html_()).text


def test_a_search_block_by_block_is_shown(mlp: nn.Module, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chop.actions.search.run.block_by_block.LARGEST_LOG", 10)
    study = chop.search(mlp, arrays, **few())
    assert not study._files.is_by_trial
    assert "16 measured configurations" in shown(study._repr_html_()).text
    assert study.plot_front(backend="matplotlib").axes


def test_many_trials_and_many_layers_stay_small(arrays: Arrays) -> None:
    deep = nn.Sequential(*(layer for _ in range(30) for layer in (nn.Linear(8, 8), nn.ReLU())), nn.Linear(8, 3))
    study = chop.search(deep, arrays, **few(strategy="optuna", strategy_options={"sampler": "random"}, n_trials=40))
    found = shown(study._repr_html_())
    assert "more layers" in found.text
    assert max(map(len, re.findall(r"_0 integer.*", found.text)), default=0) < MOST_LETTERS + 30
    assert "These layers: " in shown(study.best()._repr_html_()).text


def test_a_space_shows_its_choices_and_what_stays_in_float() -> None:
    space = chop.Space(
        ["integer", None], [4, 8], exclude=["head"], ties=[["a", "b"]], overrides={HOSTILE: {"widths": [8]}}
    )
    found = shown(space._repr_html_())
    assert re.search(r"\nact\nwidth\n4, 8\n", found.text)
    assert "exclude: head" in found.text and "tie: a = b" in found.text
    assert f"override: {HOSTILE}" in found.text


def test_names_are_no_markup(study: Study) -> None:
    html = study_html(study.summary, study._plot_data, [HOSTILE])
    assert HOSTILE in shown(html).text
    picture = Scatter(HOSTILE, HOSTILE, [Points(HOSTILE, "front", [1.0], [2.0])], [Bound(HOSTILE, "x", 1.0)])
    (source,) = shown(front_image(picture, HOSTILE)).sources
    svg = ElementTree.fromstring(b64decode(source.split(",")[1]))
    assert [own.text for own in svg if own.text == HOSTILE] == [HOSTILE, HOSTILE]
    assert HOSTILE in shown(Table([{HOSTILE: HOSTILE}])._repr_html_()).text


def test_a_graph_is_a_picture_unless_it_has_very_many_nodes(mlp: nn.Module) -> None:
    svg = chop.MaseGraph(mlp)._repr_svg_()
    assert svg is not None
    assert any(own.text == "_2" for own in ElementTree.fromstring(svg).iter())
    assert chop.MaseGraph(nn.Sequential(*(nn.ReLU() for _ in range(90))))._repr_svg_() is None
