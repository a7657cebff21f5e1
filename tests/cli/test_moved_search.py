"""A search that gives way to a newer one keeps reports that name its own folder."""

from __future__ import annotations

from pathlib import Path

from chop.config.examples import examples
from tests.conftest import Command

LAB = next(one.path for one in examples() if one.name == "jsc_tiny_brute_force")


def test_the_reports_of_an_earlier_search_name_the_folder_that_it_was_moved_to(tmp_path: Path, ch: Command) -> None:
    search = ("search", "--config", str(LAB), "--pretrained", "--project", "p", "--set", "strategy.setup.n_trials=3")
    ch(*search)
    ch(*search, "--seed", "1", "--set", "strategy.setup.html_report=false")
    folder = tmp_path / "mase_output/p/software"
    page = (folder / "search_ckpts-1/report.html").read_text(encoding="utf-8")
    assert "software/search_ckpts-1 --trial" in page and "software/search_ckpts --trial" not in page
    assert not (folder / "search_ckpts/report.html").exists()
    (folder / "search_ckpts/best.json").write_text("{", encoding="utf-8")
    ch(*search)
    assert (folder / "search_ckpts-2/best.json").read_text(encoding="utf-8") == "{"
