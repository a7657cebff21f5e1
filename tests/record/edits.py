"""What a hand, a disk or a transfer may do to a record."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet

Edit = Callable[[bytes], bytes]


def edits(path: Path, other: Path) -> dict[str, Edit]:
    """What a hand may do to a file, by what it is called; `other` is the same file of another search."""
    own: dict[str, Callable[[], dict[str, Edit]]] = {".parquet": _on_parquet, ".jsonl": _on_lines, ".json": _on_json}
    found = {**_on_any(other), **own.get(path.suffix, dict)()}
    return found if path.suffix == ".parquet" else {**found, **_on_text()}


def _on_any(other: Path) -> dict[str, Edit]:
    replaced = {"replaced by another's": lambda data: other.read_bytes()} if other.exists() else {}
    return {
        **replaced,
        "half": lambda data: data[: len(data) // 2],
        "last byte gone": lambda data: data[:-1],
        "empty": lambda data: b"",
        "garbage behind": lambda data: data + b"garbage",
        "garbage line behind": lambda data: data + b"garbage\n",
        "garbage before": lambda data: b"garbage" + data,
    }


def _swap(pattern: str, new: str | Callable[[re.Match[str]], str], count: int = 1) -> Edit:
    return lambda data: re.sub(pattern, new, data.decode(), count=count).encode()


def _on_text() -> dict[str, Edit]:
    return {
        "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
        "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
        "UTF-16": lambda data: data.decode().encode("utf-16"),
        "accuracy lowered": _swap(r'"accuracy": 0\.\d+', '"accuracy": 0.1234'),
        "accuracy raised": _swap(r'"accuracy": 0\.\d+', '"accuracy": 0.9999'),
        "last accuracy raised": _swap(r'(?s)(.*)"accuracy": 0\.\d+', r'\1"accuracy": 0.9999'),
        "every accuracy raised": _swap(r'"accuracy": 0\.\d+', '"accuracy": 0.9999', 0),
        "bits lowered": _swap(r'"average_bitwidth": [1-9][\d.]+', '"average_bitwidth": 2.0'),
        "costs lowered": _swap(r'"costs": \[\[-[\d.]+', '"costs": [[-0.9999'),
        "scaled": _swap(r'("scaled_metrics": \{\s*"accuracy": )[\d.]+', r"\g<1>0.9999"),
        "seconds": _swap(r'"seconds": [\d.e-]+', '"seconds": 1.5'),
        "point": _swap(r'"seq_blocks_2/config/weight_width": \d', '"seq_blocks_2/config/weight_width": 1'),
        "point's number": _swap(r'"point": \d+', '"point": 4'),
        "width": _swap(r'("weight_width": )(\d)', lambda m: f"{m[1]}{2 if m[2] == '8' else 8}", 0),
        "rows of calibration": _swap(r'"calibration_rows": \d+', '"calibration_rows": 3'),
        "direction": _swap(r'"direction": "maximize"', '"direction": "minimize"', 0),
        "fingerprint": _swap(r'"weights": "\w+"', '"weights": "0123456789abcdef"'),
        "seed": _swap(r'("?seed"?(?:: | = ))1\b', r"\g<1>7"),
        "pretrained": _swap(r"is_pretrained = true", "is_pretrained = false"),
        "samples": _swap(r"num_samples = 256", "num_samples = 100"),
        "a comment": _swap(r'(model = "jsc-tiny")', r"\1  # mine"),
        "later version": _swap(r'("version"|"chop_\w+"|record):? 2\b', lambda m: m[0].replace("2", "99")),
        "next version": _swap(r'("version"|"chop_\w+"|record):? 2\b', lambda m: m[0].replace("2", "3"), 0),
        "earlier version": _swap(r'("version"|"chop_\w+"|record):? 2\b', lambda m: m[0].replace("2", "1"), 0),
        "failed": _swap(r'"number": 1,', '"number": 1, "failed": "loss is nan",'),
        "checksum gone": _swap(r'(?m),\s*"sha256": "\w+"|^# chop record.*\n', "", 1),
        "checksums gone": _swap(r'(?m),\s*"sha256": "\w+"|^# chop record.*\n', "", 0),
        "a space": _swap(r'("number"|"block"):', r"\1 :"),
        "inherited": _swap(r'"inherited": \[', '"inherited": [ '),
    }


def _on_lines() -> dict[str, Edit]:
    def lines(change: Callable[[list[bytes]], list[bytes]]) -> Edit:
        return lambda data: b"".join(change(data.splitlines(keepends=True)))

    return {
        "two lines swapped": lines(lambda rows: [*rows[:1], rows[2], rows[1], *rows[3:]]),
        "a line gone": lines(lambda rows: [*rows[:2], *rows[3:]]),
        "last line gone": lines(lambda rows: rows[:-1]),
        "all lines gone": lines(lambda rows: rows[:1]),
        "header gone": lines(lambda rows: rows[1:]),
        "a line twice": lines(lambda rows: [*rows[:2], *rows[1:]]),
        "last line twice": lines(lambda rows: [*rows, rows[-1]]),
        "a line copied over the next": lines(lambda rows: [*rows[:2], rows[1], *rows[3:]]),
        "blank line": lines(lambda rows: [*rows[:2], b"\n", *rows[2:]]),
    }


def _on_json() -> dict[str, Edit]:
    def rows(change: Callable[[list[Any]], list[Any]]) -> Edit:
        def edit(data: bytes) -> bytes:
            found = json.loads(data)
            if not all(isinstance(row, dict) for row in found.values()):
                return data
            return json.dumps({str(k): row for k, row in enumerate(change(list(found.values())))}).encode()

        return edit

    return {
        "a row gone": rows(lambda found: [found[0], *found[2:]]),
        "first row gone": rows(lambda found: found[1:]),
        "last row gone": rows(lambda found: found[:-1]),
        "no rows": rows(lambda found: []),
        "a row twice": rows(lambda found: [found[0], *found]),
        "rows turned round": rows(lambda found: found[::-1]),
        "numbers swapped": rows(lambda found: [found[0] | {"number": found[1]["number"]}, *found[1:]]),
        "another layout": lambda data: json.dumps(json.loads(data), indent=4).encode(),
        "not a table": lambda data: b"[1, 2]",
        "deep": lambda data: b"[" * 100_000,
    }


def _on_parquet() -> dict[str, Edit]:
    def rewritten(change: Callable[[Any], Any]) -> Edit:
        def edit(data: bytes) -> bytes:
            table = pyarrow.parquet.read_table(io.BytesIO(data))
            out = io.BytesIO()
            pyarrow.parquet.write_table(change(table).replace_schema_metadata(table.schema.metadata), out)
            return out.getvalue()

        return edit

    def raised(table: Any) -> Any:
        at = table.column_names.index("accuracy")
        values = table["accuracy"].to_numpy().copy()
        values[3] = 0.9999
        return table.set_column(at, "accuracy", pyarrow.array(values))

    def relabelled(table: Any) -> Any:
        about = {k: v.replace(b"maximize", b"minimize") for k, v in (table.schema.metadata or {}).items()}
        return table.replace_schema_metadata(about)

    def said_otherwise(data: bytes) -> bytes:
        table = relabelled(pyarrow.parquet.read_table(io.BytesIO(data)))
        out = io.BytesIO()
        pyarrow.parquet.write_table(table, out)
        return out.getvalue()

    return {
        "a value raised": rewritten(raised),
        "written anew": rewritten(lambda table: table),
        "a row gone": rewritten(lambda table: table.slice(1)),
        "a metric gone": rewritten(lambda table: table.drop_columns(["accuracy"])),
        "two rows swapped": rewritten(lambda table: table.take([1, 0, *range(2, table.num_rows)])),
        "two metrics swapped": rewritten(lambda table: table.rename_columns(_swapped(table.column_names))),
        "goals turned round": said_otherwise,
    }


def _swapped(names: Sequence[str]) -> list[str]:
    return [{"accuracy": "loss", "loss": "accuracy"}.get(name, name) for name in names]


def at_random(draw: random.Random) -> Edit:
    """One damage that a disk, a transfer or a crash may do."""
    kind = draw.choice(("bit", "bit", "byte gone", "zeros", "piece twice", "byte"))
    share, bit = draw.random(), draw.randrange(8)

    def edit(data: bytes) -> bytes:
        at = int(share * len(data))
        if kind == "bit":
            return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        if kind == "byte":
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        if kind == "byte gone":
            return data[:at] + data[at + 1 :]
        size = min(512, len(data) // 4)
        if kind == "zeros":
            return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]
        return data[:at] + data[at : at + size] + data[at:]

    return edit
