"""Reads files of `torch.save` as tensors and plain values: code that they name is neither imported nor called."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

CONTAINERS: Mapping[str, Callable[[], Any]] = {"collections.defaultdict": OrderedDict, "collections.deque": list}
VALUES = (
    *CONTAINERS,
    "argparse.Namespace",
    "builtins.frozenset",
    "builtins.range",
    "builtins.slice",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "functools.partial",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "types.SimpleNamespace",
)
"""Classes of objects that a training stores beside its weights: a placeholder stands for each."""


class UnsafeFileError(Exception):
    """A file that would call code, or is not a pickle that torch.save writes; the text says what was met."""


def load_plain_values(path: Path, is_archive: bool) -> Any:
    """The content of a file of `torch.save`, on the CPU, with placeholders for everything but tensors and plain values.

    An object of any class, named but never imported, becomes an empty dictionary.
    Raises UnsafeFileError where a file calls what is not in `VALUES`; whatever torch.load raises for a damaged one.
    """
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_archive else VALUES
    try:
        with torch.serialization.safe_globals([(_placeholder(name), name) for name in names]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"it would call [\w.]+|GLOBAL ([\w.]+)", str(error))
        told = f"it names {found[1]}" if found and found[1] else found[0] if found else "not a pickle of torch.save"
        raise UnsafeFileError(told) from error


class _Refuses(type):
    """A class that stands for one that a file names; calling it, as a file would call code, is an error."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise pickle.UnpicklingError(f"it would call {cls.__name__}")


class _Answers(_Refuses):
    """The same for harmless values: a call returns a stand-in."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return CONTAINERS.get(cls.__name__, lambda: object.__new__(cls))()  # type: ignore[arg-type]


def _placeholder(name: str) -> type:
    members = {"__new__": lambda cls, *args, **kwargs: OrderedDict(), "__setstate__": lambda self, state: None}
    return (_Answers if name in VALUES else _Refuses)(name, (), members)
