"""The example files as the package lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chop.config import examples as room
from chop.config.examples import example, examples
from chop.errors import ConfigError, UnknownNameError

ROOT = Path(__file__).resolve().parents[2]


def test_the_package_has_the_files_of_the_lab_and_no_second_copy() -> None:
    of_the_lab = sorted((ROOT / "machop" / "configs" / "examples").glob("*.toml"))
    assert len(of_the_lab) >= 20
    assert [each.path.resolve() for each in examples()] == [path.resolve() for path in of_the_lab]


def test_an_example_says_what_it_is_about_in_one_line() -> None:
    for each in examples():
        assert each.about.endswith((".", ":")), each.name
        assert "\n" not in each.about
    assert example("jsc_mlp_formats").about.endswith("the first layer is left in float, the last one keeps eight bits.")


def test_commands_in_an_example_name_the_file_alone() -> None:
    for each in examples():
        commands = [line for line in each.path.read_text(encoding="utf-8").splitlines() if "--config" in line]
        assert commands, each.name
        assert all(line.startswith("#   ch ") and f"--config {each.path.name}" in line for line in commands), each.name


def test_a_misspelled_example_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'jsc_toy_by_type'"):
        example("jsc_toy_bytype")


def test_lost_examples_are_an_error_that_says_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FOLDER", tmp_path)
    with pytest.raises(ConfigError, match="machop/configs/examples"):
        examples()
