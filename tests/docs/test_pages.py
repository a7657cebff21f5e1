"""Every block of every page is run, or says why not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.docs.checks import CHECKS
from tests.docs.pages import PAGES, blocks, problem, run_page
from tests.docs.short_forms import SHORT

WITH_CODE = [page for page in PAGES if blocks(page)]


@pytest.fixture(autouse=True)
def _modules_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files of a page can be imported while it runs, and no longer."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def test_every_block_is_run_or_says_why_not() -> None:
    problems = [found for page in WITH_CODE for block in blocks(page) if (found := problem(block))]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", WITH_CODE)
def test_a_page_runs_from_top_to_bottom(page: str, tmp_path: Path, ch: Command) -> None:
    run = run_page(page, tmp_path, ch, SHORT.get(page))
    if page in CHECKS:
        CHECKS[page](run)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(SHORT))
def test_a_page_with_a_short_form_runs_as_it_stands(page: str, tmp_path: Path, ch: Command) -> None:
    run_page(page, tmp_path, ch, short=None)
