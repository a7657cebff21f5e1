"""Passes that a file names: what they declare that they need is there when they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from chop.errors import ChopError
from chop.passes.graph import PASSES, register_pass
from chop.passes.graph.registry import missing_before
from tests.conftest import Command

OWN_PASS = """
from chop.passes.graph import register_pass

@register_pass("widest", requires=("add_software_metadata",), inputs={"rows": "batches", "x": "two_samples"})
def widest(graph, pass_args):
    '''The node with the most values, and how often it has run.'''
    shapes = {n.name: n.meta["mase"].parameters["common"]["results"]["data_out_0"]["shape"] for n in graph.nodes[1:-1]}
    samples = sum(len(batch["x"]) for batch in pass_args["rows"])
    print("widest:", max(shapes, key=lambda name: shapes[name][-1]), samples, len(pass_args["x"]["x"]))
    print("precision:", graph.node("seq_blocks_2").meta["mase"].parameters["common"]["args"]["weight"]["precision"])
    return graph, {}
"""
FILE = """
model = "jsc-tiny"
dataset = "jsc"
[passes.widest]
num_samples = 700
[passes.quantize]
by = "type"
linear.config = { name = "integer", weight_width = 6, weight_frac_width = 3 }
[passes.profile_statistics]
by = "type"
target_weight_nodes = ["linear"]
target_activation_nodes = []
weight_statistics.absolute_mean = {}
activation_statistics = {}
"""


def test_a_pass_of_ones_own_gets_data_and_metadata(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "own.py").write_text(OWN_PASS, encoding="utf-8")
    (tmp_path / "own.toml").write_text(FILE, encoding="utf-8")
    out, _ = ch("transform", "--config", "own.toml", "--plugin", "own.py", "--pretrained")
    assert "widest: x 700 2" in out or "widest: seq_blocks_0 700 2" in out, out
    assert "precision: [32]" in out


def test_what_changes_a_graph_says_whose_work_is_done_again() -> None:
    def own(graph: object, pass_args: object = None) -> tuple[object, dict[str, object]]:
        return graph, {}

    assert list(missing_before("profile_statistics_analysis", set())) == [
        "init_metadata",
        "add_common_metadata",
        "add_software_metadata",
    ]
    assert list(missing_before("profile_statistics", {"init_metadata", "add_common_metadata"})) == [
        "add_software_metadata"
    ]
    register_pass("one", requires=("other", "calibrate"))(own)
    register_pass("other", requires=("calibrate",))(lambda graph, pass_args: (graph, {}))
    assert list(missing_before("one", set())) == ["calibrate", "other"]
    PASSES.register("plain")(own)  # without any declaration of its own
    register_pass("loop", requires=("loop",))(lambda graph, pass_args: (graph, {}))
    with pytest.raises(ChopError, match="passes require each other: loop → loop"):
        list(missing_before("loop", set()))
    with pytest.raises(ChopError, match="'odd' takes 'x' from 'the web'; sources are batch, two_samples"):
        register_pass("odd", inputs={"x": "the web"})  # type: ignore[dict-item]


def test_a_file_is_told_of_a_requirement_that_there_is_not_before_anything_runs(tmp_path: Path, ch: Command) -> None:
    text = (
        "from chop.passes.graph import register_pass\n@register_pass('own', requires=('absent',))\ndef own(g, a): ...\n"
    )
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    (tmp_path / "own.toml").write_text('model = "toy"\ndataset = "toy_tiny"\n[passes.own]\n', encoding="utf-8")
    _, err = ch("transform", "--config", "own.toml", "--plugin", "own.py", status=2)
    assert "own.toml:3: passes.own: unknown pass 'absent'" in " ".join(err.split())


def test_the_pass_of_the_page_runs(tmp_path: Path, ch: Command) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "own_pass.md").read_text(encoding="utf-8")
    code = "# my_pass.py" + page.partition("# my_pass.py")[2].partition("```")[0]
    (tmp_path / "my_pass.py").write_text(code, encoding="utf-8")
    text = 'model = "toy"\ndataset = "toy_tiny"\n[passes.input_range]\nnum_samples = 5\n'
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    ch("transform", "--config", "own.toml", "--plugin", "my_pass.py")
    assert list(missing_before("input_range", set())) == ["init_metadata", "add_common_metadata"]


def test_measured_statistics_are_not_dropped_by_formats_that_come_after(tmp_path: Path, ch: Command) -> None:
    text = (
        'model = "jsc-tiny"\ndataset = "jsc"\n[passes.measure_batch_norm]\nnum_samples = 64\n[passes.quantize]\n'
        'by = "type"\nlinear.config = { name = "integer", weight_width = 6, weight_frac_width = 3 }\n'
    )
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    _, err = ch("transform", "--config", "own.toml", "--pretrained", status=2)
    assert "own.toml:5: passes.quantize: would drop the statistics" in " ".join(err.split())


def test_a_trial_is_not_saved_with_other_weights_than_the_search_measured(tmp_path: Path, ch: Command) -> None:
    """With `--config` the options are those of that file, so the weights of the search must be named again."""
    ch("config", "examples", "jsc_tiny_brute_force", "--output", ".")
    ch("search", "--config", "jsc_tiny_brute_force.toml", "--pretrained", "--set", "strategy.setup.n_trials=2")
    row = ["--from-search", "mase_output/jsc-tiny-brute-force", "--row", "1"]
    _, err = ch("transform", "--config", "jsc_tiny_brute_force.toml", *row, status=1)
    assert "measured: it had those that ship with the model (--pretrained)" in " ".join(err.split())
    assert not (tmp_path / "mase_output/jsc-tiny-brute-force/software/transform/graph.safetensors").exists()
    ch("transform", *row)
    ch("transform", "--config", "jsc_tiny_brute_force.toml", "--pretrained", *row)
