"""The early checks: they say nothing that the whole check does not say, import no torch, and their file is current."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chop.actions.early_checks import KEYS_FILE, early_problems
from chop.actions.search.checks import problems_without_data
from chop.actions.search.strategies import STRATEGIES
from chop.config.examples import examples
from tests.conftest import Command

LAB = next(one.path for one in examples() if one.name == "jsc_toy_by_type")
ROOT = Path(__file__).parents[2]
WRONG: tuple[Any, ...] = (-1, "ten", [], True, 1.5, {})


def spoilt(table: Any, spoil: Any) -> Iterator[dict[str, Any]]:
    """Copies of a table, each with another one of its keys changed by `spoil(key, value)`, which returns both."""
    for key, value in table.items():
        below = spoilt(value, spoil) if isinstance(value, dict) else ()
        yield from ({**table, key: changed} for changed in below)
        rest = {name: own for name, own in table.items() if name != key}
        yield from ({**rest, name: changed} for name, changed in spoil(key, value))


def misspelt(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if len(key) > 3:
        yield key[:2] + key[3] + key[2] + key[4:], value
    yield key + "s", value


def wrong_values(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield from ((key, wrong) for wrong in WRONG)


def search_tables() -> Iterator[dict[str, Any]]:
    for one in examples():
        search = tomllib.loads(one.path.read_text(encoding="utf-8")).get("search")
        if search is not None:
            yield search


@pytest.mark.parametrize("spoil", [misspelt, wrong_values])
def test_the_whole_check_says_the_same(spoil: Any) -> None:
    found = 0
    for table in list(search_tables())[::8]:
        assert not early_problems(table)
        for wrong in spoilt(table, spoil):
            early = early_problems(wrong)
            found += len(early)
            whole = problems_without_data(wrong)
            said = [(problem.path, problem.message) for problem in whole]
            assert all((problem.path, problem.message) in said for problem in early), (early, whole)
    assert found > 50


def test_values_of_another_strategy_are_no_problem() -> None:
    table = tomllib.loads(LAB.read_text(encoding="utf-8"))["search"]
    others = {key for cls in STRATEGIES.working().values() for key in cls.Options.__dataclass_fields__}
    for key in others:
        for wrong in WRONG:
            spoilt_setup = {**table["strategy"]["setup"], key: wrong}
            early = early_problems({**table, "strategy": {**table["strategy"], "setup": spoilt_setup}})
            assert not early, early


def test_the_stored_keys_are_current() -> None:
    """In a process of its own: other tests register strategies with keys of theirs."""
    code = "import sys; from scripts.search_keys import text; sys.stdout.write(text())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True, cwd=ROOT
    )
    assert KEYS_FILE.read_text(encoding="utf-8") == done.stdout, "run `make keys`"


def test_a_misspelt_key_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    wrong = LAB.read_text(encoding="utf-8").replace("n_trials", "n_trails").replace("weight_width", "weigth_width")
    file.write_text(f"sed = 3\n{wrong}", encoding="utf-8")
    code = (
        "import sys, builtins\n"
        "real = builtins.__import__\n"
        "def refuse(name, *rest, **more):\n"
        "    if name.partition('.')[0] == 'torch':\n"
        "        sys.exit(7)\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = refuse\n"
        "from chop.cli.main import main\n"
        "sys.argv = ['ch', *{}]\n"
        "main()\n"
    )
    for command, status, told in (
        (["search", "--config", str(file)], 7, ("sed: unknown", "'n_trials'?", "'weight_width'?")),
        (["train", "--config", str(file)], 7, ("sed: unknown key",)),
        (["--help"], 0, ()),
        (["info", "--help"], 0, ()),
        (["config", "check", "--help"], 0, ()),
        (["config", "examples"], 0, ()),
        (["search", "--help"], 0, ()),
    ):
        run = subprocess.run(
            [sys.executable, "-c", code.format(command)], text=True, encoding="utf-8", capture_output=True, check=False
        )
        assert run.returncode == status, (command, run.stderr)
        assert all(run.stderr.count(text) >= 1 for text in told), run.stderr


def test_every_fault_is_told_once_also_those_that_need_torch(tmp_path: Path, ch: Command) -> None:
    wrong = LAB.read_text(encoding="utf-8")
    for right, other in (
        ("n_trials", "n_trails"),
        ('name = "optuna"', 'name = "optunna"'),
        ("num_samples = ", "num_samples = -"),
    ):
        wrong = wrong.replace(right, other)
    (tmp_path / "wrong.toml").write_text(wrong, encoding="utf-8")
    err = ch("search", "--config", "wrong.toml", status=2)[1]
    assert err.count("error: ") == 3, err
    assert all(err.count(told) == 1 for told in ("'n_trials'?", "'optuna'?", "greater than 0"))


def test_a_flag_takes_the_place_of_a_wrong_value(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "wrong.toml").write_text(
        LAB.read_text(encoding="utf-8").replace("n_trials = 20", "n_trials = 0"), encoding="utf-8"
    )
    search = ("search", "--config", "wrong.toml", "--dry-run")
    assert "setup.n_trials: expected" in ch(*search, status=2)[1]
    assert "error" not in ch(*search, "--n-trials", "3")[1]
