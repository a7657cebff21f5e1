"""Values of a search that the command line sets: as if the file had them, and their errors name the flag."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from chop.actions.search_flags import SearchFlags
from chop.errors import ConfigError
from chop.record.folder import SearchFolder
from tests.conftest import Command

EXAMPLES = Path(__file__).resolve().parents[2] / "machop" / "configs" / "examples"
LAB = EXAMPLES / "jsc_toy_by_type.toml"
FLAGS = (
    *("--n-trials", "3", "--strategy-name", "evolution", "--set", "strategy.setup.population_size=6"),
    *("--metric", "loss", "--metric", "average_bitwidth=minimize"),
    *("--set", 'search_space.seed."seq_blocks_2".config.weight_width=[3, 8]'),
)
IN_FILE = (
    ("n_trials = 20", "n_trials = 3\npopulation_size = 6"),
    ('name = "optuna"', 'name = "evolution"'),
    ('accuracy.scale = 1.0\naccuracy.direction = "maximize"', "loss.scale = 1.0"),
)


def table(folder: Path) -> dict[str, object]:
    resolved: dict[str, dict[str, object]] = tomllib.loads((folder / "resolved.toml").read_text(encoding="utf-8"))
    return resolved["search"]


def test_flags_are_as_if_the_file_had_them_and_a_search_goes_on_with_either(tmp_path: Path, ch: Command) -> None:
    text = LAB.read_text(encoding="utf-8")
    head, seed = text.split("[search.search_space.seed.seq_blocks_2.config]")
    text = "[search.search_space.seed.seq_blocks_2.config]".join([head, seed.replace("[2, 4, 8]", "[3, 8]", 1)])
    for right, wrong in IN_FILE:
        assert right in text
        text = text.replace(right, wrong)
    (tmp_path / "edited.toml").write_text(text, encoding="utf-8")
    ch("search", "--config", str(LAB), "--pretrained", "--project", "flags", *FLAGS)
    ch("search", "--config", "edited.toml", "--pretrained", "--project", "file")
    flags, file = (tmp_path / f"mase_output/{name}/software/search_ckpts" for name in ("flags", "file"))
    assert table(flags) == table(file)
    assert SearchFolder(flags).fingerprint == SearchFolder(file).fingerprint
    before = (flags / "trials.jsonl").read_bytes()
    ch("search", "--config", "edited.toml", "--pretrained", "--project", "flags", "--resume")
    assert (flags / "trials.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--n-trials", "0"], "command line: --n-trials: search.strategy.setup.n_trials: expected"),
        (["--strategy-name", "optunna"], "command line: --strategy-name: search.strategy.name: "),
        (["--metric", "accuraccy"], "command line: --metric accuraccy: search.strategy.metrics.accuraccy: no runner"),
        (["--metric", "accuracy=up"], "command line: --metric accuracy=up: expected one of NAME, NAME=maximize"),
        (["--metric", "accuracy=minimize"], "command line: --metric accuracy=minimize: search.strategy.metrics.acc"),
        (
            ["--set", "strategy.setup.n_trails=3"],
            "--set strategy.setup.n_trails=3: search.strategy.setup.n_trails: unk",
        ),
        (["--set", "n_trials"], "command line: --set n_trials: expected KEY=VALUE"),
        (["--set", "a..b=1"], "command line: --set a..b: is no key"),
        (["--set", "strategy.name.x=1"], "--set strategy.name.x=1: search.strategy.name.x: search.strategy.name is no"),
        (["--set", "strategy.setup.n_trials=3", "--n-trials", "4"], "--n-trials: search.strategy.setup.n_trials: is"),
        (["--finish-epochs", "0"], "command line: --finish-epochs: search.finish.max_epochs: expected"),
        (["--for", "fpgaa"], "command line: --for: search.search_space.setup.export_to: "),
    ],
)
def test_an_error_names_the_flag(flags: list[str], told: str, tmp_path: Path, ch: Command) -> None:
    err = ch("search", "--config", str(LAB), "--pretrained", *flags, status=2)[1]
    assert told in err
    assert err.count("error:") == 1, err
    assert not (tmp_path / "mase_output").exists()


SET_OF = {
    "compare": ("strategy.setup.n_trails=3", "search.strategy.setup.n_trails: unknown key"),
    "transform": ("quantise.by=type", "passes.quantise: "),
    "train --for-space": ("train_for_space.epochs=3", "train_for_space.epochs: unknown key"),
}


@pytest.mark.parametrize("command", SET_OF)
def test_other_commands_take_values_of_the_tables_that_they_read(command: str, tmp_path: Path, ch: Command) -> None:
    pair, told = SET_OF[command]
    err = ch(*command.split(), "--config", str(LAB), "--pretrained", "--set", pair, status=2)[1]
    assert f"error: command line: --set {pair}: {told}" in err
    assert err.count("error:") == 1, err
    assert not (tmp_path / "mase_output").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("transform --set search.strategy.name=random", "this command does not read the table search"),
        ("search --set passes.quantize.by=name", "this command does not read the table passes"),
        ("train --set search_space.setup.by=name", "--set goes with --for-space"),
        ("transform --set a=1 --from-search {run} --row 0", "--set has no effect with --from-search"),
        (
            "train --for-space --max-epochs 4 --set train_for_space.max_epochs=3",
            "--max-epochs: train_for_space.max_epochs: is given with --set train_for_space.max_epochs=3 as well",
        ),
    ],
)
def test_a_value_that_no_table_would_hear_of_is_refused(words: str, told: str, tmp_path: Path, ch: Command) -> None:
    if "{run}" in words:
        ch("search", "--config", str(LAB), "--pretrained", "--project", "run", "--n-trials", "1")
    run = tmp_path / "mase_output" / "run"
    assert told in ch(*words.format(run=run).split(), "--config", str(LAB), "--pretrained", status=2)[1]


def test_passes_of_the_command_line_are_as_if_the_file_had_them(tmp_path: Path, ch: Command) -> None:
    values = {"name": "integer", "data_in_width": 8, "data_in_frac_width": 4, "weight_width": 3, "weight_frac_width": 2}
    text = "\n".join(f"linear.config.{key} = {value!r}" for key, value in values.items())
    (tmp_path / "in_file.toml").write_text(f'[passes.quantize]\nby = "type"\n{text}\n', encoding="utf-8")
    pairs = [f"quantize.linear.config.{key}={value}" for key, value in values.items()]
    flags = [word for pair in ["quantize.by=type", *pairs] for word in ("--set", pair)]
    ch("transform", "jsc-tiny", "jsc", "--pretrained", "--project", "file", "--config", "in_file.toml")
    ch("transform", "jsc-tiny", "jsc", "--pretrained", "--project", "flags", *flags)
    file, given = (tmp_path / f"mase_output/{name}/software/transform/summary.txt" for name in ("file", "flags"))
    assert "3b/2f" in given.read_text(encoding="utf-8")
    assert file.read_text(encoding="utf-8") == given.read_text(encoding="utf-8")


def test_a_problem_of_the_file_keeps_its_line_beside_flags(tmp_path: Path, ch: Command) -> None:
    text = LAB.read_text(encoding="utf-8").replace("num_samples", "num_sample")
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    err = ch("search", "--config", "wrong.toml", "--pretrained", "--n-trials", "0", status=2)[1]
    assert "error: wrong.toml:" in err and "error: command line: --n-trials" in err


def test_metrics_of_the_command_line_replace_objectives_and_leave_constraints() -> None:
    metrics = {"accuracy": {"scale": 2.0, "min": 0.6}, "loss": {"direction": "minimize"}, "bitops": {"max": 9.0}}
    tables = {"search": {"strategy": {"metrics": metrics}}}
    found = {one.path[3:]: one.value for one in SearchFlags(metrics=["bitops"]).overrides(tables)}
    assert found == {("bitops", "scale"): 1.0, ("loss",): None, ("accuracy", "scale"): None}
    with pytest.raises(ConfigError, match="--metric =maximize: expected"):
        SearchFlags(metrics=["=maximize"]).overrides(tables)


def test_the_help_of_a_search_leaves_out_what_training_takes_and_the_command_still_takes_it(ch: Command) -> None:
    training = ("--max-epochs", "--learning-rate", "--trainer-precision", "--weight-decay", "--gpu", "--report-to")
    of_search, of_training = ch("search", "--help")[0], ch("train", "--help")[0]
    for flag in training:
        assert flag in of_training and flag not in of_search
    err = ch(
        "search", "--config", str(LAB), "--max-epochs", "5", "--learning-rate", "0.01", "--n-trials", "0", status=2
    )[1]
    assert "--n-trials" in err
    assert "--max-epochs, --learning-rate: no effect here, only `ch train` reads this: leave it out" in " ".join(
        err.split()
    )
