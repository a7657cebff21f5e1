"""Loads the user's code, named on the command line as `FILE.py:FUNCTION`; never from a config file."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from chop.errors import ChopError, InputError, did_you_mean

_PREFIX = "chop_user_"


def is_user_reference(text: str) -> bool:
    """Whether `text` has the form `FILE.py:FUNCTION`.

    >>> is_user_reference("nets/mine.py:build_model"), is_user_reference("jsc-tiny")
    (True, False)
    """
    file, _, name = text.rpartition(":")
    return file.endswith(".py") and name.isidentifier()


def load_user_object(reference: str) -> Any:
    """The object that `FILE.py:NAME` names; runs the file.

    Raises InputError where there is none, ChopError with the reason where the file fails.
    """
    file, _, name = reference.rpartition(":")
    module = load_plugin(Path(file))
    if not hasattr(module, name):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise InputError(f"{file} defines no '{name}'{did_you_mean(name, public)}")
    return getattr(module, name)


def load_plugin(path: Path) -> ModuleType:
    """Run a Python file once and return it as a module; what it registers is known from then on.

    The file may import its neighbours: its folder is added to the end of `sys.path`. Where a neighbour imports the
    file, or has imported it, that is the same module. Raises ChopError that names the file, the line and the reason.
    """
    path = path.resolve()
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file() or path.suffix != ".py":
        what = "is a folder" if path.is_dir() else "is no Python file (.py)" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; give the path of a Python file")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    names = [name, path.stem] if _is_imported_as(path.stem, path) else [name]
    if imported := sys.modules.get(names[-1]):
        sys.modules[name] = imported
        return imported
    module = _run(path, names)
    _let_inspect_pass()
    return module


def _is_imported_as(name: str, path: Path) -> bool:
    """Whether `import name` runs the file, or has run it."""
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # of a module without a spec, such as `__main__`
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


def _run(path: Path, names: list[str]) -> ModuleType:
    """Run a file as the module of the first name, known by all of them; by none if it fails."""
    spec = importlib.util.spec_from_file_location(names[0], path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.update(dict.fromkeys(names, module))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        for name in names:
            del sys.modules[name]
        raise ChopError(f"{_place(path, error)}: {type(error).__name__}: {error}") from error
    return module


def loaded_plugins() -> list[Path]:
    """The files that `load_plugin` has run, in that order: a worker process must run them too."""
    found = [module for name, module in list(sys.modules.items()) if name.startswith(_PREFIX)]
    return [Path(module.__file__) for module in found if module.__file__ is not None]


def call_user(function: Any, reference: str, *args: Any) -> Any:
    """Call a user's function; what it raises becomes a ChopError that names the user's line."""
    try:
        found = function(*args)
    except Exception as error:
        file = Path(reference.rpartition(":")[0]).resolve()
        raise ChopError(f"{_place(file, error)}: {type(error).__name__}: {error}") from error
    _let_inspect_pass()
    return found


def _let_inspect_pass() -> None:
    """Give modules of no file that fail when they are asked for one `__file__ = None`.

    Python's `inspect`, and with it torch, asks every loaded module, and passes over those that have None.
    """
    for module in list(sys.modules.values()):
        try:
            hasattr(module, "__file__")
        except Exception:  # of a `__getattr__` that raises anything but AttributeError
            with suppress(Exception):
                module.__file__ = None


def place_in_plugin(error: BaseException) -> str:
    """The innermost line of the user's own files where `error` came up, ` (FILE:LINE)`; empty if it is in none."""
    own = {str(path) for path in loaded_plugins()}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def place_in(function: Any, error: BaseException) -> str:
    """The line of the file of `function` where `error` came up, ` (FILE:LINE)`; empty where that is not known."""
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    if code is None:
        return ""
    place = _place(Path(code.co_filename), error)
    return f" ({place})" if ":" in Path(place).name else ""


def _place(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f"{path}:{lines[-1]}" if lines else str(path)
