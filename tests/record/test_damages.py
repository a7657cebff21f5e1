"""No damaged or edited record leads to another figure without a word, whatever the command; nor to a traceback.

`make guard` tries them all; here are some of each file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chop.actions.search.run import session
from chop.record import json_lines

from .commands import CASES, Case, make_records, prepared_once
from .damages import Damages
from .edits import edits

FILES = [(case, file) for case in CASES for file in case.commands]
FEW = (
    "replaced by another's",
    "accuracy raised",
    "width",
    "a line gone",
    "last row gone",
    "seed",
    "a value raised",
    "later version",
    "half",
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("records")
    with prepared_once():
        make_records(folder)
        yield folder


@pytest.mark.parametrize(("case", "file"), FILES, ids=[f"{case.name}-{Path(file).name}" for case, file in FILES])
def test_no_edit_is_believed(case: Case, file: str, records: Path) -> None:
    found = Damages(records)
    made = edits(records / case.name / file, records / case.other / file)
    command = list(case.commands[file])[:1]
    data = (records / case.name / file).read_bytes()
    for name in [name for name in FEW if name in made and made[name](data) != data][:2]:
        found.attempt(case, file, name, made[name], command)
    assert found.counts
    assert found.wrong == []


def test_random_damages_are_not_believed(records: Path) -> None:
    found = Damages(records)
    found.randomly(4, seed=3)
    assert found.wrong == []


def test_without_checksums_edits_would_be_believed(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_problem", lambda *_: "")
    monkeypatch.setattr(session.SearchSession, "require_unchanged", lambda *_: None)
    found = Damages(records)
    case, file = FILES[0]
    found.attempt(case, file, "lowered", edits(records / case.name / file, records)["accuracy lowered"], ["resume"])
    assert found.counts["trials.jsonl"]["wrong"] == 1


@pytest.mark.slow
def test_no_edit_of_any_file_is_believed_by_any_command(records: Path) -> None:
    found = Damages(records)
    found.by_hand()
    found.randomly(250)
    assert found.wrong == []
