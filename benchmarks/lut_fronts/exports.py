"""Exports networks that a search found as Verilog, and synthesises them; results are kept on the disk."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lut_fronts.commands import FOLDER, Spent, ch

from chop.actions.search.strategies.runners.kept_results import KeptResults
from chop.api.network import Network
from chop.circuits.rtl import has_yosys, synthesised_sources


@dataclass(frozen=True)
class Built:
    """A network as Verilog: its manifest, what the export took, and what Yosys makes of it (nothing without Yosys)."""

    network: Network
    manifest: Mapping[str, Any]
    spent: Spent
    cells: Mapping[str, float]


def exported(project: str, number: int, to: str, *options: str) -> tuple[Path, Spent]:
    """The folder of a trial of a project in a form of `ch info exporter`, and what the export took."""
    name = f"{project}-{number}-{to}"
    folder = FOLDER / "exports" / name
    spent = ch(name, "export", str(FOLDER / project), "--trial", str(number), "--to", to, *options,
               "--output", str(folder))  # fmt: skip
    return folder, spent


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of an export."""
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def build(project: str, network: Network) -> Built:
    """Export a network as Verilog, and synthesise it with Yosys where it is installed."""
    folder, spent = exported(project, network.number, "verilog", "--set", "fuses_adders=false")
    manifest = manifest_of(folder)
    facts, results = manifest["facts"], KeptResults(FOLDER / "synthesis.sqlite")
    key = json.dumps(manifest["files"])
    cells = results.get(key)
    if cells is None and has_yosys():
        sources = {own: (folder / "src" / own).read_text(encoding="utf-8") for own in facts["sources"]}
        started = time.monotonic()
        found = synthesised_sources(sources, facts["top"])
        seconds = time.monotonic() - started
        cells = {"luts": float(found.luts), "flip_flops": float(found.flip_flops), "seconds": seconds}
        results.put(key, cells)
    return Built(network, manifest, spent, cells or {})


def print_built(built: Sequence[Built]) -> None:
    """The circuits: accuracy on the test set with its interval, LUTs by three counts, latency."""
    print(
        "\n| trial | test accuracy [95 %] | LUTs by layer | whole circuit | Yosys | flip-flops | cycles | ns | differ |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for own in built:
        facts, accuracy = own.manifest["facts"], tested(own.network)
        differ = [f"{check['differing']:,} of {check['outputs']:,}" for check in own.manifest["checks"]]
        cells = (
            f"{accuracy[0]:.3f} [{accuracy[1]:.3f}, {accuracy[2]:.3f}]",
            f"{own.network.metrics['luts']:,.0f}",
            f"{facts['luts']:,.0f}",
            f"{own.cells['luts']:,.0f}" if own.cells else "–",
            f"{facts['flip_flops']:,}",
            f"{facts['cycles']}",
            f"{facts['latency_ns']:g}",
            ", ".join(dict.fromkeys(differ)),
        )
        print(f"| {own.network.number} | {' | '.join(cells)} |", flush=True)


def tested(network: Network) -> tuple[float, float, float]:
    """The accuracy on the test set, with the bounds of its 95 % interval."""
    assert network.test_metrics is not None
    return network.test_metrics["accuracy"]
