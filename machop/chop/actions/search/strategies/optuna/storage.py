"""Writes searches into a storage of Optuna, for its dashboard, and reads points from one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chop.actions.search.strategies.optuna.samplers import import_optuna, quiet
from chop.errors import SearchError, WrongSearchError
from chop.record.folder import SearchFolder
from chop.record.goals import Goals
from chop.record.names import ALL_ROWS_FILE, TRIALS_FILE, search_folder
from chop.record.trial import Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

CONFIG_ATTRIBUTE = "sampled_config"
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class StoredPoint:
    """A trial in a storage as a point: its parameters and, if chop wrote it, its config."""

    params: Mapping[str, Any]
    config: Mapping[str, Any] | None


def is_storage(name: str) -> bool:
    """Whether a name, perhaps followed by `#STUDY`, is an address or a file that exists."""
    address = name.partition("#")[0]
    return "://" in address or Path(address).is_file()


def points_of_storage(name: str) -> list[StoredPoint]:
    """The points of all complete trials of the study `STORAGE#STUDY`; with one study there its name may be left out.

    Raises SearchError where there is no such study.
    """
    optuna = import_optuna()
    address, _, study_name = name.partition("#")
    shown = without_password(name)
    with _storage_errors(shown):
        storage = _open(address, must_exist=True)
        names = sorted(study.study_name for study in storage.get_all_studies())
        if not study_name and len(names) == 1:
            study_name = names[0]
        if study_name not in names:
            there = ", ".join(names) or "none"
            raise WrongSearchError(f"{shown}: name one of its studies, as in 'STORAGE#STUDY' (there: {there})")
        trials = optuna.load_study(study_name=study_name, storage=storage).get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return [StoredPoint(trial.params, _config_of(trial)) for trial in complete]


def export_search(folder: Path, storage: str, study_name: str | None = None) -> tuple[str, int]:
    """Write the trials of a search into a new study; returns its name and the number of trials.

    `folder` is that of a search, or of its project. Either the whole study is there afterwards or nothing of it. Raises
    SearchError for a folder without trials, and for a study that is there already.
    """
    optuna = import_optuna()
    folder = search_folder(folder)
    search = _LoggedSearch.read(folder)
    name = study_name or _default_name(folder)
    shown = without_password(storage)
    with _storage_errors(shown):
        opened = _open(storage, must_exist=False)
        directions = list(search.goals.directions)
        try:
            with quiet():
                study = optuna.create_study(study_name=name, storage=opened, directions=directions)
        except optuna.exceptions.DuplicatedStudyError as error:
            raise WrongSearchError(f"{shown} has a study '{name}' already: choose another --study-name") from error
        try:
            _fill(study, search)
        except BaseException:
            optuna.delete_study(study_name=name, storage=opened)
            raise
    return name, len(search.trials)


def without_password(name: str) -> str:
    """The address of a storage without its password.

    >>> without_password("mysql://me:secret@host/db#study")
    'mysql://me:***@host/db#study'
    >>> without_password("mysql://me:p@ss/word@host/db?password=secret")
    'mysql://me:***@host/db?password=***'
    """
    hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", name)
    return re.sub(r"([?&]password=)[^&#]*", r"\1***", hidden)


def stored(value: Any) -> Any:
    """A choice as Optuna can hold it: numbers and names unchanged, lists as text.

    >>> stored(8), stored("NA"), stored([1, 16])
    (8, 'NA', '[1, 16]')
    """
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


@dataclass(frozen=True)
class _LoggedSearch:
    """A search read from its folder; `choices` are those of the keys, as Optuna takes them."""

    trials: Sequence[Trial]
    choices: Mapping[str, Sequence[Any]]
    goals: Goals
    started: datetime
    configs: Mapping[int, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> _LoggedSearch:
        path = folder / TRIALS_FILE
        logged = SearchFolder(folder).logged()
        header, trials = logged.header.values, logged.trials
        if logged.problem:
            raise SearchError(f"{path}: {logged.problem}; go on with --resume, which measures it again")
        if not trials:
            raise SearchError(f"{path} holds no trial yet; go on with --resume")
        try:
            started = datetime.fromisoformat(header["started"]).astimezone().replace(tzinfo=None)
            choices = {key: [stored(value) for value in values] for key, values in header["choices"].items()}
            goals, configs = Goals.from_json(header["goals"]), _configs(folder)
            missing = len(configs.keys() - {trial.number for trial in trials})
            if missing:
                raise SearchError(
                    f"{path} lacks {missing} of the trials in {ALL_ROWS_FILE}: measure them again with --resume"
                )
            return cls(trials, choices, goals, started, configs)
        except (ValueError, KeyError, TypeError) as error:
            raise SearchError(f"{path} does not say what its numbers mean ({error!r}); run that search anew") from error

    def values(self, trial: Trial) -> list[float] | None:
        """The values of a trial for Optuna; None if it has none."""
        return None if trial.failed or trial.stopped_at is not None else list(self.goals.values(trial.metrics))


def _configs(folder: Path) -> dict[int, Mapping[str, Any]]:
    """The configs of the trials, as far as the search has written them."""
    if not (folder / ALL_ROWS_FILE).is_file():
        return {}
    return {row["number"]: row["sampled_config"] for row in SearchFolder(folder).rows(ALL_ROWS_FILE)}


def _fill(study: Study, search: _LoggedSearch) -> None:
    with quiet():
        study.set_metric_names(list(search.goals.names))
    at = search.started
    trials = []
    for trial in search.trials:
        until = at if trial.inherited else at + timedelta(seconds=trial.seconds)
        trials.append(_frozen(trial, search, at, until))
        at = until
    study.add_trials(trials)


def _frozen(trial: Trial, search: _LoggedSearch, started: datetime, ended: datetime) -> FrozenTrial:
    import optuna

    states, goals = optuna.trial.TrialState, search.goals
    values = search.values(trial)
    violations = () if trial.failed else goals.violations(trial.metrics)
    frozen = optuna.trial.create_trial(
        state=states.COMPLETE if values else states.FAIL if trial.failed else states.PRUNED,
        values=values,
        params={key: search.choices[key][index] for key, index in trial.point.items()},
        distributions={key: optuna.distributions.CategoricalDistribution(search.choices[key]) for key in trial.point},
        user_attrs=_attributes(trial, search),
        constraints={str(constraint): beyond for constraint, beyond in zip(goals.constraints, violations, strict=False)}
        or None,
    )
    frozen.datetime_start, frozen.datetime_complete = started, ended
    return frozen


def _attributes(trial: Trial, search: _LoggedSearch) -> dict[str, Any]:
    """The attributes of a trial: all metrics and other facts."""
    told = {name: getattr(trial, name) for name in ("failed", "inherited", "repeats", "stopped_at")}
    found = {**trial.metrics, **{name: value for name, value in told.items() if value not in ("", None)}}
    config = search.configs.get(trial.number)
    return {**found, CONFIG_ATTRIBUTE: json.dumps(config)} if config else found


def _config_of(trial: FrozenTrial) -> Mapping[str, Any] | None:
    try:
        config = json.loads(trial.user_attrs[CONFIG_ATTRIBUTE])
    except (KeyError, TypeError, ValueError):
        return None
    return config if isinstance(config, Mapping) else None


def _default_name(folder: Path) -> str:
    """The project's name: that of the folder two above search_ckpts."""
    parts = folder.resolve().parts
    return parts[-3] if len(parts) > 3 and parts[-2] == "software" else parts[-1]


def _open(address: str, must_exist: bool) -> BaseStorage:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    file = Path(address.removeprefix(SQLITE)) if address.startswith(SQLITE) else Path(address)
    if "://" in address and not address.startswith(SQLITE):
        return optuna.storages.RDBStorage(address)
    if not address.startswith(SQLITE) and file.suffix != ".log" and not file.is_file():
        raise WrongSearchError(
            f"{address}: expected {SQLITE}FILE.db, another database's address, or a journal FILE.log"
        )
    if must_exist and not file.is_file():
        raise WrongSearchError(f"{address}: there is no file {file}")
    if not file.parent.is_dir():
        raise WrongSearchError(f"{address}: there is no folder {file.parent}; make it first")
    if address.startswith(SQLITE):
        return optuna.storages.RDBStorage(address)
    return optuna.storages.JournalStorage(JournalFileBackend(address))


@contextmanager
def _storage_errors(name: str) -> Iterator[None]:
    """Turn errors of Optuna and the database into one line."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    expected = (optuna.exceptions.OptunaError, SQLAlchemyError, OSError, RuntimeError, ValueError, ImportError)
    try:
        yield
    except expected as error:
        line = str(error).strip().partition("\n")[0]
        raise SearchError(f"{name} cannot be used as a storage of Optuna ({type(error).__name__}: {line})") from error
