"""HTML from texts that may be anything: every text is escaped, unless it is `Html` already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """A text that is HTML."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str | int) -> Html:
    """An element with its content; an underscore behind a name is left out (`class_`).

    >>> element("p", "1 < 2", element("br"), style="margin: 0")
    '<p style="margin: 0">1 &lt; 2<br></p>'
    """
    given = "".join(f' {name.rstrip("_")}="{escape(str(value))}"' for name, value in attributes.items() if value != "")
    end = "" if tag in ("br", "img") else f"</{tag}>"
    return Html(f"<{tag}{given}>{joined(content)}{end}")


def joined(content: Iterable[str]) -> Html:
    """Texts and HTML, one after the other."""
    return Html("".join(own if isinstance(own, Html) else escape(own, quote=False) for own in content))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Iterable[int] = ()) -> Html:
    """A table; `text_columns` are aligned to the left. A cell that is `<td>` HTML already is taken as it is."""
    left = set(text_columns)
    head = element("tr", *(_cell("th", name, place in left) for place, name in enumerate(headings)))
    body = [element("tr", *(_cell("td", text, place in left) for place, text in enumerate(row))) for row in rows]
    return element("table", element("thead", head), element("tbody", *body))


def _cell(tag: str, content: str, is_text: bool) -> Html:
    if isinstance(content, Html) and content.startswith("<td"):
        return content
    alignment = "text-align: left" if is_text else "text-align: right; white-space: nowrap"
    return element(tag, content, style=f"{alignment}; padding: 2px 8px")
