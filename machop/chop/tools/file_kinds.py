"""Tells the kind of a file that a command cannot take, and which option takes that kind."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileKind:
    """A kind of file: its name with an article, and what takes it (empty: nothing does)."""

    name: str
    taken_by: str = ""


WEIGHTS = FileKind("a file of weights", "--load takes it")
TOML = FileKind("a TOML file", "`ch search --config` takes it")
_PARQUET = FileKind("an exhaustive table", "`ch oracle` takes it")
_BY_SUFFIX = {
    ".toml": TOML,
    ".json": FileKind("a JSON file"),
    ".jsonl": FileKind("a log in JSON lines"),
    ".html": FileKind("an HTML page"),
    ".md": FileKind("a text"),
    ".csv": FileKind("a table of text"),
    ".py": FileKind("a Python file", "--plugin takes it, and --model FILE:NAME"),
    ".onnx": FileKind("an ONNX file"),
    ".npz": FileKind("an archive of NumPy arrays"),
}


def kind_of(path: Path) -> FileKind | None:
    """The kind of a file, by its name or else by its first bytes; None for a folder, and where it cannot be told."""
    if not path.is_file():
        return None
    if known := _BY_SUFFIX.get(path.suffix.lower()):
        return known
    with path.open("rb") as stream:
        start = stream.read(9)
    is_safetensors = len(start) == 9 and start[8:] == b"{"
    if is_safetensors or start[:2] == b"PK" or start[:1] == b"\x80":  # an archive of PyTorch, or its older format
        return WEIGHTS
    return _PARQUET if start[:4] == b"PAR1" else None


def wrong_kind(path: Path, takes: Collection[FileKind], wanted: str, cure: str) -> str | None:
    """The message that a file is of another kind than those that a command `takes`; None where that cannot be told.

    `wanted` names them with an article, `cure` says what to give instead.
    """
    kind = kind_of(path)
    if kind is None or kind in takes:
        return None
    hint = f" ({kind.taken_by})" if kind.taken_by else ""
    return f"{path} is {kind.name}{hint}, and not {wanted}: {cure}"


def not_weights(path: Path) -> str | None:
    """The message that a file holds no weights; None where it may."""
    cure = "give a checkpoint (`ch train` prints where it wrote one) or a saved graph (`ch transform` writes one)"
    return wrong_kind(path, (WEIGHTS, _BY_SUFFIX[".npz"]), "a file of weights", cure)
