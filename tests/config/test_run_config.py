"""Options: default < file < command line, the line of everything that is wrong, and the way back through a file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from chop.config import RunOptions, TomlDocument, dump_toml, load_run_config
from chop.config.run_config import RunConfig
from chop.errors import ConfigError

FILE = """
model = "jsc-tiny"
dataset = "jsc"
seed = 7
batch_size = 512

[search.strategy.setup]
n_trials = 3
metrics.accuracy.scale = 1.0
widths = [
    1,
    2,
]
last = { a = 1 }

["odd key".table]
"quoted" = 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.toml"
    path.write_text(FILE.replace('["odd key".table]\n"quoted" = 1\n', ""), encoding="utf-8")
    return path


def test_the_command_line_goes_before_the_file_which_goes_before_the_default(path: Path) -> None:
    config = load_run_config(path, {"batch_size": 128, "max_epochs": 3})
    assert config.options.batch_size == 128
    assert config.options.seed == 7
    assert config.options.max_epochs == 3
    assert config.options.learning_rate == RunOptions.learning_rate
    assert config.sources["batch_size"] == "command line"
    assert config.sources["seed"] == "file"
    assert config.sources["learning_rate"] == "default"
    assert config.overridden == {"batch_size": 512}


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("seed",), 4),
        (("search",), 7),
        (("search", "strategy", "setup", "n_trials"), 8),
        (("search", "strategy", "setup", "metrics", "accuracy", "scale"), 9),
        (("search", "strategy", "setup", "widths"), 10),
        (("search", "strategy", "setup", "last", "a"), 14),
        (("odd key", "table", "quoted"), 17),
        (("search", "strategy", "setup", "absent"), 7),
    ],
)
def test_every_key_knows_its_line(key: tuple[str, ...], line: int) -> None:
    assert TomlDocument.parse(FILE, "file.toml").where(key) == f"file.toml:{line}"


def test_syntax_errors_show_the_place() -> None:
    with pytest.raises(ConfigError) as caught:
        TomlDocument.parse('seed = 1\nmodel = "jsc', "file.toml")
    assert "file.toml:2:" in str(caught.value)
    assert "^" in str(caught.value)


def problems(text: str, tmp_path: Path) -> str:
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    return "\n".join(load_run_config(path, {}).problems)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sede = 1", "wrong.toml:3: sede: unknown key; did you mean 'seed'?"),
        ("batch_size = 0", "wrong.toml:3: batch_size: expected greater than or equal to 1, got 0"),
        ("batch_size = 1.5", "wrong.toml:3: batch_size: expected"),
        ("seed = true", "wrong.toml:3: seed: expected"),
        ('accelerator = "tpu"', "wrong.toml:3: accelerator: expected 'auto', 'cpu', 'gpu' or 'mps'"),
        ("learning_rate = 1e30", "wrong.toml:3: learning_rate: expected less than or equal to 1000, got 1e+30"),
        ('learning_rate = "fast"', "wrong.toml:3: learning_rate: expected"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(line: str, told: str, tmp_path: Path) -> None:
    assert told in problems(f'model = "toy"\ndataset = "toy_tiny"\n{line}\n', tmp_path)


def test_several_problems_come_together(tmp_path: Path) -> None:
    text = problems('model = "toi"\ndataset = "toy_tin"\nsede = 1\nbatch_size = 0\n', tmp_path)
    assert len(text.splitlines()) == 4


def test_no_code_is_run_on_a_files_word(tmp_path: Path) -> None:
    text = problems('model = "evil.py:build"\ndataset = "toy_tiny"\n', tmp_path)
    assert "never run on a config's word" in text


def test_resolved_options_load_back_to_the_same(path: Path, tmp_path: Path) -> None:
    config: RunConfig = load_run_config(path, {"project_dir": "here", "load_name": "weights.ckpt"})
    again = tmp_path / "resolved.toml"
    again.write_text(dump_toml(config), encoding="utf-8")
    loaded = load_run_config(again, {})
    for field in fields(RunOptions):
        value = getattr(config.options, field.name)
        wanted = str(Path(value).resolve()) if field.name in ("project_dir", "load_name") else value
        assert getattr(loaded.options, field.name) == wanted
    assert loaded.tables == config.tables


def test_code_that_the_command_line_names_too_is_no_problem_and_else_is_not_even_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "resolved.toml"
    path.write_text('model = "mine.py:build"\ndataset = "toy_tiny"\n', encoding="utf-8")
    assert load_run_config(path, {"model": "mine.py:build"}).problems == ()
    refused = load_run_config(path, {})
    assert refused.options.model is None
    assert len(refused.problems) == 1
