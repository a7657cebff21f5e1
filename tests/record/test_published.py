"""Results of a search are put back as long as its logs hold nothing new."""

from __future__ import annotations

from pathlib import Path

import pytest

from chop.record.names import BEST_FILE, BLOCKS_FILE, FINISHED_FILE, HISTOGRAMS_FILE, SUMMARY_FILE, TRIALS_FILE
from chop.record.published import Published


@pytest.mark.parametrize("log", [TRIALS_FILE, BLOCKS_FILE, FINISHED_FILE])
def test_results_are_put_back_unless_a_log_has_grown(log: str, tmp_path: Path) -> None:
    assert Published.of(tmp_path) is None
    for file in (BEST_FILE, SUMMARY_FILE, HISTOGRAMS_FILE, log):
        (tmp_path / file).write_text(f"first {file}\n", encoding="utf-8")
    published = Published.of(tmp_path)
    assert published is not None
    (tmp_path / BEST_FILE).write_text("poorer", encoding="utf-8")
    (tmp_path / SUMMARY_FILE).unlink()
    assert published.put_back()
    assert (tmp_path / BEST_FILE).read_text(encoding="utf-8") == f"first {BEST_FILE}\n"
    assert (tmp_path / SUMMARY_FILE).read_text(encoding="utf-8") == f"first {SUMMARY_FILE}\n"
    with (tmp_path / log).open("a", encoding="utf-8") as more:
        more.write("a line\n")
    (tmp_path / BEST_FILE).write_text("of more", encoding="utf-8")
    assert not published.put_back()
    assert (tmp_path / BEST_FILE).read_text(encoding="utf-8") == "of more"
