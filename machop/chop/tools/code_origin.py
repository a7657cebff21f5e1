"""Tells the user's code from libraries, wherever these are installed."""

from __future__ import annotations

import functools
import sys
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from chop.tools.user_code import loaded_plugins

PACKAGE = "chop"
_INSTALLED = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib"))


def is_user_code(value: Any) -> bool:
    """Whether a function, class or module is defined in the user's files.

    Those are the files that a command names, the script that runs, the current folder, and what they import from beside
    them. A library that is installed elsewhere (by PYTHONPATH, `pip --user`, editable) is none. What no file holds is.
    """
    name = _attribute(value, "__name__") if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    name = str(name or "")
    top = name.partition(".")[0]
    if not name or top in ("builtins", PACKAGE) or top in sys.builtin_module_names:
        return False
    module = sys.modules.get(name)
    place = _folder_of(module, name) if module is not None else None
    if place is None:
        return getattr(_attribute(module, "__spec__"), "origin", None) != "frozen"
    return not str(place).startswith(_INSTALLED) and place in _own_folders() and top not in _distributions()


def _folder_of(module: Any, name: str) -> Path | None:
    """The folder that a module's outermost package, or the module itself, was imported from; None where no file is."""
    file = _attribute(module, "__file__") or next(iter(_attribute(module, "__path__") or ()), None)
    if file is None:
        return None
    is_package = _attribute(module, "__path__") is not None
    is_file = _attribute(module, "__file__") is not None
    path = Path(str(file)).resolve()
    if path in loaded_plugins():  # called by a name of this package's own
        return path.parent
    above = name.count(".") + (is_package and is_file)
    return path.parents[min(above, len(path.parents) - 1)]


def _own_folders() -> set[Path]:
    """The folders that hold code of the user's own."""
    script = _attribute(sys.modules.get("__main__"), "__file__")
    files = [*loaded_plugins(), *([Path(script)] if script else [])]
    return {Path.cwd().resolve(), *(file.resolve().parent for file in files)}


@functools.cache
def _distributions() -> frozenset[str]:
    """The names under which installed packages are imported."""
    return frozenset(packages_distributions())


def _attribute(module: Any, name: str) -> Any:
    """An attribute that a module really has: a lazy one may load anything, or fail, when it is asked for others."""
    return vars(module).get(name) if isinstance(module, ModuleType) else None
