"""Puts a page together: its data, its style and its scripts in one HTML file, which loads nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

SEARCH_SCRIPTS = ("core", "networks", "front", "parallel", "table", "network", "charts", "search")


def page(data: Mapping[str, Any], title: str, body: str, scripts: Sequence[str]) -> str:
    """An HTML page with `data`, the body of the asset `body` and the assets `scripts`.

    Its content security policy forbids every request and every script but its own.
    """
    script = "\n".join(_asset(f"{name}.js") for name in scripts)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{_hash(script)}'"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{_asset('style.css')}</style>",
            "</head>",
            "<body>",
            _asset(f"{body}.html"),
            f'<script type="application/json" id="data">{as_json(data)}</script>',
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def as_json(data: Mapping[str, Any]) -> str:
    """Data as JSON that cannot end the element of the page in which it stands.

    >>> as_json({"a": "</script>"})
    '{"a":"\\\\u003c/script>"}'
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (files("chop.report.html") / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
