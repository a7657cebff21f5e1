"""Only what the user's own files can change is digested; no library, wherever it lies, can kill the checksum."""

from __future__ import annotations

import importlib
import itertools
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from chop.tools.code_origin import is_user_code
from chop.tools.user_code import load_plugin
from chop.tools.value_digest import value_digest

LIBRARY = """
import threading, itertools

SCALE = 2
LOCK = threading.Lock()
ENDLESS = itertools.count()

def __getattr__(name):
    raise RuntimeError(f"{name} needs a package that is not installed")

class Meta(type):
    def __getattr__(cls, name):
        raise ValueError(name)

class Base(metaclass=Meta):
    @property
    def shape(self):
        raise OSError("no backend")

def helper(x):
    return SCALE * x
"""
USER = """
import farlib
import farlib.inner as inner
from nearby import near

class Loss(farlib.Base):
    weight = 3

def metric(p, y):
    return inner.helper(farlib.helper(p - y)) + farlib.anything + near(y) + Loss.weight
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of the user's own with a neighbour, and a library in a folder of its own that PYTHONPATH names."""
    package = tmp_path / "libraries" / "farlib"
    package.mkdir(parents=True)
    for name in ("__init__", "inner"):
        (package / f"{name}.py").write_text(LIBRARY, encoding="utf-8")
    own = tmp_path / "project"
    own.mkdir()
    (own / "nearby.py").write_text("def near(x): return x + 1", encoding="utf-8")
    (own / "mine.py").write_text(USER, encoding="utf-8")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield own / "mine.py"
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.startswith(("farlib", "mine", "nearby", "chop_user_mine"))]:
        del sys.modules[name]
    importlib.invalidate_caches()


def digest(file: Path, **replaced: tuple[str, str]) -> str:
    """The checksum of the user's metric after some texts in files were replaced."""
    paths = {"mine": file, "nearby": file.with_name("nearby.py")}
    paths["library"] = file.parents[1] / "libraries" / "farlib" / "__init__.py"
    before = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    for name, (old, new) in replaced.items():
        assert old in before[name]
        paths[name].write_text(before[name].replace(old, new), encoding="utf-8")
    _forget()
    sys.dont_write_bytecode, cached = True, sys.dont_write_bytecode
    try:
        module = load_plugin(file)
        return value_digest([module.metric, module.Loss])
    finally:
        sys.dont_write_bytecode = cached
        for name, path in paths.items():
            path.write_text(before[name], encoding="utf-8")


def test_a_library_outside_site_packages_is_not_the_users_own(user: Path, caplog: pytest.LogCaptureFixture) -> None:
    unchanged = digest(user)
    assert digest(user) == unchanged
    assert digest(user, library=("SCALE = 2", "SCALE = 3")) == unchanged
    assert digest(user, nearby=("x + 1", "x + 2")) != unchanged
    assert digest(user, mine=("p - y", "p + y")) != unchanged
    assert digest(user, mine=("weight = 3", "weight = 4")) != unchanged
    assert not caplog.records


def test_what_is_own(user: Path) -> None:
    module = load_plugin(user)
    farlib, nearby = sys.modules["farlib"], sys.modules["nearby"]
    own = [module, module.metric, module.Loss, nearby, nearby.near, Strange, digest]
    others = [farlib, farlib.helper, farlib.Base, sys, time, json, nn, nn.Linear, itertools, is_user_code, pytest]
    assert [is_user_code(value) for value in own] == [True] * len(own)
    assert [is_user_code(value) for value in others] == [False] * len(others)


class Strange(ModuleType):
    """A module that fails whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Dictionary(dict[str, Any]):
    def items(self) -> Any:
        raise OSError("the file is closed")


class Endless:
    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (), None, itertools.count()


class Named(str):
    """A text whose representation is never the same."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Named at {time.perf_counter_ns()}"


@pytest.mark.parametrize(
    "value", [Strange("x"), Dictionary(a=1), Endless(), Named("a"), {Named("a")}, {(Named("a"), 1)}]
)
def test_nothing_kills_a_checksum(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chop.tools.value_digest.MOST_VALUES", 10_000)
    assert value_digest([value, 1]) == value_digest([value, 1])
    assert value_digest([value, 1]) != value_digest([value, 2])


def test_what_is_not_covered_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "chop"):
        value_digest([Dictionary(a=1), Dictionary(a=2), 3])
    assert len(caplog.records) == 1
    assert "does not cover" in caplog.text
    assert "OSError: the file is closed" in caplog.text


def test_a_checksum_of_very_much_ends(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("chop.tools.value_digest.MOST_VALUES", 1000)
    with caplog.at_level(logging.WARNING, "chop"):
        assert value_digest(list(range(5000))) == value_digest(list(range(5000)))
    assert "more than 1,000 values" in caplog.text
