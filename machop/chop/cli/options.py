"""The shared options as command-line parameters: one definition (`RunOptions`) serves TOML file and command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from chop.config.options import CODE_OPTIONS, RunOptions
from chop.config.space_training import SpaceTrainingOptions

Action = Callable[..., None]

CONFIG = Annotated[Path | None, typer.Option("--config", help="A TOML file; the command line goes before it.")]
PLUGINS = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file that registers strategies, runners … Repeatable."),
]
OWN_MODEL = Annotated[str | None, typer.Option("--model", help="The model, if it is your own: FILE.py:FUNCTION.")]
OWN_DATASET = Annotated[
    str | None, typer.Option("--dataset", help="The data set, if it is your own: FILE.py:FUNCTION.")
]
DEBUG = Annotated[bool, typer.Option("--debug", help="Log at debug level and show tracebacks.")]
RESUME = Annotated[bool, typer.Option("--resume", help="Go on with the search of this project.")]
FOR_SPACE = Annotated[
    bool,
    typer.Option("--for-space", help="Train for all networks of [search.search_space] at once."),
]
RESUME_TRAINING = Annotated[bool, typer.Option("--resume", help="Go on with the --for-space training of this project.")]
INIT_FROM = Annotated[
    list[str] | None,
    typer.Option(
        "--init-from",
        help="An earlier search to begin with: its folder search_ckpts, or sqlite:///FILE.db#STUDY. Repeatable.",
    ),
]
LIVE = Annotated[
    bool,
    typer.Option("--live", help="Serve the report on this machine while the search runs; its address is printed."),
]
FINISH_EPOCHS = Annotated[
    int | None,
    typer.Option(
        "--finish-epochs",
        help="When the search is done, tune the networks of the front for so many epochs ([search.finish]).",
    ),
]
DRY_RUN = Annotated[
    bool,
    typer.Option("--dry-run", help="Show nodes, choices, points and estimates of time and memory; write nothing."),
]
N_TRIALS = Annotated[int | None, typer.Option("--n-trials", help="End after so many trials (setup.n_trials).")]
STRATEGY_NAME = Annotated[
    str | None, typer.Option("--strategy-name", metavar="NAME", help="A strategy of `ch info strategy`.")
]
METRIC = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME[=maximize|minimize]",
        help="An objective, in place of those of the file. Repeatable. Constraints stay.",
    ),
]


def set_option(where: str, example: str) -> Any:
    """The option `--set` of a command that reads keys `where`."""
    text = f"{where} and its value as in TOML: --set {example}. Repeatable."
    return Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=text)]


SET = set_option("A key below [search]", "strategy.setup.n_jobs=2")
SET_PASS = set_option("A key below [passes]", "quantize.linear.config.weight_width=4")
SET_FOR_SPACE = set_option("With --for-space: a key below [search]", "search_space.setup.by=name")
TARGET = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="TARGET",
        help="Keep the space to what can be exported: fpga, onnx, or one of `ch info exporter` (setup.export_to).",
        show_default=False,
    ),
]
UNTUNED = Annotated[
    bool, typer.Option("--untuned", help="Take the network of --trial as the search measured it, before it was tuned.")
]
FROM_SEARCH = Annotated[
    Path | None,
    typer.Option("--from-search", help="A search's folder, best.json or log.json: use the trial of --trial."),
]
TRIAL = Annotated[int | None, typer.Option("--trial", "--row", help="The trial's number in that search.")]
STRATEGIES = Annotated[
    str | None,
    typer.Option(
        "--strategies",
        help="Names, comma-separated: of `ch info strategy`, Optuna's samplers, or "
        "brute_force_random. [default: all that suit]",
    ),
]
SEEDS = Annotated[int | None, typer.Option("--seeds", help="Runs of each strategy, from --seed on. [default: 10]")]
BUDGET = Annotated[
    int | None, typer.Option("--budget", help="Evaluations of each run. [default: 300, or the whole space]")
]
MOST_POINTS = Annotated[
    int | None, typer.Option("--most-points", help="Largest space that is measured whole. [default: 5000000]")
]
TRIALS_AS_JSON = Annotated[
    bool, typer.Option("--json", help="Print a line of JSON for each trial and one at the end, and nothing else.")
]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]

COMMON: dict[str, Any] = {"config": CONFIG, "plugin": PLUGINS, "debug": DEBUG}
DEFAULTS = {
    "debug": False,
    "dry_run": False,
    "resume": False,
    "as_json": False,
    "for_space": False,
    "untuned": False,
    "live": False,
}


def with_run_options(action: Action, extras: dict[str, Any], trains: bool = True) -> Action:
    """A Typer command that takes all shared options and `extras`, and calls `action(given, **extras and common)`.

    `given` holds the options that the user gave, and no others. The help of a command that does not train leaves out
    the options of training, which a file for several commands holds.
    """

    def command(**values: Any) -> None:
        own = {name: values.pop(name) for name in {**COMMON, **extras}}
        named = {name: values.pop(f"named_{name}") for name in CODE_OPTIONS}
        given = {key: value for key, value in values.items() if value is not None}
        for name, value in named.items():
            if value is not None and given.setdefault(name, value) != value:
                raise typer.BadParameter(f"{name} is given twice: '{given[name]}' and '{value}'")
        action(given, **own)

    annotations = {**COMMON, **extras, **_option_annotations(trains)}
    command.__annotations__ = {**annotations, "return": None}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS.get(name), annotation=annotation)
            for name, annotation in annotations.items()
        ]
    )
    command.__doc__ = action.__doc__
    return command


def space_options() -> dict[str, Any]:
    """The options of `ch train --for-space` that no other command has."""
    hints, shared = get_type_hints(SpaceTrainingOptions), {f.name for f in fields(RunOptions)}
    return {f.name: _space_option(f, hints[f.name]) for f in fields(SpaceTrainingOptions) if f.name not in shared}


def _space_option(option: Field[Any], hint: Any) -> Any:
    default = "" if option.default is None else f" [default: {option.default}]"
    text = f"With --for-space. {option.metadata['help']}{default}"
    flag = f"--{option.name.replace('_', '-')}"
    return Annotated[_plain_type(hint) | None, typer.Option(flag, help=text, show_default=False)]


def _option_annotations(trains: bool) -> dict[str, Any]:
    hints = get_type_hints(RunOptions)
    by_name = {f.name: f for f in fields(RunOptions)}
    positional = {name: _argument(by_name[name]) for name in CODE_OPTIONS}
    named = {f"named_{name}": _named(by_name[name]) for name in CODE_OPTIONS}
    rest = {name: _option(f, hints[name], trains) for name, f in by_name.items() if name not in CODE_OPTIONS}
    return {**positional, **named, **rest}


def _argument(option: Field[Any]) -> Any:
    return Annotated[str | None, typer.Argument(help=option.metadata["help"], show_default=False)]


def _named(option: Field[Any]) -> Any:
    return Annotated[str | None, typer.Option(f"--{option.name}", help=option.metadata["help"], show_default=False)]


def _option(option: Field[Any], hint: Any, trains: bool) -> Any:
    flags = option.metadata["flags"] or (f"--{option.name.replace('_', '-')}",)
    kind = _plain_type(hint)
    if kind is bool and not option.name.startswith("no_"):
        flags = (f"{flags[0]}/--no-{flags[0].removeprefix('--')}",)
    metavar = "|".join(_choices(hint)) or None
    text = (
        f"{option.metadata['help']} [default: {option.default}]"
        if option.default is not None
        else option.metadata["help"]
    )
    hidden = option.metadata["of_training"] and not trains
    return Annotated[kind | None, typer.Option(*flags, help=text, metavar=metavar, show_default=False, hidden=hidden)]


def _choices(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal and isinstance(get_args(hint)[0], str):
        return get_args(hint)
    return next((_choices(part) for part in get_args(hint) if _choices(part)), ())


def _plain_type(hint: Any) -> Any:
    """The type that a value on the command line is read as: str, int, float or bool.

    Its bounds are checked together with those of the file.
    """
    if _choices(hint):
        return str
    parts = [part for part in get_args(hint) if part is not type(None)]
    return _plain_type(parts[0]) if parts else hint
