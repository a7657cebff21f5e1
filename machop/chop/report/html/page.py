"""Puts a page together: its data, its style and its scripts in one HTML file, which loads nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from math import isfinite
from typing import Any

SEARCH_SCRIPTS = ("core", "networks", "front", "parallel", "table", "network", "charts", "search")


def page(data: Mapping[str, Any], title: str, body: str, scripts: Sequence[str]) -> str:
    """An HTML page with `data`, the body of the asset `body` and the assets `scripts`.

    Its content security policy forbids every request and every script but its own.
    """
    script = "\n".join(_asset(f"{name}.js") for name in scripts)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{_hash(script)}'"
    content = f'{_asset(f"{body}.html")}\n<script type="application/json" id="data">{as_json(data)}</script>'
    return _document(policy, title, _asset("style.css"), content, script)


def frame_page() -> str:
    """The page that shows a running search in a frame, and asks this server alone for newer ones."""
    script = _asset("live.js")
    policy = (
        f"default-src 'none'; connect-src 'self'; frame-src 'self'; style-src 'unsafe-inline'; "
        f"script-src '{_hash(script)}'"
    )
    return _document(policy, "a running search", _asset("live.css"), _asset("live.html"), script)


def _document(policy: str, title: str, style: str, body: str, script: str) -> str:
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        body,
        f"<script>{script}</script>",
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(lines)


def as_json(data: Mapping[str, Any]) -> str:
    """Data as JSON that cannot end the element of the page around it; numbers that are not finite become null.

    >>> as_json({"a": "</script>"})
    '{"a":"\\\\u003c/script>"}'
    """
    return json.dumps(_finite(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _asset(name: str) -> str:
    return (files("chop.report.html") / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
