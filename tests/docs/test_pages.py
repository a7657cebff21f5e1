"""Every block of every page is run, or says why not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.docs.checks import CHECKS
from tests.docs.pages import PAGES, PageRun, blocks, forget_modules, problem, run_page
from tests.docs.short_forms import SHORT

WITH_CODE = [page for page in PAGES if blocks(page)]


@pytest.fixture(autouse=True)
def _modules_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files of a page can be imported while it runs, and no longer."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield
    forget_modules(tmp_path, before)


def test_every_block_is_run_or_says_why_not() -> None:
    problems = [found for page in WITH_CODE for block in blocks(page) if (found := problem(block))]
    assert not problems, "\n".join(problems)


def test_a_suite_of_a_page_fails_where_one_of_its_tests_does(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "part_of_suite.py").write_text("VALUE = 1\n", encoding="utf-8")
    suite = "from part_of_suite import VALUE\ndef test_value(): assert VALUE == {}\n"
    run = PageRun(tmp_path, ch)
    for value, told in ((1, "1 passed"), (2, "1 failed")):
        (tmp_path / "test_suite.py").write_text(suite.format(value), encoding="utf-8")
        assert told in run.suite(["test_suite.py"], fails=value == 2)
    with pytest.raises(AssertionError, match="1 failed"):
        run.suite(["test_suite.py"], fails=False)
    assert "part_of_suite" not in sys.modules


@pytest.mark.parametrize("page", WITH_CODE)
def test_a_page_runs_from_top_to_bottom(page: str, tmp_path: Path, ch: Command) -> None:
    run = run_page(page, tmp_path, ch, SHORT.get(page))
    if page in CHECKS:
        CHECKS[page](run)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(SHORT))
def test_a_page_with_a_short_form_runs_as_it_stands(page: str, tmp_path: Path, ch: Command) -> None:
    run_page(page, tmp_path, ch, short=None)
