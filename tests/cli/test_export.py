"""`ch export` asks for what it needs, and refuses what does not fit, before anything is read."""

from __future__ import annotations

import pytest

from tests.conftest import Command

RUN = ("mase_output/own", "--trial", "1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give the folder of a search with --trial NUMBER, or --load"),
        (RUN[:1], "--trial NUMBER goes with the folder"),
        (RUN, "add --to NAME"),
        ((*RUN, "--load", "x"), "give the folder of a search with --trial NUMBER, or"),
        ((*RUN, "--to", "onnx", "--set", "form"), "expected KEY=VALUE"),
    ],
)
def test_what_is_missing_is_named(words: tuple[str, ...], told: str, ch: Command) -> None:
    _, error = ch("export", *words, status=2)
    assert told in error
