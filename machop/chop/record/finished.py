"""The networks that were tuned after a search: the log `finished.jsonl`, and their graphs in the folder `finished`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chop.errors import SearchError
from chop.record.damage import DAMAGES
from chop.record.json_lines import Header, JsonLines, Line, read_header, read_lines
from chop.record.names import FINISHED, FINISHED_FILE, FINISHED_FOLDER
from chop.record.rows import METRICS
from chop.tools.files import write_whole
from chop.tools.logger import get_logger

logger = get_logger(__name__)

_GRAPH = re.compile(rf"{FINISHED_FOLDER}/trial-\d+-[0-9a-f]{{8}}\.safetensors")
AGAIN = "let ch search --resume tune the network again"


@dataclass(frozen=True)
class TunedNetwork:
    """The network of trial `number`, tuned with the options `tuning`: its metrics, or why it `failed`.

    `graph` is the path of the saved network below the folder of the search, `graph_sha256` its checksum.
    """

    number: int
    tuning: Mapping[str, Any]
    software_metrics: Mapping[str, float]
    hardware_metrics: Mapping[str, float]
    scaled_metrics: Mapping[str, float]
    seconds: float
    graph: str
    graph_sha256: str
    failed: str = ""

    def as_json(self) -> dict[str, Any]:
        """The network as a row of `best.json` holds it, but for its test scores."""
        return {key: value for key, value in asdict(self).items() if key not in ("number", "failed")}

    @property
    def key(self) -> tuple[int, str]:
        """Equal for the same tuning of the same network."""
        return network_key(self.number, self.tuning)


def network_key(number: int, tuning: Mapping[str, Any]) -> tuple[int, str]:
    """The key of a tuning of the network of a trial."""
    return number, hashlib.sha256(json.dumps(tuning, sort_keys=True).encode()).hexdigest()


def graph_path(number: int, tuning: Mapping[str, Any]) -> str:
    """The path of a tuned network below the folder of the search."""
    return f"{FINISHED_FOLDER}/trial-{number}-{network_key(number, tuning)[1][:8]}.safetensors"


class FinishedLog:
    """The log of tuned networks, open for writing; a context manager. What it holds already is not tuned again."""

    def __init__(self, lines: JsonLines, networks: Iterable[TunedNetwork]) -> None:
        self._lines = lines
        self._folder = lines.path.parent
        self._networks = {network.key: network for network in networks}

    @classmethod
    def open(cls, folder: Path, identity: str) -> FinishedLog:
        """The log in the folder of a search with this identity, new or to be continued.

        Raises SearchError where it belongs to another search, or its first line is damaged.
        """
        path = folder / FINISHED_FILE
        if not path.exists():
            return cls(JsonLines.create(path, FINISHED, {}, identity), ())
        lines = JsonLines.open(path, FINISHED)
        try:
            _require_own(path, lines.header, identity)
            networks, problem = _sound(path, lines.lines())
            lines.go_on(map(asdict, networks), bool(problem))
        except BaseException:
            lines.close()
            raise
        return cls(lines, networks)

    def known(self, number: int, tuning: Mapping[str, Any]) -> TunedNetwork | None:
        """The network of a trial as it was tuned with these options; None if it was not, or its graph is damaged."""
        found = self._networks.get(network_key(number, tuning))
        if found is None or found.failed:
            return found
        try:
            checked_graph(self._folder, found.graph, found.graph_sha256)
        except SearchError as error:
            logger.warning("%s", error)
            return None
        return found

    def add(self, network: TunedNetwork, content: bytes) -> TunedNetwork:
        """Write a network, whose graph has this content; both then outlive this process."""
        if not network.failed:
            write_whole(self._folder / network.graph, content)
        self._lines.append(asdict(network))
        self._networks[network.key] = network
        return network

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()


def read_finished(folder: Path, identity: str) -> list[TunedNetwork]:
    """The tuned networks of the search in a folder, without those that failed; of equal ones the last.

    Raises SearchError as `FinishedLog.open` does.
    """
    path = folder / FINISHED_FILE
    if not path.exists():
        return []
    header = read_header(path, FINISHED)
    _require_own(path, header, identity)
    networks, _ = _sound(path, read_lines(path, header))
    return [one for one in {network.key: network for network in networks}.values() if not one.failed]


def last_tuned(networks: Iterable[TunedNetwork], finish: Mapping[str, Any]) -> dict[int, TunedNetwork]:
    """The networks that the options of `finish`, as `summary.json` holds them, have led to, by trial.

    Of a network that was tuned for more and more epochs it is the last.
    """
    known = {network.key: network for network in networks}
    tuning = {key: value for key, value in finish["options"].items() if key not in ("rows", "ladder")}
    found: dict[int, TunedNetwork] = {}
    for epochs in (*finish["options"]["ladder"], tuning["max_epochs"]):
        keys = {number: network_key(number, {**tuning, "max_epochs": epochs}) for number in finish["trials"]}
        found |= {number: known[key] for number, key in keys.items() if key in known}
    return found


def checked_graph(folder: Path, graph: str, sha256: str) -> Path:
    """The path of a tuned network. Raises SearchError where the file is missing, or was changed."""
    path = folder / graph
    if not _GRAPH.fullmatch(graph):
        raise SearchError(f"{folder} names {graph!r} as a tuned network: its files are in {FINISHED_FOLDER}; {AGAIN}")
    if not path.is_file():
        raise SearchError(f"{path} does not exist: the tuned network was removed; {AGAIN}")
    if checksum(path.read_bytes()) != sha256:
        raise SearchError(f"{path} is damaged: it was changed after it was written; {AGAIN}")
    return path


def checksum(content: bytes) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(content).hexdigest()


def _require_own(path: Path, header: Header, identity: str) -> None:
    if header.identity != identity:
        raise SearchError(f"{path} belongs to another search than the log beside it: the folder is a mixed copy")


def _sound(path: Path, lines: Iterable[Line]) -> tuple[list[TunedNetwork], str]:
    """The sound networks, and the first problem."""
    networks: list[TunedNetwork] = []
    problem = ""
    for line in lines:
        try:
            networks.append(_network(line))
        except DAMAGES as error:
            problem = problem or f"line {line.number} is damaged ({error})"
    if problem:
        logger.warning("%s: %s; the %d other networks are used", path, problem, len(networks))
    return networks, problem


def _network(line: Line) -> TunedNetwork:
    if line.problem:
        raise ValueError(line.problem)
    found = TunedNetwork(**line.row)
    numbers = [found.seconds, *(value for name in METRICS for value in dict(getattr(found, name)).values())]
    if any(isinstance(value, bool) or not isfinite(value) for value in numbers):
        raise ValueError("a metric is no number")
    if not isinstance(found.number, int) or found.graph != graph_path(found.number, found.tuning):
        raise ValueError(f"{found.graph!r} is not the file of trial {found.number}")
    return found
