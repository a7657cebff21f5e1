"""Checksums of values that JSON does not hold: tensors, and functions of the user's own with all that they use."""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

PACKAGE = "chop"
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_INSTALLED = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib"))


def value_digest(value: Any) -> str:
    """A checksum of tensors, numbers, texts, functions, classes and objects, and of tables of them.

    Of code of the user's own all counts that it uses, but for comments and the names of files; of what is installed the
    name alone. Another version of Python may give another checksum.

    >>> value_digest(lambda x: x + 1) == value_digest(lambda x: x + 1), value_digest(abs) == value_digest(max)
    (True, False)
    """
    found = hashlib.sha256()
    for part in _described(value, {}):
        found.update(part.encode(errors="surrogatepass") + b"\0" if isinstance(part, str) else part)
    return found.hexdigest()[:16]


_OF_CODE: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def code_digest(code: Any) -> str:
    """`value_digest` of a function, class or object that is called, as it was when it was first seen: what it counts or
    keeps while it is used does not change it.
    """
    try:
        if code not in _OF_CODE:
            _OF_CODE[code] = value_digest(code)
        return _OF_CODE[code]
    except TypeError:  # cannot be a key
        return value_digest(code)


def is_own_code(value: Any) -> bool:
    """Whether a function or class is neither of this package nor of an installed one."""
    name = getattr(value, "__module__", None)
    module = sys.modules.get(str(name))
    file = getattr(module, "__file__", None)
    if name in (None, "builtins") or str(name).partition(".")[0] == PACKAGE:
        return False
    return file is None or not str(Path(file).resolve()).startswith(_INSTALLED)


def _described(value: Any, seen: dict[int, Any]) -> Iterator[str | memoryview]:
    """What decides a value's behaviour, as texts and bytes; `seen` holds the objects that were described already."""
    if isinstance(value, _PLAIN):
        yield repr(value)
        return
    if id(value) in seen:
        yield "again"
        return
    seen[id(value)] = value
    yield type(value).__qualname__
    if isinstance(value, torch.Tensor):
        yield from (str(value.dtype), str(tuple(value.shape)))
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    elif isinstance(value, np.ndarray):
        yield from (str(value.dtype), str(value.shape), str(value.tolist()))
    elif isinstance(value, Mapping):
        for key, own in value.items():
            yield from _described(key, seen)
            yield from _described(own, seen)
    elif isinstance(value, list | tuple):
        for own in value:
            yield from _described(own, seen)
    elif isinstance(value, set | frozenset):
        yield str(sorted(repr(own) if isinstance(own, _PLAIN) else type(own).__qualname__ for own in value))
    else:
        yield from _described_code(value, seen)


def _described_code(value: Any, seen: dict[int, Any]) -> Iterator[str | memoryview]:
    """The same of code, and of objects that are made of it; of all others no more than what they are called."""
    if isinstance(value, CodeType):
        yield from (value.co_code.hex(), str(value.co_names), str(value.co_varnames))
        yield from _described(value.co_consts, seen)
    elif isinstance(value, MethodType):
        yield from _described((value.__self__, value.__func__), seen)
    elif isinstance(value, functools.partial):
        yield from _described((value.func, value.args, value.keywords), seen)
    elif isinstance(value, FunctionType) and is_own_code(value):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        used = {name: value.__globals__[name] for name in _names(value) if name in value.__globals__}
        yield from _described((value.__code__, value.__defaults__, value.__kwdefaults__, cells, used), seen)
    elif isinstance(value, type) and is_own_code(value):
        bases = [base for base in value.__bases__ if is_own_code(base)]
        members = {name: own for name, own in vars(value).items() if not name.startswith("__") or callable(own)}
        yield from _described((value.__qualname__, bases, members), seen)
    elif isinstance(value, torch.nn.Module) or (is_own_code(type(value)) and hasattr(value, "__dict__")):
        yield from _described((type(value), vars(value)), seen)
    else:
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def _names(function: FunctionType) -> list[str]:
    """All names that a function and those within it refer to, in their order; none of what Python adds to a module."""
    codes = [function.__code__]
    for code in codes:
        codes += [own for own in code.co_consts if isinstance(own, CodeType)]
    return list(dict.fromkeys(name for code in codes for name in code.co_names if not name.startswith("__")))
