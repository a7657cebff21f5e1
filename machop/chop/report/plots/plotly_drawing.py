"""Draws pictures with plotly (the extra `plotly`): what a point means is shown on hover."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isnan, nan
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from chop.report.plots.broken_names import broken
from chop.report.plots.colours import (
    BIT_TICKS,
    BITS_SCALE,
    COLOURS,
    CORRELATION_SCALE,
    CURVES,
    FRONT,
    OTHERS,
    ink_on,
    octaves,
)
from chop.report.plots.pictures import Bars, Curve, Curves, HeatMap, Parallel, Picture, Points, Scatter, Steps

LETTERS_ACROSS, LEAST_LETTERS = 120, 8
"""Letters of titles that all axes of parallel coordinates have room for, and the fewest of a line of one."""

BAR, BETWEEN_PANELS = 24, 44
"""Pixels up of a bar with the room beside it, and between two panels of bars."""

MOST_FOR_SVG = 3_000
"""Points that are drawn one by one; of more the browser's graphics card draws them all at once."""


def drawn(picture: Picture) -> go.Figure:
    """The picture as a figure of plotly."""
    match picture:
        case Scatter():
            return _scatter(picture)
        case Steps():
            return _steps(picture)
        case Parallel():
            return _parallel(picture)
        case HeatMap():
            return _heat_map(picture)
        case Bars():
            return _bars(picture)
        case Curves():
            return _curves(picture)


def _text(text: str) -> str:
    """A text in which plotly finds no markup, with a line break for each line."""
    return escape(text, quote=False).replace("\n", "<br>")


def _laid_out(figure: go.Figure, height: int = 420, **more: Any) -> go.Figure:
    margin = {"l": 60, "r": 20, "t": 40, "b": 50}
    return figure.update_layout(template=_template(), height=height, margin=margin, **more)


def _template() -> str:
    """The user's template; a white one in place of the grey one that plotly begins with."""
    chosen: str = pio.templates.default
    return "plotly_white" if chosen == "plotly" else chosen


def _scatter(picture: Scatter) -> go.Figure:
    figure = go.Figure([_trace(own) for own in picture.points])
    for bound in picture.bounds:
        line = figure.add_vline if bound.axis == "x" else figure.add_hline
        look = {"color": COLOURS[bound.role], "dash": "dot", "width": 1}
        place = "bottom right" if bound.axis == "x" else "top left"
        text = {"annotation_text": _text(bound.name), "annotation_font_size": 10, "annotation_position": place}
        line(bound.value, line=look, **text)
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
    figure.update_layout(xaxis_title=_text(picture.x_title), yaxis_title=_text(picture.y_title), legend=legend)
    return _laid_out(figure, 444, hovermode="closest").update_layout(margin_t=64)  # the tools lie above the legend


def _trace(own: Points) -> Any:
    reach = {}
    if own.low:
        values = own.x if own.is_across else own.y
        up = [high - value for high, value in zip(own.high, values, strict=True)]
        down = [value - low for low, value in zip(own.low, values, strict=True)]
        axis = "error_x" if own.is_across else "error_y"
        reach = {axis: {"array": up, "arrayminus": down, "symmetric": False, "thickness": 1, "width": 3}}
    mode = "lines+markers" if own.line else "markers"
    hover = {"hovertext": [*map(_text, own.texts)], "hoverinfo": "text"} if own.texts else {}
    kind = go.Scattergl if len(own.x) > MOST_FOR_SVG else go.Scatter
    return kind(x=own.x, y=own.y, name=_text(own.name), mode=mode, marker=_marker(own), **_line(own), **reach, **hover)


def _marker(own: Points) -> dict[str, Any]:
    size, symbol = {
        "cloud": (5, "circle"),
        "violating": (5, "circle-open"),
        "exact": (3, "circle"),
        "other": (5, "line-ns-open" if own.is_across else "line-ew-open"),
        "baseline": (9, "x-thin-open"),
    }.get(own.role, (7, "circle"))
    return {"color": COLOURS[own.role], "size": size, "symbol": symbol}


def _line(own: Points) -> dict[str, Any]:
    return (
        {"line": {"color": COLOURS[own.role], "dash": "dash" if own.role == "exact" else "solid"}} if own.line else {}
    )


def _steps(picture: Steps) -> go.Figure:
    figure = make_subplots(len(picture.panels), 1, shared_xaxes=True, vertical_spacing=0.06)
    for place, (title, values) in enumerate(picture.panels, start=1):
        line = {"color": FRONT, "shape": "hv"}
        figure.add_trace(go.Scatter(x=picture.x, y=values, name=_text(title), mode="lines", line=line), place, 1)
        figure.update_yaxes(title_text=_text(title), row=place, col=1)
    figure.update_xaxes(title_text=_text(picture.x_title), row=len(picture.panels), col=1)
    return _laid_out(figure, 140 + 180 * len(picture.panels), showlegend=False, hovermode="x unified")


def _parallel(picture: Parallel) -> go.Figure:
    colour = picture.axes[picture.colour]
    letters = max(LEAST_LETTERS, LETTERS_ACROSS // len(picture.axes))
    dimensions = [
        {
            "label": _text(broken(own.title, letters)),
            "values": own.values,
            **({"tickvals": [*range(len(own.ticks))], "ticktext": [*map(_text, own.ticks)]} if own.ticks else {}),
        }
        for own in picture.axes
    ]
    line = {
        "color": colour.values,
        "colorscale": "Viridis",
        "showscale": True,
        "colorbar": {"title": _text(colour.title)},
    }
    lines = max(own["label"].count("<br>") for own in dimensions)
    figure = go.Figure(go.Parcoords(dimensions=dimensions, line=line, labelside="bottom", labelfont={"size": 10}))
    return _laid_out(figure, 400 + 13 * lines).update_layout(margin={"l": 70, "r": 20, "t": 40, "b": 60 + 13 * lines})


def _heat_map(picture: HeatMap) -> go.Figure:
    is_bits = picture.scale == "bits"
    values = [[octaves(own) for own in line] for line in picture.values] if is_bits else picture.values
    ticks = {"tickvals": [octaves(own) for own in BIT_TICKS], "ticktext": [*map(str, BIT_TICKS)], "title": "bits"}
    scale: dict[str, Any] = (
        {"colorscale": BITS_SCALE.capitalize(), "zmin": 0, "zmax": 5, "colorbar": ticks}
        if is_bits
        else {"colorscale": CORRELATION_SCALE, "zmin": -1, "zmax": 1}
    )
    hovers = picture.hovers or [
        [f"{row}\n{column}: {text}" for column, text in zip(picture.columns, line, strict=True)]
        for row, line in zip(picture.rows, picture.texts, strict=True)
    ]
    whole = go.Heatmap(
        x=_distinct(picture.columns),
        y=_distinct(picture.rows),
        z=values,
        text=[[*map(_text, line)] for line in picture.texts],
        texttemplate="%{text}",
        hovertext=[[*map(_text, line)] for line in hovers],
        hoverinfo="text",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        **scale,
    )
    figure = go.Figure(_by_ink(whole, scale["colorscale"]))
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    figure.update_xaxes(title_text=_text(picture.x_title), type="category")
    return _laid_out(figure, 160 + 26 * len(picture.rows))


def _by_ink(whole: Any, colours: str) -> list[Any]:
    """A heat map as one for each colour of its texts, with the cells on which this colour is readable.

    A trace has one colour of texts; where it is left to plotly, the contrast is 3.3 on some cells.
    """
    inks = [[_ink(value, whole, colours) for value in line] for line in whole.z]
    found: list[Any] = []
    for ink in sorted({own for line in inks for own in line if own}) or [""]:
        part = go.Heatmap(whole)
        part.z = _where(inks, ink, whole.z, nan)
        part.text = _where(inks, ink, whole.text, "")  # plotly writes a text into an empty cell, too
        found.append(part.update(textfont_color=ink or None, showscale=not found))
    return found


def _where(inks: Sequence[Sequence[str]], ink: str, values: Sequence[Sequence[Any]], empty: Any) -> list[list[Any]]:
    """The values of the cells with one ink, and `empty` in all others."""
    return [
        [value if own == ink else empty for own, value in zip(of_line, line, strict=True)]
        for of_line, line in zip(inks, values, strict=True)
    ]


def _ink(value: float, heat: Any, colours: str) -> str:
    """The colour of a text on a cell; empty for an empty cell."""
    if isnan(value):
        return ""
    share = min(1.0, max(0.0, (value - heat.zmin) / (heat.zmax - heat.zmin)))
    (colour,) = sample_colorscale(colours, [share], colortype="tuple")
    return ink_on(colour)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names as categories of an axis, which must differ; a character without width tells equal ones apart."""
    seen: dict[str, int] = {}
    found = []
    for name in map(_text, names):
        seen[name] = seen.get(name, -1) + 1
        found.append(name + "\u200b" * seen[name])
    return found


def _bars(picture: Bars) -> go.Figure:
    rows = [len(own) for _, own in picture.panels]
    titles = [_text(title) for title, _ in picture.panels]
    inside = BAR * sum(rows) + BETWEEN_PANELS * (len(rows) - 1)
    spacing = BETWEEN_PANELS / inside if len(rows) > 1 else 0.0
    figure = make_subplots(
        len(rows), 1, shared_xaxes=True, subplot_titles=titles, row_heights=rows, vertical_spacing=spacing
    )
    for place, (_, own) in enumerate(picture.panels, start=1):
        names, shares = [name for name, _ in own], [share for _, share in own]
        bars = go.Bar(
            x=shares,
            y=_distinct(names),
            orientation="h",
            marker_color=[FRONT] * (len(own) - 1) + [OTHERS],
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
        figure.add_trace(bars, place, 1)
    figure.update_yaxes(autorange="reversed", automargin=True)
    title = f"{_text(picture.x_title)}<br><sub>{_text(picture.note)}</sub>"
    figure.update_xaxes(title_text=title, tickformat=".0%", row=len(rows), col=1)
    return _laid_out(figure, 130 + inside, showlegend=False).update_layout(margin_b=90)


def _curves(picture: Curves) -> go.Figure:
    """Curves, each with bars for its intervals; a click in the legend hides one."""
    figure = go.Figure()
    for own in picture.curves:
        color = CURVES[picture.names.index(own.name) % len(CURVES)]
        if any(place.networks > 1 for place in own.places):
            figure.add_trace(_band(own, color))
        figure.add_trace(_curve(own, picture, color))
    if picture.baseline is not None:
        look = {"color": "black", "dash": "dash", "width": 1}
        figure.add_hline(picture.baseline, line=look, annotation_text="FP32", annotation_font_size=10)
    title = {"text": _text(picture.title), "font": {"size": 11}}
    figure.update_layout(title=title, xaxis_title=_text(picture.x), yaxis_title=_text(picture.y))
    return _laid_out(figure, 480)


def _curve(own: Curve, picture: Curves, color: str) -> Any:
    is_open = picture.has_tuned and not own.tuned
    ends = [place.interval or (place.middle, place.middle) for place in own.places]
    reach = {
        "array": [end[1] - place.middle for end, place in zip(ends, own.places, strict=True)],
        "arrayminus": [place.middle - end[0] for end, place in zip(ends, own.places, strict=True)],
    }
    return go.Scatter(
        x=[place.x for place in own.places],
        y=[place.middle for place in own.places],
        name=_text(picture.label(own)),
        mode="lines+markers",
        line={"color": color, "dash": "dash" if is_open else "solid"},
        marker={"symbol": "circle-open" if is_open else "circle", "size": 7},
        error_y={**reach, "symmetric": False, "thickness": 1, "width": 0},
    )


def _band(own: Curve, color: str) -> Any:
    there, back = list(own.places), list(reversed(own.places))
    return go.Scatter(
        x=[place.x for place in [*there, *back]],
        y=[*(place.high for place in there), *(place.low for place in back)],
        fill="toself",
        fillcolor=color,
        opacity=0.2,
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )
