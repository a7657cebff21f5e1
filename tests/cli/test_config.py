"""`ch config`: files that it writes are right, files that it checks are told of as a search tells, its schema holds."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chop.actions.config_schema import config_schema
from chop.actions.search.settings.strategy_setup import StrategySetup
from chop.config.examples import examples
from tests.conftest import Command

LAB = next(one.path for one in examples() if one.name == "jsc_toy_by_type")


def accepts(schema: Mapping[str, Any], value: Any) -> bool:
    """The judgement of an independent validator, on a schema that is a right one itself."""
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return bool(kind(schema).is_valid(value))


def test_the_schema_takes_every_example_and_refuses_what_the_checks_refuse() -> None:
    schema = json.loads(json.dumps(config_schema()))
    for one in examples():
        assert accepts(schema, tomllib.loads(one.path.read_text(encoding="utf-8"))), one.name
    text = LAB.read_text(encoding="utf-8")
    for right, wrong in (
        ("n_trials", "n_trails"),
        ("n_trials = 20", "n_trials = 0"),
        ("n_trials = 20", 'n_trials = "20"'),
        ("batch_size = 512", "batch_size = 0"),
        ('name = "optuna"', 'name = "optunna"'),
        ("weight_width = [2", "weigt_width = [2"),
        ('name = ["integer"]', 'name = ["intteger"]'),
        ("linear.config]\nname = [", "linear.confg]\nname = ["),
        ("accuracy.direction", "accuracy.diraction"),
        ("num_samples", "num_sample"),
        ("[transform]", "[transfrom]"),
    ):
        assert right in text
        assert not accepts(schema, tomllib.loads(text.replace(right, wrong))), wrong


def test_the_schema_has_every_key_and_its_default() -> None:
    setup = config_schema()["properties"]["search"]["properties"]["strategy"]["properties"]["setup"]["properties"]
    for key in fields(StrategySetup):
        assert key.name in setup
    assert {"type": "integer", "minimum": 128, "default": 1024}.items() <= setup["memory_mib"].items()
    assert "population_size" in setup and "pkl_ckpt" in setup


def test_the_schema_is_written_once(tmp_path: Path, ch: Command) -> None:
    ch("config", "schema", "--output", "chop.schema.json")
    assert json.loads((tmp_path / "chop.schema.json").read_text(encoding="utf-8")) == config_schema()
    assert "is there already" in ch("config", "schema", "--output", "chop.schema.json", status=2)[1]


@pytest.mark.parametrize("model", ["toy", "shapes-cnn"])
def test_a_new_file_is_right_and_is_never_written_over_another(model: str, tmp_path: Path, ch: Command) -> None:
    assert "written: new.toml" in ch("config", "new", model, "--output", "new.toml")[0]
    text = (tmp_path / "new.toml").read_text(encoding="utf-8")
    assert ch("config", "new", model)[0] == text
    assert ch("config", "check", "new.toml")[0] == "new.toml: nothing is wrong\n"
    assert accepts(config_schema(), tomllib.loads(text))
    assert "is there already" in ch("config", "new", "jsc-tiny", "--output", "new.toml", status=2)[1]
    assert (tmp_path / "new.toml").read_text(encoding="utf-8") == text


def test_a_new_file_is_searched_and_its_comments_are_settings(tmp_path: Path, ch: Command) -> None:
    ch("config", "new", "toy", "--output", "new.toml")
    search = ("search", "--config", "new.toml", "--project", "p", "--set", "strategy.setup.html_report=false")
    assert "Pareto front: " in ch(*search, "--n-trials", "3")[0]
    text = (tmp_path / "new.toml").read_text(encoding="utf-8")
    commented = [line for line in text.splitlines() if line.startswith("# ") and (" = " in line or line[2] == "[")]
    settings = [line for line in commented if "ch " not in line]
    assert len(settings) == 6
    for line in settings:
        text = text.replace(line, line[2:])
    (tmp_path / "all.toml").write_text(text, encoding="utf-8")
    assert "nothing is wrong" in ch("config", "check", "all.toml", status=0)[0]


OWN = """
import torch
def build_model():
    return torch.nn.Linear(4, 2)
def build_data():
    return torch.randn(40, 4), torch.arange(40) % 2
"""


def test_a_new_file_for_a_model_of_ones_own_names_it_on_the_command_line(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "my own.py").write_text(OWN, encoding="utf-8")
    assert "name a data set too" in ch("config", "new", "my own.py:build_model", status=2)[1]
    ch("config", "new", "my own.py:build_model", "my own.py:build_data", "--output", "own.toml")
    text = (tmp_path / "own.toml").read_text(encoding="utf-8")
    code = "--model 'my own.py:build_model' --dataset 'my own.py:build_data'"
    assert f"ch search --config FILE.toml {code}" in text
    own = ("--model", "my own.py:build_model", "--dataset", "my own.py:build_data")
    assert "nothing is wrong" in ch("config", "check", "own.toml", *own)[0]
    assert "model: is missing" in ch("config", "check", "own.toml", status=2)[1]


def test_all_that_is_wrong_is_told_at_once_also_what_needs_the_model(tmp_path: Path, ch: Command) -> None:
    text = LAB.read_text(encoding="utf-8")
    for right, wrong in (("n_trials", "n_trails"), ("seed.default", "seed.defualt"), ("accuracy.", "accuraccy.")):
        text = text.replace(right, wrong)
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    err = ch("config", "check", "wrong.toml", status=2)[1]
    for told in ("'n_trials'?", "'default'?", "'accuracy'?"):
        assert err.count(told) == 1, err
    assert err.count("error: wrong.toml:") == 3
    (tmp_path / "none.toml").write_text("model = 3\n", encoding="utf-8")
    assert "none.toml:1: model: expected" in ch("config", "check", "none.toml", status=2)[1]


def test_a_fault_hides_no_other(tmp_path: Path, ch: Command) -> None:
    file = tmp_path / "bad.toml"
    lines = """model = "jsc-tiny"
dataset = "jsc"
task = "clss"
batch_size = 0
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
setup.calibration_row = 4
[search.search_space.seed.linear.config]
name = ["integr"]
data_in_width = []
weight_width = [2, "4"]
bias_width = [4, 4]
bias_frac_wdith = [4]
[search.strategy]
name = "optunaa"
setup.n_trials = 0
setup.sampler = "tpee"
sw_runner.basic_evaluation.num_samples = 100
metrics.accuracy.direction = "maximize"
metrics.bits.direction = "minimize"
"""
    file.write_text(lines, encoding="utf-8")
    lines_told = re.findall(r"error: bad.toml:(\d+): ", ch("config", "check", "bad.toml", status=2)[1])
    assert list(map(int, lines_told)) == [3, 4, 7, 9, 10, 11, 12, 13, 15, 16, 17, 20]


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('by = "type"', 'by = "tpye"', "setup.by: expected"),
        ('by = "type"', 'yb = "type"', "setup.yb: unknown key"),
        ("hw_runner.average_bitwidth", "hw_runner.averge_bitwidth", "'average_bitwidth'?"),
        ("sw_runner.basic_evaluation", "sw_runner.basic_evalution", "'basic_evaluation'?"),
    ],
)
def test_what_follows_from_a_fault_is_not_told(right: str, wrong: str, told: str, tmp_path: Path, ch: Command) -> None:
    """No seed fits a `by` that was not meant, and a misspelt runner returns no metric."""
    text = """model = "jsc-tiny"
dataset = "jsc"
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
setup.by = "type"
seed.linear.config = {name = ["integer"], data_in_width = [4, 8], weight_width = [4, 8], bias_width = [8]}
[search.strategy]
name = "brute_force"
sw_runner.basic_evaluation.num_samples = 100
hw_runner.average_bitwidth = {}
metrics.accuracy.direction = "maximize"
metrics.average_bitwidth.direction = "minimize"
"""
    assert right in text
    (tmp_path / "right.toml").write_text(text, encoding="utf-8")
    assert "nothing is wrong" in ch("config", "check", "right.toml")[0]
    (tmp_path / "wrong.toml").write_text(text.replace(right, wrong), encoding="utf-8")
    (line,) = ch("config", "check", "wrong.toml", status=2)[1].splitlines()
    assert told in line


def test_examples_are_listed_shown_and_copied(tmp_path: Path, ch: Command) -> None:
    out = ch("config", "examples")[0]
    assert all(f"{one.name}\n    {one.about}\n" in out for one in examples())
    assert ch("config", "examples", "jsc_toy_by_type")[0] == LAB.read_text(encoding="utf-8")
    ch("config", "examples", "jsc_toy_by_type.toml", "--output", "mine")
    assert (tmp_path / "mine/jsc_toy_by_type.toml").read_bytes() == LAB.read_bytes()
    assert "is there already" in ch("config", "examples", "--output", "mine", status=2)[1]
    assert len([*(tmp_path / "mine").iterdir()]) == 1
    ch("config", "examples", "--output", "all")
    assert len([*(tmp_path / "all").iterdir()]) == len(examples())
    (tmp_path / "folder.toml").mkdir()
    for given, written in (("new/mine.toml", "new/mine.toml"), ("folder.toml", "folder.toml/jsc_toy_by_type.toml")):
        ch("config", "examples", "jsc_toy_by_type", "--output", given)
        assert (tmp_path / written).read_bytes() == LAB.read_bytes()
    assert "is there already" in ch("config", "examples", "toy_regex", "--output", "new/mine.toml", status=2)[1]
    assert "did you mean 'toy_regex'?" in ch("config", "examples", "toy_regx", status=(1, 2))[1]
