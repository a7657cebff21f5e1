"""A network as a notebook shows it: its metrics with intervals, its formats by layer as a heat map, its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chop.record.summary import LayerFacts, SearchSummary
from chop.record.trial import BestRow
from chop.report.figure_text import figure_text
from chop.report.format_texts import OPERANDS as OPERAND_NAMES
from chop.report.html.layers import Cell, layer_bits
from chop.report.html.search_data import network_row
from chop.report.plots.colours import octaves
from chop.tools.markup import Html, element, joined, table

MOST_LAYERS = 60


def network_html(row: BestRow, summary: SearchSummary) -> Html:
    """The network of a trial."""
    data = network_row(row, summary)
    title = f"Network of trial {row.trial.number}"
    title += f", tuned for {row.finished.epochs} epochs" if row.finished else ""
    failed = [element("div", f"failed: {row.trial.failed}")] if row.trial.failed else []
    return element("div", element("div", element("b", title)), *failed, _metrics(data, summary), _layers(data, summary))


def _metrics(data: Mapping[str, Any], summary: SearchSummary) -> Html:
    baseline = summary.fp32.trial.metrics if summary.fp32 else {}
    rows = [
        (
            _named(name, summary),
            figure_text(value) if value is not None else "",
            _interval(data["test"].get(name)),
            figure_text(baseline[name]) if name in baseline else "",
        )
        for name, value in data["metrics"].items()
    ]
    return table(("metric", "in the search", "test set [95 %]", "FP32"), rows, [0]) if rows else Html("")


def _named(name: str, summary: SearchSummary) -> str:
    facts = summary.metrics.get(name)
    return f"{name} [{facts.unit}]" if facts and facts.unit else name


def _interval(found: Sequence[float | None] | None) -> str:
    value, low, high = found or (None, None, None)
    if value is None:
        return ""
    if low is None or high is None:
        return figure_text(value)
    return f"{figure_text(value)} [{figure_text(low)}, {figure_text(high)}]"


def _layers(data: Mapping[str, Any], summary: SearchSummary) -> Html:
    """A row for each layer: the format of each operand, coloured by its bits, and the bytes of its parameters."""
    known = {own.name: own for own in summary.layers}
    cells = {
        node: {operand: Cell(*own) for operand, own in found.items()} for node, found in data["cells"].items() if found
    }
    operands = [own for own in OPERAND_NAMES if any(own in found for found in cells.values())]
    if not cells:
        return element("div", "No layer has a format: the network is unquantised.")
    sizes = {node: layer_bits(known[node], own) for node, own in cells.items() if node in known}
    rows = [
        [node, *(_cell(own.get(operand)) for operand in operands), _size(known.get(node), sizes.get(node))]
        for node, own in [*cells.items()][:MOST_LAYERS]
    ]
    headings = ["layer", *(OPERAND_NAMES.get(own, own) for own in operands), "parameters"]
    more = [element("div", f"… and {len(cells) - MOST_LAYERS} more layers")] if len(cells) > MOST_LAYERS else []
    return joined([table(headings, rows, [0, len(headings) - 1]), *more, *_total(known, sizes)])


def _cell(cell: Cell | None) -> str:
    """The format of an operand; the more bits, the stronger its colour, through which any paper is seen."""
    if cell is None or cell.bits is None:
        return "" if cell is None else cell.text
    strength = 0.08 + 0.5 * min(1.0, octaves(cell.bits) / 5)
    style = f"text-align: center; padding: 2px 8px; background-color: rgba(58, 143, 208, {strength:.2f})"
    return element("td", cell.text, style=style)


def _size(layer: LayerFacts | None, bits: float | None) -> str:
    count = sum(layer.parameters.values()) if layer else 0
    return f"{count:,} in {bytes_text(bits / 8)}" if count and bits is not None else ""


def _total(known: Mapping[str, LayerFacts], sizes: Mapping[str, float | None]) -> list[Html]:
    found = [own for own in sizes.values() if own is not None]
    if not found or len(found) < len(sizes):
        return []
    count = sum(sum(known[node].parameters.values()) for node in sizes)
    told = f"{count:,} parameters in {bytes_text(sum(found) / 8)}, {bytes_text(count * 4)} in float32"
    return [element("div", f"These layers: {told}.")]


def bytes_text(count: float) -> str:
    """A number of bytes.

    >>> bytes_text(80), bytes_text(40_960)
    ('80 B', '40 KiB')
    """
    return f"{count:.4g} B" if count < 1024 else f"{count / 1024:.4g} KiB"
