"""Every public method says what it does, itself or in a base class.

Ruff asks the same of classes and functions, and of methods outside the rooms that fill in hooks of base classes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any

import chop


def without_docstring(module: ModuleType) -> Iterator[str]:
    """The public methods and properties of a module's classes that no docstring describes."""
    for cls in vars(module).values():
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and not cls.__name__.startswith("_"):
            for name, member in vars(cls).items():
                if not name.startswith("_") and _function(member) and not any(_docstrings(cls, name)):
                    yield f"{module.__name__}.{cls.__qualname__}.{name}"


def _docstrings(cls: type[Any], name: str) -> Iterator[str | None]:
    """The docstrings of a member in a class and in its bases."""
    functions = (_function(vars(base).get(name)) for base in cls.__mro__)
    return (function.__doc__ for function in functions if function is not None)


def _function(member: Any) -> FunctionType | None:
    """The function behind a method or property; None for another member, a lambda for one."""
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    elif isinstance(member, property):
        member = member.fget
    elif isinstance(member, cached_property):
        member = member.func
    return member if isinstance(member, FunctionType) and member.__name__ != "<lambda>" else None


def test_public_methods_have_docstrings() -> None:
    names = [module.name for module in pkgutil.walk_packages(chop.__path__, "chop.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    assert [found for module in modules for found in without_docstring(module)] == []


class Base:
    def described(self) -> None:
        """Described."""

    @cached_property
    def bare(self) -> int:
        return 0


class Derived(Base):
    def described(self) -> None:
        return None

    @property
    def bare(self) -> int:  # type: ignore[override]
        return 1

    @classmethod
    def made(cls) -> None:
        return None


def test_the_scan_sees_what_it_is_for() -> None:
    module = ModuleType(__name__)
    vars(module).update(Derived=Derived, Base=Base)
    found = [name.removeprefix(f"{__name__}.") for name in without_docstring(module)]
    assert sorted(found) == ["Base.bare", "Derived.bare", "Derived.made"]
