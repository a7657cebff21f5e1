"""Dataclasses whose fields are keys of a TOML file: number formats and weight transforms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self

from chop.errors import FormatError, did_you_mean


@dataclass(frozen=True)
class Keyed:
    """A frozen dataclass that is built from TOML values and from what the operation decides."""

    context_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that the operation decides and no user sets (the sign of a ReLU's input, say)."""

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The parameters that a user sets, in the order of the definition."""
        return tuple(field.name for field in fields(cls) if field.name not in cls.context_fields)

    @classmethod
    def from_keys(cls, values: Mapping[str, Any], **context: Any) -> Self:
        """Build the object from TOML values (`"NA"` and None: use the default) and what the operation decides.

        Raises FormatError for an unknown key, a missing one or an impossible value.
        """
        known = cls.keys()
        for key in values:
            if key not in known:
                raise FormatError(f"unknown key '{key}'{did_you_mean(key, known)} (known: {', '.join(known)})")
        given = {key: frozen(value) for key, value in values.items() if value not in (None, "NA")}
        missing = [key for key in cls._required_keys() if key not in given]
        if missing:
            meaning = '"NA" means the default; ' if any(key in values for key in missing) else ""
            cure = "give a value, or, if the class is yours, give the field a default"
            raise FormatError(f"missing key {', '.join(missing)} ({meaning}{cls.__name__} has no default: {cure})")
        context = {key: value for key, value in context.items() if key in cls.context_fields}
        return cls(**given, **context)

    @classmethod
    def _required_keys(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.default is MISSING]


def frozen(value: Any) -> Any:
    """A list of a TOML file as a tuple, so that what holds it can be a key."""
    return tuple(frozen(item) for item in value) if isinstance(value, list) else value
