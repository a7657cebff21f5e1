"""Commands that are started at once in one folder: the files of one lie there afterwards, all others are refused."""

from __future__ import annotations

import pytest

from .starts import AT_ONCE, count_starts


@pytest.mark.slow
def test_of_commands_that_are_started_at_once_one_is_right_and_none_wrong() -> None:
    for name, tried, right, refused, wrong in count_starts(tries=2):
        assert (tried, right, refused, wrong) == (2 * AT_ONCE, 2, 2 * AT_ONCE - 2, 0), name
