"""Calls and their outcomes as bytes, so that another process or machine can have them."""

from __future__ import annotations

import pickle
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from chop.errors import ChopError


class CannotSendError(ChopError):
    """A call, or an outcome, cannot be sent to another process; the message says why and what to do."""


def call_to_bytes(call: Callable[[Any], Any]) -> bytes:
    """A call as bytes; raises CannotSendError where it cannot be read from them again."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about the structure of exported outputs
            payload = pickle.dumps(call)
        call_from_bytes(payload)
    except Exception as error:
        is_nameless = any(text in str(error) for text in ("<lambda>", "<locals>", "local object"))
        cure = ": define it with def, outside of all functions" if is_nameless else ""
        raise CannotSendError(f"{error}{cure}") from error
    return payload


def call_from_bytes(payload: bytes) -> Callable[[Any], Any]:
    """The call that `call_to_bytes` wrote. The bytes must come from this program: reading them can run code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found: Callable[[Any], Any] = pickle.loads(payload)  # noqa: S301
        return found


def outcome_of(call: Callable[[Any], Any], item: Any) -> bytes:
    """What `call(item)` returns or raises, as bytes that can be read."""
    try:
        content = pickle.dumps((call(item), None))
    except Exception as error:
        return _failure_to_bytes(error)
    return content


def read_outcome(content: bytes) -> Any:
    """Return what the call returned, or raise what it raised."""
    result, error = pickle.loads(content)  # noqa: S301 - of a worker of this program
    if error is not None:
        raise error
    return result


def _failure_to_bytes(error: Exception) -> bytes:
    """An error with the lines of its traceback as a note; one that cannot be sent is told in words."""
    error.add_note(f"In another process:\n{''.join(traceback.format_exception(error)).rstrip()}")
    try:
        content = pickle.dumps((None, error))
        pickle.loads(content)  # noqa: S301 - written one line above
    except Exception:
        told = CannotSendError(f"{type(error).__name__}: {error} (an error that cannot be sent between processes)")
        return pickle.dumps((None, told))
    return content
