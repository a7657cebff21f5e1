"""The folder of a search is read as a whole: files of two searches in one folder are noticed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from torch import nn

from chop.actions.replay import read_row
from chop.actions.search import search
from chop.actions.search.strategies.optuna.storage import export_search
from chop.dataset import MaseDataModule
from chop.errors import SearchError
from chop.record.folder import SearchFolder
from chop.record.landscape import Landscape
from chop.record.sealed_json import SEAL
from tests.actions.search.conftest import jets, jsc_tiny, lab
from tests.record.test_summary import written

__all__ = ["jets", "jsc_tiny", "lab"]


@pytest.fixture
def two(tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module) -> Path:
    """Two searches with the same settings and seed."""
    lab["strategy"] |= {"name": "uniform", "setup": {}}
    for name in ("ours", "theirs"):
        search(jsc_tiny, jets, lab, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("file", ["log.json", "best.json", "trials.jsonl"])
def test_a_mixed_copy_is_refused(file: str, two: Path) -> None:
    shutil.copy(two / "theirs" / file, two / "ours")
    with pytest.raises(SearchError, match=r"belongs to another search than trials.jsonl beside it"):
        read_row(two / "ours", 0)


def test_a_file_is_read_under_any_name_and_alone(two: Path) -> None:
    (two / "apart").mkdir()
    shutil.copy(two / "ours" / "best.json", two / "apart" / "mine.json")
    number = next(iter(json.loads((two / "ours" / "best.json").read_text(encoding="utf-8")).values()))["number"]
    found = read_row(two / "apart" / "mine.json", number).metrics
    assert found == read_row(two / "ours", number).metrics


def test_trials_that_the_log_lacks_are_not_left_out_of_a_study(two: Path) -> None:
    path = two / "ours" / "trials.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(SearchError, match=r"lacks 1 of the trials in log\.json"):
        export_search(two / "ours", f"sqlite:///{two}/study.db")


@pytest.mark.parametrize("keeps", [(), ("search",)])
def test_a_log_that_lost_its_checksums_is_refused(keeps: tuple[str, ...], tmp_path: Path) -> None:
    """Put back to version 1, which had none, a log would be believed; the files beside it show what it was."""
    folder = written(tmp_path)
    path = tmp_path / "trials.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[0]["chop_trials"] = 1
    lost = {"sha256", "search"} - set(keeps)
    path.write_text(
        "".join(f"{json.dumps({k: v for k, v in row.items() if k not in lost})}\n" for row in rows), encoding="utf-8"
    )
    told = "states version 1, which had no identity" if keeps else r"has no checksum, and log\.json beside it has"
    for use in (folder.trials, folder.logged, folder.best, lambda: folder.resume_trials({"seed": 7})):
        with pytest.raises(SearchError, match=told):
            use()


@pytest.mark.parametrize("file", ["log.json", "best.json", "summary.json", "initial.json"])
def test_a_file_that_lost_its_checksum_is_refused_and_not_called_old(
    file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = written(tmp_path)
    folder.write_initial({"names": []})
    data = json.loads((tmp_path / file).read_text(encoding="utf-8"))
    for row in (data, *data.values()):
        if isinstance(row, dict):
            for name in SEAL:
                row.pop(name, None)
    (tmp_path / file).write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SearchError, match=rf"{file} has no checksum, and trials\.jsonl beside it has"):
        folder.rows(file) if file in ("log.json", "best.json") else folder.document(file)
    assert not caplog.text


def test_a_damaged_beginning_is_not_to_be_resumed(tmp_path: Path) -> None:
    folder = written(tmp_path)
    folder.write_initial({"names": ["a"]})
    path = tmp_path / "initial.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"a"', '"b"'), encoding="utf-8")
    with pytest.raises(SearchError, match=r"checksum does not fit.*; start anew without --resume"):
        folder.document("initial.json")


@pytest.mark.parametrize("file", ["trials.jsonl", "summary.json", "resolved.toml", "initial.json", "measured.jsonl"])
def test_an_exhaustive_table_that_lost_its_checksum_is_refused(file: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "search")
    folder.write_resolved("seed = 7\n")
    folder.write_initial({"names": []})
    shutil.copy(tmp_path / "search" / "trials.jsonl", tmp_path / "search" / "measured.jsonl")
    (tmp_path / "alone").mkdir()
    path = tmp_path / "alone" / "landscape.parquet"
    about = {b"chop": json.dumps({"key": "k"}).encode()}
    table = pyarrow.table({"index": [0, 1], "accuracy": [0.5, 0.6]}).replace_schema_metadata(about)
    pyarrow.parquet.write_table(table, path)
    assert Landscape.read(path).version == 1
    shutil.copy(tmp_path / "search" / file, path.parent)
    with pytest.raises(SearchError, match=rf"has no checksum, and {re.escape(file)} beside it has"):
        Landscape.read(path)


def test_a_folder_without_a_search_is_told(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="no search there"):
        _ = SearchFolder(tmp_path).header
    with pytest.raises(SearchError, match="does not exist; give the folder search_ckpts of a finished search"):
        SearchFolder(tmp_path).rows()


def test_a_landscape_that_is_missing_is_told_the_cure_also_for_huge_spaces(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"can be measured exhaustively\. On a larger one use ch compare"):
        Landscape.read(tmp_path / "landscape.parquet")
