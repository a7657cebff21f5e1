"""Checksums of values that JSON cannot hold: tensors, and the user's functions with all code that they use."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from inspect import getattr_static
from itertools import islice
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from chop.errors import first_line
from chop.tools.code_origin import is_user_code
from chop.tools.logger import get_logger

logger = get_logger(__name__)

MOST_DEEP = 80
"""Objects within objects that are looked into."""
MOST_VALUES = 2_000_000
"""Values that are looked at in all."""
MOST_NAMED = 3
LOOK_UPS = frozenset(("globals", "vars", "getattr", "attrgetter"))
"""Functions that find what has a name."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def value_digest(value: Any) -> str:
    """A checksum of tensors, numbers, texts, functions, classes and objects, and of tables of them.

    Of code of the user's own all counts that it uses by name, but for comments, docstrings and the names of files; of
    what is installed the name alone. Names that are written out in `globals()["NAME"]` or `getattr(module, "NAME")`
    count, too; what is looked up otherwise while it runs (a file, a name that is computed) is not seen. Another
    version of Python may give another one.

    >>> value_digest(lambda x: x + 1) == value_digest(lambda x: x + 1), value_digest(abs) == value_digest(max)
    (True, False)
    """
    found, seen = hashlib.sha256(), _Seen()
    for part in _described(value, seen):
        found.update(part.encode(errors="surrogatepass") + b"\0" if isinstance(part, str) else part)
    if seen.not_covered:
        more = len(seen.not_covered) - MOST_NAMED
        logger.warning(
            "a checksum does not cover %s%s: a change there is not noticed when a search goes on",
            "; ".join(list(seen.not_covered)[:MOST_NAMED]),
            f" and {more} more" if more > 0 else "",
        )
    return found.hexdigest()[:16]


_OF_CODE: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def code_digest(code: Any) -> str:
    """`value_digest` of a function, class or object that is called, as it was when it was first seen.

    Counters and caches that change while it is used do not change the digest.
    """
    try:
        if code not in _OF_CODE:
            _OF_CODE[code] = value_digest(code)
        return _OF_CODE[code]
    except Exception:  # cannot be a key
        return value_digest(code)


class _Seen:
    """The objects that were described already, by address, numbered and kept alive; the depth of the present one."""

    def __init__(self) -> None:
        self.objects: dict[int, tuple[int, Any]] = {}
        self.depth = 0
        self.values = 0
        self.not_covered: dict[str, None] = {}


def _described(value: Any, seen: _Seen) -> Iterator[str | memoryview]:
    """Everything that decides a value's behaviour, as texts and bytes."""
    seen.values += 1
    if seen.values > MOST_VALUES:
        seen.not_covered[f"more than {MOST_VALUES:,} values"] = None
    elif isinstance(value, _PLAIN):
        yield _plain(value)
    elif id(value) in seen.objects:
        yield f"again {seen.objects[id(value)][0]}"
    else:
        seen.objects[id(value)] = (len(seen.objects), value)
        yield type(value).__qualname__
        if seen.depth < MOST_DEEP:
            yield from _described_within(value, seen)


def _described_within(value: Any, seen: _Seen) -> Iterator[str | memoryview]:
    """The same of an object that has parts; one that cannot be read is named in `seen`, and costs nothing else."""
    seen.depth += 1
    try:
        yield from _parts(value, seen)
    except Exception as error:  # of any code: attributes, mappings and iterators may be computed
        seen.not_covered[f"{_qualified(type(value))} ({first_line(error)})"] = None
        yield "not covered"
    finally:
        seen.depth -= 1


def _parts(value: Any, seen: _Seen) -> Iterator[str | memoryview]:
    if isinstance(value, torch.Tensor):
        yield from _described_tensor(value)
    elif isinstance(value, np.ndarray):
        yield from (str(value.dtype), str(value.shape))
        yield from _described([*value.flat], seen) if value.dtype.hasobject else [memoryview(value.tobytes())]
    elif isinstance(value, Mapping):
        for key, own in value.items():
            yield from _described(key, seen)
            yield from _described(own, seen)
    elif type(value) in (list, tuple):
        for own in value:
            yield from _described(own, seen)
    elif isinstance(value, set | frozenset):
        yield str(sorted(map(_as_element, value)))
    else:
        yield from _described_code(value, seen)


def _plain(value: Any) -> str:
    """The text of a number or a text; types derived from these may have one that changes."""
    kind: Any = next(kind for kind in _PLAIN if isinstance(value, kind))
    return str(kind.__repr__(value))


def _described_tensor(value: torch.Tensor) -> Iterator[str | memoryview]:
    """The type, the shape and the values; the last where there are any that can be laid out densely."""
    yield from (str(value.dtype), str(tuple(value.shape)), str(value.layout))
    with suppress(RuntimeError, NotImplementedError, TypeError):
        dense = value.detach() if value.layout is torch.strided else value.detach().to_dense()
        dense = dense.as_subclass(torch.Tensor)
        yield dense.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _as_element(value: Any) -> str:
    """An element of a set, whose order is not known: numbers, texts and tuples of them as they are."""
    is_plain = isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(own, _PLAIN) for own in value))
    if isinstance(value, tuple) and is_plain:
        return str([*map(_plain, value)])
    return _plain(value) if is_plain else type(value).__qualname__


def _described_code(value: Any, seen: _Seen) -> Iterator[str | memoryview]:
    """The same of code, and of objects, by what a copy of them would be made of."""
    if isinstance(value, CodeType):
        yield from (value.co_code.hex(), str(value.co_names), str(value.co_varnames))
        yield from _described(value.co_consts, seen)
    elif isinstance(value, MethodType):
        yield from _described((value.__self__, value.__func__), seen)
    elif isinstance(value, staticmethod | classmethod):
        yield from _described(value.__func__, seen)
    elif isinstance(value, property):
        yield from _described((value.fget, value.fset), seen)
    elif isinstance(value, functools.partial):
        yield from _described((value.func, value.args, value.keywords), seen)
    elif isinstance(value, FunctionType) and is_user_code(value):
        code = value.__code__
        consts = tuple("" if own == value.__doc__ and place == 0 else own for place, own in enumerate(code.co_consts))
        cells = [_content(cell) for cell in value.__closure__ or ()]
        names = _names(value)
        used = {name: _used(value.__globals__[name], names) for name in names if name in value.__globals__}
        described = (code.co_code.hex(), code.co_names, code.co_varnames, consts)
        own = {name: attribute for name, attribute in vars(value).items() if name != "__wrapped__"}
        yield from _described((described, value.__defaults__, value.__kwdefaults__, cells, used, own), seen)
    elif isinstance(value, type) and is_user_code(value):
        bases = [base for base in value.__bases__ if is_user_code(base)]
        members = {name: own for name, own in vars(value).items() if not name.startswith("__") or callable(own)}
        yield from _described((value.__qualname__, bases, members), seen)
    elif (wrapped := getattr_static(value, "__wrapped__", None)) is not None:
        yield from _described(wrapped, seen)
    elif isinstance(value, torch.jit.ScriptFunction | torch.jit.ScriptModule):
        yield str(value.code)
    elif isinstance(value, ModuleType | FunctionType | BuiltinFunctionType | type):
        yield _qualified(value)
    else:
        yield from _described_object(value, seen)


def _described_object(value: Any, seen: _Seen) -> Iterator[str | memoryview]:
    try:
        reduced = value.__reduce_ex__(2)
    except Exception:  # a lock, an open file: it has no state that a copy could have
        yield _qualified(type(value))
        return
    if isinstance(reduced, str):
        yield reduced
        return
    function, arguments, *parts = reduced
    parts = [_first(part, value, seen) if isinstance(part, Iterator) else part for part in parts]
    yield from _described([function, list(arguments), parts], seen)


def _first(values: Iterator[Any], owner: Any, seen: _Seen) -> list[Any]:
    """The values of an iterator, which may have no end."""
    found = list(islice(values, MOST_VALUES // 10))
    if next(values, None) is not None:
        seen.not_covered[f"more than {MOST_VALUES // 10:,} values of {_qualified(type(owner))}"] = None
    return found


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was put in it yet
        return None


def _used(value: Any, names: Sequence[str]) -> Any:
    """The values that a function can reach by a global name; in a module of the user's own, by any of the names."""
    if isinstance(value, ModuleType) and is_user_code(value):
        return {name: vars(value)[name] for name in names if name in vars(value)}
    return value


def _qualified(value: Any) -> str:
    if isinstance(value, ModuleType):
        return f".{vars(value).get('__name__')}"
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def _names(function: FunctionType) -> list[str]:
    """All names that a function and those within it refer to, in their order; none of what Python adds to a module.

    Where they look names up, texts count as names.
    """
    codes = [function.__code__]
    for code in codes:
        codes += [own for own in code.co_consts if isinstance(own, CodeType)]
    names = [name for code in codes for name in code.co_names]
    if not LOOK_UPS.isdisjoint(names):
        names += [own for code in codes for own in code.co_consts if isinstance(own, str)]
    return list(dict.fromkeys(name for name in names if not name.startswith("__")))
