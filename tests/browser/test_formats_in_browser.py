"""The page against the networks themselves: it tells the formats of each trial's graph, on the front or off it."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import chop
from chop.actions.search.run.measured_frac_widths import measured_frac_widths
from chop.record.folder import SearchFolder
from chop.report.format_texts import describe_formats
from chop.report.html.search_data import search_data
from chop.report.html.search_page import search_page
from tests.browser.pages import browser, console, needs_browser, opened

pytestmark = needs_browser

TWO_FORMATS = Path(str(files("chop"))).parent / "configs" / "examples" / "jsc_toy_two_formats.toml"
OWN = {"weight_sparsity": [0.0, 0.5], "weight_width": [3, 8], "bias_correction": [True, False]}
BLOCKS = {"block_size": [[1, 2], [1, 4]], "exponent_width": 2, "exponent_bias_width": 4}


def spaces() -> dict[str, chop.Space]:
    """Spaces whose configs depend on their choices in different ways."""
    example = tomllib.loads(TWO_FORMATS.read_text(encoding="utf-8"))["search"]["search_space"]
    tied = {"ties": [["seq_blocks_2", "seq_blocks_5"]], "tie_operands": ["data_in", "weight", "bias"]}
    return {
        "two formats, measured positions": chop.Space.from_table(example),
        "tied": chop.Space(["integer", None], [2, 3, 4, 6, 8], **tied),
        "sparse weights, one layer in float": chop.Space(["integer"], [4, 8], exclude=["seq_blocks_2"], **OWN),
        "measured batch norms": chop.Space(["integer", "integer_floor"], [6, 8], batch_norm="measured"),
        "blocks": chop.Space(["block_minifloat"], [4, 6], layers={"linear": BLOCKS}),
    }


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    with browser() as found:
        yield found


def searched(space: chop.Space, folder: Path) -> chop.Study:
    model = chop.get_model("jsc-toy", pretrained=True)
    random = {"strategy": "optuna", "strategy_options": {"sampler": "random"}, "n_trials": 20}
    goals = {"objectives": ["accuracy", "model_size"], "num_samples": 64}
    return chop.search(model, "jsc", space, **random, **goals, folder=folder)


def expected(network: Any, named: bool) -> str:
    """The formats of a network in words, from its own graph."""
    return describe_formats(network.config, named, measured_frac_widths(network.config, network.graph.plan))


@pytest.mark.parametrize("name", list(spaces()))
def test_every_trial_has_the_formats_of_its_graph(window: Any, tmp_path: Path, name: str) -> None:
    study = searched(spaces()[name], tmp_path / "search")
    file = tmp_path / "report.html"
    file.write_text(search_page(SearchFolder(tmp_path / "search")), encoding="utf-8")
    opened(window, file)
    script = "return T.number.map((number, place) => [number, inOneLine(textsFromChoices(place)), configOf(place)])"
    rows, named = window.execute_script(script), window.execute_script("return DATA.named")
    assert len(rows) > 10
    for number, told, config in rows:
        assert told == expected(study[number], named)
        assert config == quantisable(study[number].config)
    assert console(window) == []


def quantisable(sampled_config: Mapping[str, Any]) -> dict[str, Any]:
    nodes = {node: own["config"] for node, own in sampled_config.items() if node not in ("by", "default")}
    return {node: own for node, own in nodes.items() if set(own) != {"name"}}


def test_sizes_by_layer_and_all_other_parameters_sum_to_the_size_of_the_model(window: Any, tmp_path: Path) -> None:
    searched(spaces()["two formats, measured positions"], tmp_path / "search")
    file = tmp_path / "report.html"
    file.write_text(search_page(SearchFolder(tmp_path / "search")), encoding="utf-8")
    opened(window, file)
    sizes = [own.text for own in window.find_elements("css selector", "#heat tbody tr td:last-child")]
    whole = window.execute_script("return T.metrics.model_size[state.selected]")
    assert len(sizes) == 4
    assert sum(float(own.removesuffix(" B")) for own in sizes) == pytest.approx(whole)


def test_the_page_names_the_machine(tmp_path: Path) -> None:
    searched(spaces()["tied"], tmp_path / "search")
    provenance = dict(search_data(SearchFolder(tmp_path / "search"))["provenance"])
    assert "core" in provenance["machine"]
    assert platform.node() not in provenance["machine"]
