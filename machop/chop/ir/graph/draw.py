"""Draws a graph as SVG: boxes in layers by depth, arrows for data, formats in colour."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from torch import fx

from chop.ir.graph.mase_graph import MaseGraph
from chop.tools.files import write_whole

BOX_WIDTH, LINE_HEIGHT, GAP_X, GAP_Y, MARGIN = 230, 16, 30, 34, 20
QUANTISED, IN_FLOAT, BORDER, TEXT = "#d6e9d5", "#f2f2f2", "#555", "#222"


def draw_graph(graph: MaseGraph, path: Path | str) -> Path:
    """Write an SVG file that stands on its own."""
    return write_whole(path, graph_svg(graph))


def graph_svg(graph: MaseGraph) -> str:
    """The picture of a graph as SVG."""
    nodes = graph.nodes
    boxes = _layout(graph, nodes)
    width = max(x for x, _, _ in boxes.values()) + BOX_WIDTH + MARGIN
    height = max(y + h for _, y, h in boxes.values()) + MARGIN
    edges = [_edge(boxes[source], boxes[node]) for node in nodes for source in node.all_input_nodes]
    shapes = [_box(boxes[node], _lines(graph, node), bool(graph.plan[node.name])) for node in nodes]
    return _svg(width, height, [*edges, *shapes])


def _svg(width: int, height: int, parts: Iterable[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    arrow = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{BORDER}"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="white"/>'
    )
    return "\n".join([head, arrow, *parts, "</svg>", ""])


def _layout(graph: MaseGraph, nodes: list[fx.Node]) -> dict[fx.Node, tuple[int, int, int]]:
    """Left, top and height of each node's box: rows by depth, side by side within a row."""
    depth: dict[fx.Node, int] = {}
    for node in nodes:
        depth[node] = max((depth[source] + 1 for source in node.all_input_nodes), default=0)
    rows = [[node for node in nodes if depth[node] == row] for row in range(max(depth.values()) + 1)]
    widest = max(len(row) for row in rows)
    boxes, top = {}, MARGIN
    for row in rows:
        heights = [LINE_HEIGHT * len(_lines(graph, node)) + 12 for node in row]
        left = MARGIN + (widest - len(row)) * (BOX_WIDTH + GAP_X) // 2
        for number, (node, height) in enumerate(zip(row, heights, strict=True)):
            boxes[node] = (left + number * (BOX_WIDTH + GAP_X), top, height)
        top += max(heights) + GAP_Y
    return boxes


def _lines(graph: MaseGraph, node: fx.Node) -> list[str]:
    op = graph.op(node)
    formats = [f"{operand}: {chosen}" for operand, chosen in graph.plan[node.name].items()]
    return [node.name, *([op.name] if op and op.name != node.name else []), *formats]


def _box(box: tuple[int, int, int], lines: list[str], is_quantised: bool) -> str:
    left, top, height = box
    fill = QUANTISED if is_quantised else IN_FLOAT
    texts = [
        f'<text x="{left + BOX_WIDTH // 2}" y="{top + 18 + number * LINE_HEIGHT}" text-anchor="middle" fill="{TEXT}" '
        f'font-family="sans-serif" font-size="12" font-weight="{"normal" if number else "bold"}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    frame = f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{height}" rx="5" fill="{fill}" stroke="{BORDER}"/>'
    return "\n".join([frame, *texts])


def _edge(source: tuple[int, int, int], target: tuple[int, int, int]) -> str:
    x1, y1 = source[0] + BOX_WIDTH // 2, source[1] + source[2]
    x2, y2 = target[0] + BOX_WIDTH // 2, target[1]
    bend = 0 if y2 - y1 <= GAP_Y * 2 and x1 == x2 else BOX_WIDTH * 3 // 4
    middle = (y1 + y2) // 2
    return (
        f'<path d="M{x1},{y1} C{x1 + bend},{middle} {x2 + bend},{middle} {x2},{y2}" fill="none" stroke="{BORDER}" '
        'marker-end="url(#arrow)"/>'
    )
