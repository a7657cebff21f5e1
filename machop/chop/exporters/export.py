"""Exports a network: refuses, writes, verifies, and leaves a folder with a manifest, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chop.config.typed import Problem, UnknownKey, parse_table
from chop.errors import ExportError, WrongExportOptionsError, WrongFolderError
from chop.exporters.base import EXPORTERS, Check, Exporter, ExportNetwork, Written
from chop.exporters.manifest import MANIFEST, write_manifest, write_readme
from chop.tools.folder_lock import only_writer
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """A finished export: its folder, its checks, and the facts and notes of the exporter.

    `not_verified` says why there are no checks, where the options ask for none.
    """

    folder: Path
    to: str
    checks: tuple[Check, ...]
    written: Written
    not_verified: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the files were run, and no output differs in any required check."""
        return bool(self.checks) and not any(check.differing for check in self.checks if check.required)


def exporter_of(to: str, options: Mapping[str, Any] | None = None) -> Exporter:
    """The exporter of a name, with options by name; raises UnknownNameError, or WrongExportOptionsError."""
    cls = EXPORTERS[to]
    parsed, problems = parse_table(cls.Options, dict(options or {}))
    if problems:
        raise WrongExportOptionsError(f"{to}: the options are wrong:", [_told(own) for own in problems])
    return cls(parsed)


def _told(problem: Problem) -> str:
    """A wrong option, with the exporters that have one of that name where this one has not."""
    key = ".".join(problem.path)
    having = [name for name, cls in EXPORTERS.working().items() if key in {own.name for own in fields(cls.Options)}]
    elsewhere = f" (an option of {', '.join(having)})" if isinstance(problem, UnknownKey) and having else ""
    return f"{key}: {problem.message}{elsewhere}"


def export(
    network: ExportNetwork,
    to: str,
    output: Path | str,
    options: Mapping[str, Any] | None = None,
    allow_differences: bool = False,
    report: Report = lambda line: None,
) -> Exported:
    """Write a network for another tool into the folder `output`, and verify it on the whole test set.

    An earlier export in that folder is replaced. `report` is told each check as it is done.

    Raises ExportError where packages are missing, where the network cannot be exported (with all reasons), and where an
    output differs, unless `allow_differences`. Then nothing is left.
    """
    exporter, folder = exporter_of(to, options), Path(output)
    exporter.require_packages()
    require_replaceable(folder)
    require_exportable(exporter, network)
    return write_verified(exporter, network, folder, allow_differences, report)


def require_exportable(exporter: Exporter, network: ExportNetwork) -> None:
    """Raise ExportError, with all reasons, for a network that cannot be exported; nothing is written or measured."""
    if problems := exporter.problems(network):
        name = EXPORTERS.name_of(type(exporter))
        raise ExportError(f"the network cannot be exported to {name}:", problems)


def write_verified(
    exporter: Exporter, network: ExportNetwork, folder: Path, allow_differences: bool, report: Report
) -> Exported:
    """Write and verify a network that can be exported, as `export` does."""
    name = EXPORTERS.name_of(type(exporter))
    if exporter.not_verified() is None:
        logger.info("%s: the files are written, then compared with the network on the whole test set", name)
    with only_writer(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name[:100]}.", dir=folder.parent) as beside:
            draft = Path(beside) / "export"
            draft.mkdir()
            written = exporter.write(network, draft)
            checks = _checked(exporter, network, draft, allow_differences, report, written.notes)
            found = Exported(folder, name, checks, written, exporter.not_verified())
            described = exporter.network_of_files(network)
            write_readme(draft, described, found)
            write_manifest(draft, described, found, exporter)
            require_replaceable(folder)
            if folder.exists():
                folder.rename(Path(beside) / "before")
            draft.rename(folder)
    return found


def require_replaceable(folder: Path) -> None:
    """Raise WrongFolderError where a folder holds anything but an earlier export."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise WrongFolderError(f"{folder} is a file: choose another --output")
    if any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise WrongFolderError(f"{folder} holds files that are no export: choose another --output, or an empty folder")


def _checked(
    exporter: Exporter,
    network: ExportNetwork,
    draft: Path,
    allow_differences: bool,
    report: Report,
    notes: tuple[str, ...],
) -> tuple[Check, ...]:
    """The checks; raises ExportError for a difference, with the exporter's notes, unless it is allowed."""
    if reason := exporter.not_verified():
        report(f"not verified: {reason}")
        return ()
    checks = []
    for check in exporter.checks(network, draft):
        report(str(check))
        checks.append(check)
    wrong = [str(check) for check in checks if check.required and check.differing]
    if wrong and not allow_differences:
        raise ExportError(
            "the exported files do not compute what the network computes (--allow-differences keeps them):",
            [*wrong, *(f"note: {note}" for note in notes)],
        )
    if not checks:
        raise ExportError(f"{type(exporter).__name__} verified nothing: an exporter must yield a check")
    return tuple(checks)
