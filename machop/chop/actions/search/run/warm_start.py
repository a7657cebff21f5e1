"""Warm start: takes trials and points over from earlier searches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chop.actions.search.search_space.base import Point, SampledConfig, SearchSpaceBase
from chop.actions.search.strategies.optuna.storage import (
    StoredPoint,
    is_storage,
    points_of_storage,
    stored,
    without_password,
)
from chop.errors import PassError, SearchError, WrongSearchError
from chop.passes.graph.transforms.quantize.quantize import plan_from_config
from chop.record.damage import DAMAGES
from chop.record.folder import SearchFolder
from chop.record.landscape_key import LANDSCAPE_PARTS, digest, landscape_key
from chop.record.names import ALL_ROWS_FILE, INITIAL_FILE, search_folder
from chop.record.trial import Objective, Trial
from chop.record.trials import row_to_trial, trial_to_row
from chop.tools.file_kinds import wrong_kind
from chop.tools.logger import get_logger
from chop.tools.whole_numbers import from_json, readable

logger = get_logger(__name__)

DEFAULTS = ("NA", False, None)
"""Values of a key that a network does not name, in the order in which they are looked for among the choices."""


@dataclass(frozen=True)
class Initial:
    """The start of a search: `inherited` trials keep their metrics, `first` points are measured before others.

    `names` are the earlier searches, as the user gave them.
    """

    names: tuple[str, ...] = ()
    inherited: tuple[Trial, ...] = ()
    first: tuple[Point, ...] = ()

    def fingerprint(self) -> dict[str, Any]:
        """The start that a resumed search must have too; empty for a search without one."""
        return {"init_from": [*self.names, digest(self._as_json())]} if self.names else {}

    def write(self, files: SearchFolder) -> None:
        """Store the start with the search, in place of an earlier one, so that the earlier searches may be deleted."""
        files.write_initial(self._as_json() if self.names else None)

    @classmethod
    def read(cls, folder: Path, names: Sequence[str]) -> Initial:
        """The start of the search in a folder; `names`, if any, must be those of its first run."""
        path = folder / INITIAL_FILE
        found = cls()
        row = SearchFolder(folder).document(INITIAL_FILE)
        if row is not None:
            try:
                inherited = tuple(row_to_trial(trial) for trial in row["inherited"])
                found = cls(tuple(row["names"]), inherited, tuple(row["first"]))
            except DAMAGES as error:
                raise SearchError(f"{path} is damaged ({error!r}); start anew without --resume") from error
        shown = tuple(map(without_password, names))
        if shown and shown != found.names:
            began = f"--init-from {' --init-from '.join(found.names)}" if found.names else "no --init-from"
            raise WrongSearchError(f"the search in {folder} began with {began}: give the same, or none, with --resume")
        return found

    def _as_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "inherited": [trial_to_row(trial) for trial in self.inherited],
            "first": [dict(point) for point in self.first],
        }


NOTHING = Initial()


@dataclass(frozen=True)
class _Source:
    """An earlier search: its trials, if they can be taken over, else its points; None: not in this space."""

    name: str
    trials: Sequence[Trial] = ()
    points: Sequence[Point | None] = ()
    why: str = ""


def gather(
    names: Sequence[str],
    space: SearchSpaceBase,
    fingerprint: Mapping[str, Any],
    objectives: Sequence[Objective],
    wanted: Collection[str],
) -> Initial:
    """Collect the start from the searches `names`, for a search with this fingerprint.

    Trials of a search that measured the same things on the same space, the metrics `wanted` among them, are taken over.
    Of any other, and of a storage of Optuna, whose figures nobody vouches for, the points are: those that this space
    has, in the order of the trials. Each point once.

    Raises WrongSearchError for a name that is no search, and for one that has no point in this space.
    """
    inherited: dict[tuple[int, ...], Trial] = {}
    first: dict[tuple[int, ...], Point] = {}
    for source in [_read(name, space, fingerprint, wanted) for name in names]:
        _tell(source, space)
        for trial in source.trials:
            taken = replace(trial, number=len(inherited), inherited=source.name, repeats=None)
            scaled = {} if trial.failed else {o.metric: o.scale * trial.metrics[o.metric] for o in objectives}
            inherited.setdefault(space.key(trial.point), replace(taken, scaled_metrics=scaled))
        for point in source.points:
            if point is not None:
                first.setdefault(space.key(point), point)
    points = tuple(point for key, point in first.items() if key not in inherited)
    return Initial(tuple(map(without_password, names)), tuple(inherited.values()), points)


def _tell(source: _Source, space: SearchSpaceBase) -> None:
    if source.trials:
        logger.info("%s: %d trials are taken over as they were measured", source.name, len(source.trials))
        return
    found = {space.key(point) for point in source.points if point is not None}
    if not found:
        raise WrongSearchError(
            f"--init-from {source.name}: none of its {len(source.points)} points is one of the "
            f"{readable(space.size)} of this space; leave it out, or give the space its nodes, keys and choices"
        )
    logger.info(
        "%s: %d of its %d points are in this space and are measured first, anew: %s",
        source.name,
        len(found),
        len(source.points),
        source.why,
    )


def _read(name: str, space: SearchSpaceBase, fingerprint: Mapping[str, Any], wanted: Collection[str]) -> _Source:
    path = Path(name)
    is_record = path.suffix in (".json", ".jsonl")
    folder = path.parent if is_record else path if path.is_file() else search_folder(path)
    if folder.is_dir():
        return _read_folder(name, folder, space, fingerprint, wanted)
    if problem := wrong_kind(path, (), "a search", "give the folder of one, as mase_output/NAME"):
        raise WrongSearchError(f"--init-from {problem}")
    if is_storage(name):
        points = [_stored_point(space, found) for found in points_of_storage(name)]
        return _Source(without_password(name), points=points, why="a storage of Optuna says nothing of how it measured")
    raise WrongSearchError(
        f"--init-from {name}: there is no such folder (search_ckpts of a search) and no such storage of Optuna "
        "(sqlite:///FILE.db#STUDY, or a journal FILE.log#STUDY)"
    )


def _read_folder(
    name: str, folder: Path, space: SearchSpaceBase, fingerprint: Mapping[str, Any], wanted: Collection[str]
) -> _Source:
    earlier = SearchFolder(folder)
    if earlier.log is None:
        raise WrongSearchError(
            f"--init-from {name}: no search there; give the folder search_ckpts of one, with its log"
        )
    theirs = earlier.fingerprint
    if landscape_key(theirs) == landscape_key(fingerprint):
        if (folder / ALL_ROWS_FILE).exists():
            _rows(folder)  # a log among the files of another search is noticed here
        trials = earlier.logged().trials if earlier.is_by_trial else list(_front(folder, space))
        trials = [trial for trial in trials if trial.repeats is None and trial.stopped_at is None]
        if not trials:
            raise WrongSearchError(
                f"--init-from {name}: that search has no trial yet; resume it first, or leave it out"
            )
        missing = [own for own in wanted if any(own not in trial.metrics for trial in trials if not trial.failed)]
        if missing:
            return _Source(name, points=[trial.point for trial in trials], why=f"it lacks {', '.join(sorted(missing))}")
        return _Source(name, trials)
    differing = [key for key in LANDSCAPE_PARTS if digest(theirs.get(key)) != digest(fingerprint.get(key))]
    rows = _rows(folder)
    points = [_point_of(space, row["sampled_config"]) for row in rows if "repeats" not in row]
    return _Source(name, points=points, why=f"{', '.join(differing)} differ")


def _front(folder: Path, space: SearchSpaceBase) -> Iterator[Trial]:
    """The stored trials of a search block by block: its front."""
    for row in _rows(folder):
        point = dict(space.point(from_json(row["point"])))
        yield Trial(row["number"], point, row["software_metrics"], row["hardware_metrics"], row["scaled_metrics"])


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        return SearchFolder(folder).rows(ALL_ROWS_FILE)
    except SearchError as error:
        raise WrongSearchError(f"--init-from {folder}: no finished search there ({error})") from error


def _point_of(space: SearchSpaceBase, config: SampledConfig) -> Point | None:
    """The point that means the same network as a config of another search; None if there is none."""
    point: dict[str, int] = {}
    for key, choices in space.choices_flattened.items():
        node, _, name = key.partition("/config/")
        index = _choice(choices, config.get(node, {}).get("config", {}), name)
        if index is None:
            return None
        if len(choices) > 1:
            point[key] = index
    try:
        same = plan_from_config(space.graph, config) == space.plan(point)
    except PassError:
        return None  # a node or a format that is not here
    return space.canonical(point) if same else None


def _stored_point(space: SearchSpaceBase, found: StoredPoint) -> Point | None:
    """The point of a trial in an Optuna storage: by its config, else by parameters named like the keys of the space."""
    if found.config is not None:
        return _point_of(space, found.config)
    choices = {key: [stored(value) for value in values] for key, values in space.choices_flattened.items()}
    if not set(space.parameters) <= set(found.params) <= set(choices):
        return None
    if any(value not in choices[key] for key, value in found.params.items()):
        return None
    return space.canonical({key: choices[key].index(found.params[key]) for key in space.parameters})


def _choice(choices: Sequence[Any], config: Mapping[str, Any], name: str) -> int | None:
    """The index of the choice that a node's config has for a key; without one that of a default, or 0."""
    if name in config:
        return choices.index(config[name]) if config[name] in choices else None
    return next((choices.index(value) for value in DEFAULTS if value in choices), 0)
