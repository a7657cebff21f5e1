"""The commands that take a network of a search away, as they run in the folder where the search was started."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator

from chop.record.folder import SearchFolder
from chop.tools.user_code import is_user_reference


def with_own_code(command: str, files: SearchFolder, typed: str) -> str:
    """`command`, with the user's own model, data and plug-ins, which a command takes from nowhere else.

    `typed` is the command line of the search. Raises SearchError where the record of its options is damaged.
    """
    return " ".join([command, *map(shlex.quote, _own_code(files, typed))])


def _own_code(files: SearchFolder, typed: str) -> Iterator[str]:
    options = tomllib.loads(files.resolved or "")
    for key in ("model", "dataset"):
        if isinstance(name := options.get(key), str) and is_user_reference(name):
            yield from (f"--{key}", name)
    words = shlex.split(typed)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--plugin":
            yield from (word, following)
        elif word.startswith("--plugin="):
            yield word
