"""JSON, TOML and Parquet files that hold their own checksum."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from chop.errors import SearchError
from chop.record.landscape import Landscape, join_parts, part_as_bytes, part_path, write_part
from chop.record.sealed_json import read_document, read_rows, sealed, sealed_rows
from chop.record.sealed_parquet import seal_of
from chop.record.sealed_toml import read_toml_seal, sealed_toml

ROWS = [{"number": n, "accuracy": n / 3, "config": {"name": ["é"], "width": None}} for n in range(3)]
TOML = 'seed = 1\n[search]\nname = "x"\nscale = 0.1\n'


def rows_file(path: Path, kind: str = "log.json", search: str = "abc") -> Path:
    texts = sealed_rows(ROWS, kind, search)
    path.write_text(
        "{" + ",\n".join(f'"{number}": {text}' for number, text in enumerate(texts)) + "}", encoding="utf-8"
    )
    return path


def changed(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> Path:
    rows = list(json.loads(path.read_text(encoding="utf-8")).values())
    path.write_text(json.dumps({str(number): row for number, row in enumerate(change(rows) or rows)}), encoding="utf-8")
    return path


def test_rows_come_back_with_the_identity_of_their_search(tmp_path: Path) -> None:
    found = read_rows(rows_file(tmp_path / "log.json"), "log.json")
    assert (found.content, found.version, found.search) == (ROWS, 2, "abc")


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_another_layout_does_no_harm(indent: int | None, encoding: str, tmp_path: Path) -> None:
    path = rows_file(tmp_path / "log.json")
    path.write_bytes(
        json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=indent, ensure_ascii=False).encode(encoding)
    )
    assert read_rows(path, "log.json").content == ROWS


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[1].update(accuracy=0.9),
        lambda rows: rows[1]["config"].update(width=2),
        lambda rows: rows[:2],
        lambda rows: rows[1:],
        lambda rows: [rows[0], *rows],
        lambda rows: [rows[1], rows[0], rows[2]],
        lambda rows: rows[1].pop("sha256") and rows,
        lambda rows: rows[0].update(search="other"),
        lambda rows: [row.update(search="other") for row in rows] and rows,
        lambda rows: [row.update(version=1) for row in rows] and rows,
    ],
)
def test_a_changed_row_is_refused(change: Callable[[list[dict[str, Any]]], Any], tmp_path: Path) -> None:
    path = changed(rows_file(tmp_path / "log.json"), change)
    with pytest.raises(SearchError, match=r"log.json is damaged \(its checksum does not fit"):
        read_rows(path, "log.json")


def test_one_file_does_not_pass_for_another(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="its checksum does not fit"):
        read_rows(rows_file(tmp_path / "best.json", kind="log.json"), "best.json")


def test_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    path = changed(rows_file(tmp_path / "log.json"), lambda rows: [row.update(version=99) for row in rows] and rows)
    with pytest.raises(SearchError, match=r"later chop, version 99; this one reads up to 2: update chop"):
        read_rows(path, "log.json")


@pytest.mark.parametrize("text", ["", "[1, 2]", "[" * 100_000, "null", '{"0": 1}', '{"0": {"version": "x"}}', "\ud800"])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SearchError, match=r"log.json is damaged"):
        read_rows(path, "log.json")


def test_a_document_is_sealed_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "initial.json"
    path.write_text(json.dumps(sealed({"names": ["a"], "first": []}, "initial.json", "abc")), encoding="utf-8")
    assert read_document(path).content == {"names": ["a"], "first": []}
    path.write_text(path.read_text(encoding="utf-8").replace('["a"]', '["b"]'), encoding="utf-8")
    with pytest.raises(SearchError, match="its checksum does not fit"):
        read_document(path)


@pytest.mark.parametrize(
    "layout", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "# mine\n"]
)
def test_the_layout_of_a_toml_file_may_change(layout: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "resolved.toml"
    path.write_bytes(layout(sealed_toml(TOML, "abc")).encode())
    assert read_toml_seal(path).search == "abc"
    assert tomllib.loads(sealed_toml(TOML, "abc")) == tomllib.loads(TOML)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed = 1", "seed = 2", "was changed after the search wrote it"),
        ("scale = 0.1", "scale = 0.10000001", "was changed"),
        ("[search]", "[search", "was changed"),
        ("search abc", "search abd", "was changed"),
        ("record 2", "record 99", "written by a later chop, version 99"),
        ("record 2", "record 1", "was changed"),
    ],
)
def test_a_value_of_a_toml_file_may_not(old: str, new: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "resolved.toml"
    path.write_text(sealed_toml(TOML, "abc").replace(old, new), encoding="utf-8")
    with pytest.raises(SearchError, match=told):
        read_toml_seal(path)


@pytest.fixture
def landscape(tmp_path: Path) -> Path:
    write_part(part_path(tmp_path / "parts", 0), 0, {"accuracy": np.linspace(0, 1, 50), "bits": np.arange(50.0)})
    return join_parts(tmp_path / "parts", 1, tmp_path / "landscape.parquet", {"key": "k", "search": "abc"})


def test_every_bit_of_a_landscape_counts(landscape: Path) -> None:
    with landscape.open("rb") as stream:
        assert seal_of(stream)
    assert Landscape.read(landscape).about == {"key": "k", "search": "abc", "version": 2}
    data = landscape.read_bytes()
    for at in range(0, len(data), 37):
        landscape.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(SearchError):
            Landscape.read(landscape)


@pytest.mark.parametrize("keeps_metadata", [True, False])
def test_a_landscape_that_was_written_anew_is_refused(keeps_metadata: bool, landscape: Path) -> None:
    table = pyarrow.parquet.read_table(landscape)
    table = table.set_column(1, "accuracy", pyarrow.array(np.full(50, 0.99)))
    metadata = pyarrow.parquet.read_metadata(landscape).metadata if keeps_metadata else table.schema.metadata
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), landscape)
    with pytest.raises(SearchError, match="checksum"):
        Landscape.read(landscape)


def test_a_landscape_of_a_later_version_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chop.record.landscape.VERSION", 99)
    write_part(part_path(tmp_path / "parts", 0), 0, {"accuracy": np.ones(3)})
    path = join_parts(tmp_path / "parts", 1, tmp_path / "landscape.parquet", {"key": "k"})
    with pytest.raises(SearchError, match="written by a later chop, version 99"):
        Landscape.read(path)


def test_a_part_is_written_without_pandas_which_would_take_much_of_the_memory_of_each_process() -> None:
    code = (
        "import sys, numpy; from chop.record.landscape import part_as_bytes;"
        "part_as_bytes(3, {'accuracy': numpy.ones(5), 'points': numpy.arange(10)[::2]}); print('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"False"


def test_a_part_holds_the_columns_as_they_are() -> None:
    scores = {"accuracy": np.linspace(0, 1, 7), "points": np.arange(14)[::2]}
    table = pyarrow.parquet.read_table(io.BytesIO(part_as_bytes(3, scores)))
    assert table["index"].to_pylist() == list(range(3, 10))
    assert all(np.array_equal(table[name].to_numpy(), values) for name, values in scores.items())
