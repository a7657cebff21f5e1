"""The example TOML files that come with the package, each a whole search, training or transformation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chop.errors import ConfigError, UnknownNameError, did_you_mean

FOLDER = Path(__file__).parents[1] / "examples"
"""In a checkout a symbolic link to `machop/configs/examples` (decision 0037), in an installed package a folder."""


@dataclass(frozen=True)
class Example:
    """An example file: its `name` without `.toml`, `about` from its opening comment, and its `path`."""

    name: str
    about: str
    path: Path


def examples() -> tuple[Example, ...]:
    """Return all example files, sorted by name.

    Raises ConfigError where they are missing.

    >>> [example.name for example in examples()][:2]
    ['jsc_mlp_brute_force', 'jsc_mlp_for_space']
    """
    found = tuple(Example(path.stem, _about(path), path) for path in sorted(FOLDER.glob("*.toml")))
    if not found:
        message = (
            f"{FOLDER}: there are no example files. In a checkout this is a symbolic link, which some tools lose: the "
            "files are in machop/configs/examples. An installed package holds them: install chop again"
        )
        raise ConfigError([message])
    return found


def example(name: str) -> Example:
    """Return the example of that name, with or without `.toml`.

    Raises UnknownNameError if there is none.

    >>> example("toy_regex.toml").name
    'toy_regex'
    """
    known = {each.name: each for each in examples()}
    short = name.removesuffix(".toml")
    if short not in known:
        raise UnknownNameError(
            f"there is no example '{name}'{did_you_mean(short, known)}; `ch config examples` lists all {len(known)}"
        )
    return known[short]


def _about(path: Path) -> str:
    """The comment at the top of a file up to its first command, which is indented, as one line."""
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# ") or line.startswith("#  "):
            break
        words.append(line[2:])
    return " ".join(words)
