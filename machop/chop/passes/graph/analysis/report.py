"""The passes that report a graph: its code, its nodes and metadata, and what quantising changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chop.errors import PassError
from chop.ir import MaseGraph
from chop.nn.ops import STATISTICS
from chop.passes.graph.analysis.metadata import Info, PassArgs, check_args, metadata_of
from chop.passes.graph.analysis.node_types import mase_op, mase_type
from chop.passes.graph.registry import register_pass
from chop.tools.files import write_whole
from chop.tools.terminal import table_of, terminal

SECTIONS = ("common", "hardware", "software")


@register_pass("report_graph")
def report_graph_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Show the graph's code and how many nodes of each kind it has; `file_name` writes it to a file instead.

    The info holds the counts, `{"count": {kind: nodes}}`.
    """
    args = check_args("report_graph", pass_args, ("file_name",))
    counts = Counter(mase_type(graph, node) for node in graph.nodes)
    kinds = "\n".join(f"{kind}: {number}" for kind, number in sorted(counts.items()))
    _show(f"{graph.model.code.strip()}\n\n{kinds}", args.get("file_name"))
    return graph, {"count": dict(counts)}


@register_pass("report_node_type")
def report_node_type_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Show each node's name, kind, op and target."""
    check_args("report_node_type", pass_args, ())
    rows = [(node.name, mase_type(graph, node), mase_op(graph, node), str(node.target)) for node in graph.nodes]
    _show(_table(("node", "mase_type", "mase_op", "target"), rows), None)
    return graph, {"nodes": rows}


@register_pass("report_node_meta_param", requires=("add_software_metadata",))
def report_node_meta_param_analysis_pass(graph: MaseGraph, pass_args: PassArgs = None) -> tuple[MaseGraph, Info]:
    """Show every node's metadata; `which` names sections (common, software, hardware or all), `save_path` a file."""
    args = check_args("report_node_meta_param", pass_args, ("which", "save_path"))
    which = args.get("which") or ("all",)
    which = (which,) if isinstance(which, str) else tuple(which)
    for section in which:
        if section not in ("all", *SECTIONS):
            raise PassError(f"which: expected all, {', '.join(SECTIONS)}, got '{section}'")
    shown = [section for section in SECTIONS if "all" in which or section in which]
    rows = []
    for node in graph.nodes:
        sections = [metadata_of(node, section, "report_node_meta_param") for section in shown]
        rows.append((node.name, node.op, *(_indented(section) for section in sections)))
    _show(_table(("node", "fx op", *shown), rows), args.get("save_path"))
    return graph, {"rows": rows}


@register_pass("summarize_quantization")
def summarize_quantization_analysis_pass(
    graph: MaseGraph, pass_args: PassArgs | MaseGraph = None, save_dir: str | Path | None = None
) -> tuple[MaseGraph, Info]:
    """Show for every op node the format of each operand, and for every op how many nodes are quantised.

    `pass_args` may hold `original_graph`, to show its formats as well, and `save_dir`, a folder for `summary.txt`. The
    older call `(original_graph, graph, save_dir=…)` is understood too. The info holds the rows and the counts.
    """
    if isinstance(pass_args, MaseGraph):
        graph, pass_args = pass_args, {"original_graph": graph}
    args = check_args("summarize_quantization", pass_args, ("original_graph", "save_dir"))
    original: MaseGraph | None = args.get("original_graph")
    rows = quantization_rows(graph, original)
    counts = _counts(graph)
    text = _table(("node", "op", "formats", *(["before"] if original is not None else [])), rows)
    text += "\n\n" + _table(("op", "nodes", "quantised"), [(op, *map(str, n)) for op, n in counts.items()])
    folder = save_dir or args.get("save_dir")
    _show(text, None)
    if folder is not None:
        write_whole(Path(folder) / "summary.txt", text + "\n")
    return graph, {"rows": rows, "count": counts}


def quantization_rows(graph: MaseGraph, original: MaseGraph | None = None) -> list[tuple[str, ...]]:
    """Name, op and formats of every node in the op table, and the formats that the original has."""
    rows = []
    for node in graph.nodes:
        op = graph.op(node)
        if op is not None:
            before = [describe_formats(original, node.name)] if original is not None else []
            rows.append((node.name, op.name, describe_formats(graph, node.name), *before))
    return rows


def describe_formats(graph: MaseGraph, name: str) -> str:
    """The formats of a node's operands in one line, or `float`."""
    formats = graph.plan[name]
    texts = [f"{operand} {chosen}" for operand, chosen in formats.items()]
    return ", ".join(texts) or "float"


def _counts(graph: MaseGraph) -> dict[str, tuple[int, int]]:
    ops = [
        (op.name, bool(graph.plan[node.name].keys() - {STATISTICS})) for node in graph.nodes if (op := graph.op(node))
    ]
    return {
        name: (sum(op == name for op, _ in ops), sum(op == name and quantised for op, quantised in ops))
        for name in sorted({op for op, _ in ops})
    }


def _indented(section: dict[str, Any]) -> str:
    lines: list[str] = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            lines += [f"{key}:", *(f"  {line}" for line in _indented(value).splitlines())]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    has_lines = any("\n" in cell for row in rows for cell in row)
    table = table_of(columns, rows, header_style="bold", show_lines=has_lines)
    console = terminal(width=140)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()


def _show(text: str, path: str | Path | None) -> None:
    """Write a report to a file, or else to the terminal."""
    if path is not None:
        write_whole(path, text + "\n")
        return
    terminal().print(text, highlight=False, markup=False, soft_wrap=True)
