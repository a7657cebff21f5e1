"""Resolves the options of a run: default < TOML file < command line, with the source and problems of each."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_type_hints

import tomlkit

from chop.config.options import CODE_OPTIONS, RunOptions
from chop.config.overrides import Override, flag_of, overridden
from chop.config.space_training import SpaceTrainingOptions
from chop.config.toml_document import TomlDocument
from chop.config.typed import Problem, check_value, parse_table, unknown_key
from chop.errors import ChopError, ConfigError, nearest
from chop.tools.file_kinds import not_weights
from chop.tools.option_names import option
from chop.tools.user_code import is_user_reference

Source = Literal["default", "file", "command line"]
SPACE_TRAINING = "train_for_space"
NOUNS = {"model": "model", "dataset": "data"}
"""What a function of the user returns for an option."""

TABLES = ("search", "passes", "transform", SPACE_TRAINING)
PATH_OPTIONS = ("load_name", "project_dir")


@dataclass(frozen=True)
class RunConfig:
    """The resolved options, the tables of the file, and all problems found."""

    options: RunOptions
    sources: Mapping[str, Source]
    overridden: Mapping[str, Any] = field(default_factory=dict)
    document: TomlDocument | None = None
    tables: Mapping[str, Any] = field(default_factory=dict)
    of_options: tuple[str, ...] = ()
    """The problems of the options but for names, and of values of the command line that have no place in the tables."""

    overrides: tuple[Override, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems that show before a command reads its tables."""
        _, found = parse_table(SpaceTrainingOptions, self.tables.get(SPACE_TRAINING, {}))
        told = (self.line_of(problem.below(SPACE_TRAINING)) for problem in found)
        return (*self.of_options, *self._of_names, *told)

    @cached_property
    def _of_names(self) -> list[str]:
        """The problems of the names of model, data set and task: to look them up imports torch."""
        named = [key for key in CODE_OPTIONS if getattr(self.options, key) is not None]
        given = {key: None for key, source in self.sources.items() if source == "command line"}
        problems = [text for key in named for text in _name_problems(key, self.options, given, self.document)]
        return [*self.not_named, *problems, *_task_problems(self.options, given, self.document)]

    @cached_property
    def not_named(self) -> list[str]:
        """The problems that no model, or no data set, is named."""
        where = self.document.where if self.document else lambda path: "command line"
        in_file = self.document.data if self.document else {}
        missing = [key for key in CODE_OPTIONS if getattr(self.options, key) is None and key not in in_file]
        return [f"{where((key,))}: {key}: is missing; name one of `ch info {key}`" for key in missing]

    def raise_if_problems(self) -> None:
        """Raise ConfigError with all problems, if there are any."""
        if self.problems:
            raise ConfigError(self.problems)

    def where(self, *path: str) -> str:
        """The place where a key was set: file and line, or the command line with the flag that set it."""
        has_line = self.document is not None and path in self.document.lines
        if flag := flag_of(path, self.overrides, has_line):
            return f"command line: {flag}"
        return self.document.where(path) if self.document else "command line"

    def line_of(self, problem: Problem) -> str:
        """A problem of a table with the place where its key was set, and with that of a key that it contradicts."""
        where = self.where(*problem.path)
        told = f"{where}: {'.'.join(problem.path)}: {problem.message}"
        other = where if problem.beside is None else self.where(*problem.beside)
        return told if problem.beside is None or other == where else f"{told} ({problem.beside[-1]} is set at {other})"

    def with_overrides(self, overrides: Sequence[Override]) -> RunConfig:
        """The same with values of the command line in the tables, as if the file had them."""
        tables, problems = overridden(self.tables, overrides, self.overrides)
        return replace(
            self,
            tables=tables,
            of_options=(*self.of_options, *problems),
            overrides=(*self.overrides, *overrides),
        )


def load_run_config(config_path: Path | None, command_line: Mapping[str, Any]) -> RunConfig:
    """The options from a TOML file (or None) and the command line's `{option: value}`.

    Raises ConfigError at once only for a file that is missing or no TOML, and for a TOML file in place of a name; other
    problems are gathered.
    """
    for key in CODE_OPTIONS:
        if (name := str(command_line.get(key))).endswith(".toml"):
            raise ConfigError([f"command line: {key}: {name} is a TOML file; write --config {name}"])
    document = TomlDocument.read(config_path) if config_path else None
    data = document.data if document else {}
    from_file = {key: value for key, value in data.items() if key not in TABLES}
    problems = _file_problems(document, from_file, command_line) if document else []
    problems += _command_line_problems(command_line)
    known = {key: value for key, value in from_file.items() if key in option_names() and not _refused(key, value)}
    given = {key: value for key, value in command_line.items() if not _wrong(key, value)}
    options = RunOptions(**{**known, **given})
    return RunConfig(
        options=options,
        sources={name: _source(name, known, given) for name in option_names()},
        overridden={key: value for key, value in known.items() if key in given},
        document=document,
        tables=_tables(data),
        of_options=tuple(problems),
    )


def _tables(data: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a file; a misspelt name, which is reported, counts as the one that is meant.

    So errors that only follow from the misspelt name are not reported.
    """
    found = {key: data[key] for key in TABLES if key in data}
    known = [*option_names(), *TABLES]
    for key in data:
        meant = nearest(key, known) if key not in known else None
        if meant in TABLES and isinstance(data[key], Mapping):
            found[meant] = _merged(data[key], found.get(meant, {}))
    return found


def _merged(first: Any, second: Any) -> Any:
    """Two tables in one, and those within them; of two other values the second."""
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return second
    both = {key: _merged(first[key], second[key]) for key in first if key in second}
    return {**first, **second, **both}


def dump_toml(config: RunConfig) -> str:
    """The resolved options and tables as TOML that loads back to the same values.

    Paths are made absolute, None is left out.
    """
    values = {name: getattr(config.options, name) for name in option_names()}
    for name in PATH_OPTIONS:
        if values[name] is not None:
            values[name] = str(Path(values[name]).resolve())
    known = {name: value for name, value in values.items() if value is not None}
    return tomlkit.dumps({**known, **config.tables})


def option_names() -> list[str]:
    """The names of all shared options."""
    return [f.name for f in fields(RunOptions)]


@cache
def option_types() -> dict[str, Any]:
    """The type of each shared option, with its bounds."""
    return get_type_hints(RunOptions, include_extras=True)


def _wrong(key: str, value: Any) -> str | None:
    wrong = check_value(option_types()[key], value)
    if wrong or value is None or key not in (*PATH_OPTIONS, "project"):
        return wrong
    further = {"project": _outside, "load_name": _no_weights}.get(key)
    return _no_path(value) or (further(value) if further else None)


def _outside(project: str) -> str | None:
    """The problem of a project whose folder would not lie within that of all projects, whatever a file says."""
    path = Path(project)
    if not path.is_absolute() and ".." not in path.parts:
        return None
    return f"expected a folder within that of all projects, got {project!r}; another folder of all is --project-dir"


def _no_weights(file: str) -> str | None:
    """The problem of a file that holds no weights, before torch is imported to read it."""
    return not_weights(Path(file))


def _no_path(value: str) -> str | None:
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        return f"{value[error.start]!r} cannot stand in a path in this locale ({error.encoding}); set PYTHONUTF8=1"
    return None


def _is_code(key: str, value: Any) -> bool:
    """Whether a file asks to run the user's code, which only the command line may do."""
    return key in CODE_OPTIONS and isinstance(value, str) and is_user_reference(value)


def _refused(key: str, value: Any) -> bool:
    return _is_code(key, value) or _wrong(key, value) is not None


def _file_problems(document: TomlDocument, values: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    problems = []
    for key, value in values.items():
        if key not in option_names():
            message: str | None = unknown_key(key, [*option_names(), *TABLES]).message
        elif _is_code(key, value):
            told = f"a file is never run on a config's word; give --{key} {shlex.quote(value)} on the command line"
            message = None if key in given else told
        else:
            message = _wrong(key, value)
        if message:
            problems.append(f"{document.where((key,))}: {key}: {message}")
    return problems


def _command_line_problems(values: Mapping[str, Any]) -> list[str]:
    wrong = ((key, _wrong(key, value)) for key, value in values.items())
    return [f"command line: {typed_flag(key)}: {message}" for key, message in wrong if message]


def typed_flag(name: str) -> str:
    """The flag of a shared option in the spelling that was typed."""
    return option(flag_of_option(name).removeprefix("--"))


def flag_of_option(name: str) -> str:
    """The flag of a shared option on the command line."""
    flags = next(f for f in fields(RunOptions) if f.name == name).metadata["flags"]
    return str(flags[0]) if flags else f"--{name.replace('_', '-')}"


def _source(name: str, from_file: Mapping[str, Any], given: Mapping[str, Any]) -> Source:
    if name in given:
        return "command line"
    return "file" if name in from_file else "default"


def _name_problems(key: str, options: RunOptions, given: Mapping[str, Any], document: TomlDocument | None) -> list[str]:
    """The problems of an unknown model or data set."""
    name = getattr(options, key)
    where = "command line" if key in given or document is None else document.where((key,))
    if is_user_reference(name):
        return []
    if name.endswith(".py"):
        return [f"{where}: {key}: {name} names a file alone; give {name}:FUNCTION, which returns the {NOUNS[key]}"]
    try:
        _registry(key).canonical(name)
    except ChopError as error:
        return [f"{where}: {key}: {error}"]
    return []


def _task_problems(options: RunOptions, given: Mapping[str, Any], document: TomlDocument | None) -> list[str]:
    """The problem of a task that cannot be had; the user's own code may register one when it is run."""
    is_default = options.task == RunOptions.task
    if is_default or any(is_user_reference(getattr(options, key) or "") for key in CODE_OPTIONS):
        return []
    from chop.scoring.task import task_class

    try:
        task_class(options.task)
    except ChopError as error:
        where = "command line" if "task" in given or document is None else document.where(("task",))
        return [f"{where}: task: {error}"]
    return []


def _registry(key: str) -> Any:
    if key == "model":
        from chop.models import MODELS

        return MODELS
    from chop.dataset import DATASETS

    return DATASETS
