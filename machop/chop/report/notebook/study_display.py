"""A study as a notebook shows it: why it ended, a picture of its front, the table of it, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chop.errors import SearchError
from chop.record.summary import SearchSummary
from chop.report.html.layers import axes_by_node
from chop.report.notebook.front_image import front_image
from chop.report.notebook.space_display import operand_and_key
from chop.report.plots.pictures import Scatter
from chop.report.plots.search_pictures import front_picture
from chop.report.search_report import MOST_ROWS, facts_of, summary_table, title_of
from chop.tools.markup import Html, element, joined, table
from chop.tools.whole_numbers import readable

MOST_LETTERS = 240
"""The most letters for the formats of a network in the table; `study[17]` shows them all."""

MOST_AXES = 60


def study_html(summary: SearchSummary, data: Mapping[str, Any], warnings: Sequence[str]) -> Html:
    """The study of a summary, with the `data` of its page and what the search warned of."""
    facts = [element("div", text) for text in facts_of(summary)]
    warned = [element("div", element("b", "warning: "), text) for text in warnings]
    return element(
        "div",
        element("div", element("b", title_of(summary))),
        _image(summary, data),
        _front(summary),
        *facts,
        *warned,
        _axes(summary, data),
        _next(summary),
    )


def _image(summary: SearchSummary, data: Mapping[str, Any]) -> Html:
    try:
        picture: Scatter = front_picture(data, summary.goals)
    except SearchError:
        return Html("")
    told = f"{picture.y_title} by {picture.x_title}: {', '.join(own.name for own in picture.points)}"
    return element("div", front_image(picture, told))


def _front(summary: SearchSummary) -> Html:
    columns, rows, baselines = summary_table(summary)
    left = len(rows) - MOST_ROWS
    shown = [[*figures, _cut(formats)] for *figures, formats in [*rows[:MOST_ROWS], *baselines]]
    more = [element("div", f"… and {left} more: study.front")] if left > 0 else []
    return joined([table(columns, shown, [len(columns) - 1]), *more])


def _cut(formats: str) -> str:
    """The formats of a network, without its last layers where they are many."""
    if len(formats) <= MOST_LETTERS:
        return formats
    layers = formats.split("; ")
    kept: list[str] = []
    while layers and len("; ".join([*kept, layers[0]])) <= MOST_LETTERS:
        kept.append(layers.pop(0))
    return (
        f"{'; '.join(kept)}; … and {len(layers)} more layer{'' if len(layers) == 1 else 's'}"
        if kept
        else f"{formats[:MOST_LETTERS]} …"
    )


def _axes(summary: SearchSummary, data: Mapping[str, Any]) -> Html:
    """The choices of the space by node and operand, folded away."""
    choices = {own["key"]: own["values"] for own in data["choices"]}
    rows = [
        (node, *operand_and_key(own), ", ".join(map(str, choices[key]))) for key, node, own in axes_by_node(choices)
    ]
    if not rows:
        return Html("")
    more = [element("div", f"… and {len(rows) - MOST_AXES} more")] if len(rows) > MOST_AXES else []
    title = f"The space: {len(rows)} choices, {readable(summary.space_size)} points"
    shown = table(("node", "operand", "key", "choices"), rows[:MOST_AXES], range(4))
    return element("details", element("summary", title), shown, *more)


def _next(summary: SearchSummary) -> Html:
    """The calls to make next, for the network that is first in the table."""
    first = summary_table(summary)[1][0][0]
    is_within = summary.goals.is_within(summary.best[0].trial.metrics)
    best = ["study.best(max_drop=0.01)" if summary.fp32 else "study.best()"] if is_within else []
    calls = [f"study[{first}]", *best, "study.plot_front()", 'study.report("report.html")']
    texts = [part for call in calls for part in (element("code", call), Html(" · "))][:-1]
    return element("div", "Next: ", *texts)
