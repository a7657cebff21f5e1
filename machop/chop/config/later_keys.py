"""The options of a table as a fingerprint holds them: keys that came later are left out where they change nothing."""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields
from typing import Any

BEFORE = "before"
"""In the metadata of a field that came later: the value that means what was done before there was this key."""


def fingerprint_of_options(options: Any) -> dict[str, Any]:
    """The options by key, without later keys whose value means what was done before there were such keys.

    That value is declared with the key (`documented(…, before=…)`) and stays when the default changes; so records from
    before the key equal those that leave it out, and never those of another default. Fields that do not count in a
    comparison (`field(compare=False)`), as a text for messages, are no options.

    >>> from dataclasses import dataclass
    >>> from chop.config.keys import documented
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     rate: float = 0.5
    ...     rounds: int = documented(3, "Rounds of tuning.", before=1)
    >>> fingerprint_of_options(Options()), fingerprint_of_options(Options(rounds=1))
    ({'rate': 0.5, 'rounds': 3}, {'rate': 0.5})
    """
    before = {field.name: field.metadata[BEFORE] for field in fields(options) if BEFORE in field.metadata}
    counted = {field.name for field in fields(options) if field.compare}
    values = {name: value for name, value in asdict(options).items() if name in counted}
    return {name: value for name, value in values.items() if before.get(name, MISSING) != value}


def later_options(options: Any) -> dict[str, Any]:
    """The later keys alone of `fingerprint_of_options`, for tables whose first keys a fingerprint holds by name.

    >>> from dataclasses import dataclass
    >>> from chop.config.keys import documented
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     batch: int = 8
    ...     rounds: int = documented(3, "Rounds of tuning.", before=1)
    >>> later_options(Options()), later_options(Options(rounds=1))
    ({'rounds': 3}, {})
    """
    later = {field.name for field in fields(options) if BEFORE in field.metadata}
    return {name: value for name, value in fingerprint_of_options(options).items() if name in later}
