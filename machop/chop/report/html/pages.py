"""Finds out what a folder holds, a search or a comparison, and makes its page."""

from __future__ import annotations

from pathlib import Path

from chop.errors import WrongSearchError
from chop.record.comparison_folder import ComparisonFolder
from chop.record.folder import SearchFolder
from chop.record.names import BEST_FILE, COMPARISON_FOLDER, SUMMARY_FILE
from chop.report.html.comparison_page import comparison_page
from chop.report.html.search_page import page_of_what_is_sound
from chop.tools.logger import get_logger

logger = get_logger(__name__)


def page_of(folder: Path, lite: bool = False) -> str:
    """The page of the search, or of the comparison, in a folder.

    The page of a search that has not ended, or is damaged, shows what is sound and names what is missing; so does a
    warning for each. Raises SearchError where there is neither, and where nothing sound is left.
    """
    if _holds_search(folder):
        page, missing = page_of_what_is_sound(SearchFolder(folder), lite)
        for text in missing:
            logger.warning("%s", text)
        return page
    return comparison_page(comparison_in(folder))


def comparison_in(folder: Path) -> ComparisonFolder:
    """The comparison in a folder, or in that of its project. Raises SearchError where there is none."""
    for own in (folder, folder / COMPARISON_FOLDER, folder / "software" / COMPARISON_FOLDER):
        if (own / SUMMARY_FILE).is_file():
            return ComparisonFolder(own)
    raise WrongSearchError(f"{folder} holds no search and no comparison; give the folder of one, as mase_output/NAME")


def page_folder(folder: Path) -> Path:
    """The folder of the search or the comparison, in which its page belongs. Raises SearchError as `page_of` does."""
    return folder if _holds_search(folder) else comparison_in(folder).path


def _holds_search(folder: Path) -> bool:
    """Whether a folder holds a search. Its log may be missing: reading it finds that out."""
    return SearchFolder(folder).holds_search or (folder / BEST_FILE).is_file()
