"""Rebuilds the network of a trial, with the fine-tuning of its search, or of a saved graph; checks the result."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chop.actions.calibration import CALIBRATION_ROWS, calibrate_for
from chop.actions.float_passes import apply_float_passes
from chop.actions.search.search_space.trained_networks import has_own_network
from chop.actions.searched_weights import require_searched_weights
from chop.actions.setup import Prepared, traced
from chop.config.options import RunOptions
from chop.config.run_config import RunConfig
from chop.dataset import DATASETS
from chop.dataset.data import Data, first_batch
from chop.errors import ConfigError, SearchError, UnknownNameError, WrongSearchError
from chop.evaluation.guard import formats_of, require_sound
from chop.ir import MaseGraph
from chop.ir.graph.graph_file import load_onto
from chop.models import MODELS
from chop.models.checkpoint_file import GRAPH_KEY, read_checkpoint
from chop.nn.node_config import require_registered
from chop.passes.graph.transforms.quantize import quantize_transform_pass
from chop.record.folder import SearchFolder
from chop.record.names import ALL_ROWS_FILE, BEST_FILE, CONFIG_FILE, ROW_ENDINGS, search_folder
from chop.record.training import NETWORK_FILE, foreign
from chop.registry import REGISTER_IT, Registry
from chop.scoring.task import TASKS
from chop.tools.user_code import is_user_reference

if TYPE_CHECKING:
    from chop.actions.search.strategies.runners import RunnerBase

MOST_SHOWN = 20


@dataclass(frozen=True)
class SearchRow:
    """A row of `best.json` or `log.json`, and the folder of its search."""

    number: int
    values: Mapping[str, Any]
    folder: Path

    @property
    def config_path(self) -> Path:
        """The file with the options of the search."""
        return self.folder / CONFIG_FILE

    def checked_config(self) -> Path:
        """The same file; raises SearchError if it was changed after the search."""
        return SearchFolder(self.folder).config()

    @property
    def calibration_rows(self) -> int:
        """The number of training samples on which the search measured ranges."""
        return int(self.values.get("calibration_rows", CALIBRATION_ROWS))

    @property
    def tuned(self) -> Mapping[str, Any] | None:
        """The figures and the file of the network that was tuned after the search, if it was."""
        found: Mapping[str, Any] | None = self.values.get("finished")
        return found

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics that were measured for the row: of its tuned network, if there is one."""
        values = self.tuned or self.values
        return {**values["software_metrics"], **values["hardware_metrics"]}

    def tuned_graph(self, graph: MaseGraph) -> MaseGraph:
        """The tuned network, from the graph of the model. Raises SearchError where its file is missing or changed."""
        assert self.tuned is not None
        path = SearchFolder(self.folder).finished_graph(self.tuned["graph"], self.tuned["graph_sha256"])
        return load_onto(graph, path)


def read_row(path: Path, number: int | None, untuned: bool = False) -> SearchRow:
    """The row of trial `number`; `path` is the folder of a search or its project, its `best.json` or its `log.json`.

    It has the tuned network, if it was tuned after the search and tuning made it no worse; not so with `untuned`.
    Raises WrongSearchError where there is no such row, ConfigError where `number` is None: both name trials of the
    front.
    """
    path = search_folder(path, ROW_ENDINGS)
    files = [path / ALL_ROWS_FILE, path / BEST_FILE] if path.is_dir() else [path]
    folder = SearchFolder(files[0].parent)
    rows = _by_number(_rows(folder, files[0].name))
    if path.is_dir():
        tuned = folder.tuned()
        rows |= {own: {**row, "finished": tuned[own].as_json()} for own, row in rows.items() if own in tuned}
        front = _by_number(_rows(folder, BEST_FILE))
        rows |= front
    else:
        front = rows if path.name == BEST_FILE else {}
    if number is None:
        raise ConfigError([f"{path} holds several networks: add --trial NUMBER ({_shown_trials(front, rows)})"])
    if number not in rows:
        raise WrongSearchError(f"{path} has no trial {number} ({_shown_trials(front, rows)})")
    row = {key: value for key, value in rows[number].items() if not (untuned and key == "finished")}
    return SearchRow(number, row, folder.path)


def _shown_trials(front: Collection[int], rows: Collection[int]) -> str:
    """The numbers of the trials of the front, or of all where no front is known.

    >>> _shown_trials([7, 3], range(9)), _shown_trials([], [4])
    ('the front has 3, 7', 'it has 4')
    """
    numbers = sorted(front) or sorted(rows)
    more = ", …" if len(numbers) > MOST_SHOWN else ""
    return f"{'the front' if front else 'it'} has {', '.join(map(str, numbers[:MOST_SHOWN]))}{more}"


def _by_number(rows: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The rows by trial; where a trial is on the front both tuned and untuned, the tuned one, which comes first.

    >>> _by_number([{"number": 0, "finished": {}}, {"number": 0}, {"number": 1}])[0]
    {'number': 0, 'finished': {}}
    """
    return {row["number"]: row for row in reversed(rows)}


def require_searched_subject(options: RunOptions, row: SearchRow) -> None:
    """Raise ConfigError where the options name another model, data set or task than the search of a row had.

    Functions of the user are not compared: their files may have moved.
    """
    searched = tomllib.loads(SearchFolder(row.folder).resolved or "")
    registries: dict[str, Registry[Any]] = {"model": MODELS, "dataset": DATASETS, "task": TASKS}
    problems = []
    for key, registry in registries.items():
        then, now = searched.get(key), getattr(options, key)
        if then is None or now is None or (is_user_reference(then) and is_user_reference(now)):
            continue
        if _canonical(registry, then) != _canonical(registry, now):
            noun = registry.noun
            problems.append(f"{key}: the search in {row.folder} had the {noun} '{then}', and not '{now}': leave it out")
    if problems:
        raise ConfigError(problems)


def _canonical(registry: Registry[Any], name: str) -> str:
    return registry.canonical(name) if name in registry else name


def rebuild(prepared: Prepared, row: SearchRow) -> MaseGraph:
    """The network of a row, with the weights of the prepared model, or with its own where the search trained it.

    Raises SearchError where the row has a format, or a weight transform, that no package here registers, and where the
    prepared model has other weights than the search measured.
    """
    config = row.values["sampled_config"]
    require_registered_formats([config], row.folder)
    if row.tuned:
        return guarded(row.tuned_graph(traced(prepared.model, prepared.data_module)), prepared)
    if has_own_network(config):
        return guarded(_own_network(prepared, row), prepared)
    require_searched_weights(prepared.model, SearchFolder(row.folder), prepared.load_name)
    graph = traced(prepared.model, prepared.data_module)
    graph = apply_float_passes(graph, row.values.get("passes", ()), prepared.data_module)
    calibrate_for(graph, config, prepared.data_module, row.calibration_rows)
    graph, _ = quantize_transform_pass(graph, config)
    return guarded(graph, prepared)


def _own_network(prepared: Prepared, row: SearchRow) -> MaseGraph:
    """The network of a row that has weights of its own; raises SearchError where its file is not of its search."""
    files = SearchFolder(row.folder)
    path = files.network(row.values["sampled_config"][NETWORK_FILE])
    graph = MaseGraph.from_checkpoint(path, prepared.model, first_batch(prepared.data_module, "train", 2)[0])
    if files.holds_search and (reason := foreign(graph.about, path, files.identity)):
        raise SearchError(f"{reason}; ch search --resume trains it again")
    return graph


def require_registered_formats(sampled_configs: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """Raise SearchError where trials in `folder` have a format, or a weight transform, that nothing here registers."""
    try:
        for entry in chain.from_iterable(config.values() for config in sampled_configs):
            if isinstance(entry, Mapping):
                require_registered(entry["config"])
    except UnknownNameError as error:
        raise SearchError(f"{folder} has a format that is not known here ({error}): {REGISTER_IT}") from error


def guarded(graph: MaseGraph, prepared: Prepared) -> MaseGraph:
    """Return the graph itself; raises GraphError if the guard finds that it does not compute what its plan says."""
    if graph.plan.choices:
        require_sound(graph, first_batch(prepared.data_module, "train", 2)[0], formats_of(graph.plan))
    return graph


def adapt(graph: MaseGraph, run_config: RunConfig, data_module: Data) -> None:
    """Change a rebuilt network as the runners of the search did before they measured it: fine-tune it, if they did."""
    for runner in _runners(run_config, data_module):
        runner.adapt(graph)


def is_adapted(row: SearchRow, run_config: RunConfig, data_module: Data) -> bool:
    """Whether the network of a row is not what `rebuild` returns: its search fine-tuned it before it was measured."""
    from chop.actions.search.strategies.runners import RunnerBase

    runners = () if row.tuned else _runners(run_config, data_module)
    return any(type(runner).adapt is not RunnerBase.adapt for runner in runners)


def _runners(run_config: RunConfig, data_module: Data) -> list[RunnerBase]:
    """The runners of a search."""
    from chop.actions.search.settings.search import parse_search_settings
    from chop.actions.search.strategies.runners import RUNNERS

    settings, _ = parse_search_settings(run_config.tables.get("search"), data_module)
    return [RUNNERS[choice.name](data_module, choice.options) for choice in (settings.runners if settings else ())]


def load_saved_graph(path: str | None, prepared: Prepared) -> MaseGraph | None:
    """The graph under `--load` if that file is a saved graph, else None."""
    if path is None or Path(path).is_dir() or GRAPH_KEY not in read_checkpoint(path).metadata:
        return None
    example = first_batch(prepared.data_module, "train", 2)[0]
    return guarded(MaseGraph.from_checkpoint(path, prepared.model, example), prepared)


def _rows(folder: SearchFolder, file: str) -> list[dict[str, Any]]:
    rows = folder.rows(file)
    if not all({"number", "sampled_config", "software_metrics", "hardware_metrics"} <= set(row) for row in rows):
        raise SearchError(
            f"{folder.path / file} is not the result of a search (rows without number, sampled_config or metrics)"
        )
    return rows
