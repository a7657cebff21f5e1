"""Writes the manifest and the README of an export."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chop.exporters.base import Exporter, ExportNetwork
from chop.record.rows import interval_as_json
from chop.tools.extras import DISTRIBUTION

if TYPE_CHECKING:
    from chop.exporters.export import Exported

MANIFEST = "manifest.json"
README = "README.md"
VERSION = 1


def write_manifest(folder: Path, network: ExportNetwork, found: Exported, exporter: Exporter) -> None:
    """Write `manifest.json`: what was exported, its checks and facts, versions, and the sha256 of every file."""
    content = {
        "version": VERSION,
        "to": found.to,
        "options": asdict(exporter.options),
        "network": {**network.about, "formats": formats_of(network)},
        "scores": {name: interval_as_json(own) for name, own in network.scores.items()},
        "checks": [asdict(check) for check in found.checks],
        "not_verified": found.not_verified,
        "facts": dict(found.written.facts),
        "notes": list(found.written.notes),
        "versions": dict(_versions(exporter)),
        "files": {str(path.relative_to(folder)): _sha256(path) for path in _files(folder)},
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def formats_of(network: ExportNetwork) -> dict[str, dict[str, str]]:
    """The format of each operand of each node, as text."""
    plan = network.graph.plan
    return {node: {operand: str(own) for operand, own in plan[node].items()} for node in plan}


def write_readme(folder: Path, network: ExportNetwork, found: Exported) -> None:
    """Write `README.md`: what the files are, and how to run them."""
    (folder / README).write_text("\n".join(_lines(network, found)) + "\n", encoding="utf-8")


def _lines(network: ExportNetwork, found: Exported) -> Iterator[str]:
    about = network.about
    yield f"# {about.get('model', 'A network')} as {found.to}"
    yield ""
    yield " ".join(_sentences(about))
    if network.scores:
        yield from ("", "| score on the test set | value | 95 % interval |", "|---|---|---|")
        for name, (value, low, high) in network.scores.items():
            yield f"| {name} | {value:.4f} | {'-' if isnan(low) else f'{low:.4f} to {high:.4f}'} |"
    if found.not_verified:
        yield from ("", "## Not verified", "", f"{found.not_verified[0].upper()}{found.not_verified[1:]}.")
    else:
        yield from ("", "## Verified on the whole test set", "", *(f"- {check}" for check in found.checks))
    if found.written.notes:
        yield from ("", "## Note", "", *(f"- {note}" for note in found.written.notes))
    if found.written.usage:
        yield from ("", "## How to run it", "", found.written.usage.strip())
    yield from ("", "## Formats", "", "| layer | operand | format |", "|---|---|---|")
    for node, operands in formats_of(network).items():
        for operand, own in operands.items():
            yield f"| {node} | {operand} | {own} |"
    yield from ("", f"`{MANIFEST}` has the versions of all tools, and the sha256 of each file.")


def _sentences(about: Mapping[str, Any]) -> Iterator[str]:
    """Where the network comes from."""
    yield "A quantised network, written by `chop`."
    if "trial" in about:
        search = f"the search `{about['search']}`" if "search" in about else "a search from Python"
        yield f"It is trial {about['trial']} of {search}."
    if "dataset" in about:
        yield f"Its data set is {about['dataset']}."


def _versions(exporter: Exporter) -> Iterator[tuple[str, str]]:
    yield "torch", torch.__version__
    for name in (DISTRIBUTION, *exporter.distributions):
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "unknown"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
