"""The `ch` command: `ch train|test|transform|search|compare [model] [dataset] [options]`, `ch info|oracle` …"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from chop import __version__
from chop.actions.search_flags import SearchFlags
from chop.cli.config import app as config_app
from chop.cli.export import export
from chop.cli.info import SECTIONS
from chop.cli.options import (
    AS_JSON,
    BUDGET,
    DRY_RUN,
    FINISH_EPOCHS,
    FOR_SPACE,
    FROM_SEARCH,
    INIT_FROM,
    LIVE,
    METRIC,
    MOST_POINTS,
    N_TRIALS,
    PLUGINS,
    RESUME,
    RESUME_TRAINING,
    SEEDS,
    SET,
    SET_FOR_SPACE,
    SET_PASS,
    STRATEGIES,
    STRATEGY_NAME,
    TARGET,
    TRIAL,
    TRIALS_AS_JSON,
    UNTUNED,
    space_options,
    with_run_options,
)
from chop.cli.report import report
from chop.cli.start import TOLD, load_plugins, row_of, start, tell
from chop.errors import ChopError, ConfigError, InputError, Interrupted
from chop.tools.files import told
from chop.tools.option_names import options_named
from chop.tools.terminal import replace_what_cannot_be_shown

_SECTIONS = ", ".join(["all", *SECTIONS])
FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130


class _Group(TyperGroup):
    """Lists the commands in the order of their use, and reports Ctrl-C where the command has not."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Interrupted:
            raise
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)  # noqa: T201 - the answer to Ctrl-C
            raise


app = typer.Typer(
    name="ch",
    cls=_Group,
    help="Find the best number format for every layer of a neural network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _top_level(
    version: Annotated[bool, typer.Option("--version", "-V", help="Show the version.", is_eager=True)] = False,
    info: Annotated[str | None, typer.Option("--info", help=f"The same as `ch info`: {_SECTIONS}.")] = None,
) -> None:
    """The options before the action."""


def train(
    given: dict[str, Any],
    config: Path | None,
    plugin: list[Path] | None,
    debug: bool,
    for_space: bool,
    resume: bool,
    values: list[str] | None,
    **of_space: Any,
) -> None:
    """Train a model: ch train jsc-tiny jsc --max-epochs 10 --batch-size 256

    With --for-space: train one set of weights for all networks of a search space, ch train --config FILE.toml
    --for-space.
    """
    alone = [name for name, value in of_space.items() if value is not None] + ["resume"] * resume
    alone += ["set"] * bool(values)
    if alone and not for_space:
        raise ConfigError([f"command line: --{name.replace('_', '-')} goes with --for-space" for name in alone])
    read, flags = ("search", "train_for_space"), SearchFlags() if for_space else None
    own = of_space if for_space else None
    run_config = start(
        given, config, plugin, debug, values=values, tables=read, trains=True, search=flags, of_space=own
    )
    if for_space:
        from chop.actions.space_training import run_space_training

        run_space_training(run_config, resume)
        return
    run_config.raise_if_problems()
    from chop.actions.train import run_train

    run_train(run_config.options)


def test(
    given: dict[str, Any],
    config: Path | None,
    plugin: list[Path] | None,
    debug: bool,
    from_search: Path | None,
    row: int | None,
    untuned: bool,
) -> None:
    """Score a model on the test set: ch test jsc-tiny jsc --pretrained"""
    found = row_of(from_search, row, untuned)
    run_config = start(given, found.checked_config() if found and not config else config, plugin, debug)
    run_config.raise_if_problems()
    from chop.actions.evaluate import run_test

    run_test(run_config, found)


def transform(
    given: dict[str, Any],
    config: Path | None,
    plugin: list[Path] | None,
    debug: bool,
    from_search: Path | None,
    row: int | None,
    untuned: bool,
    values: list[str] | None,
) -> None:
    """Run the passes of a TOML file, or rebuild the network of a trial, and save it.

    ch transform --config FILE.toml --pretrained; `ch config examples` lists files to start from.
    """
    found = row_of(from_search, row, untuned)
    if found and values:
        raise ConfigError(["command line: --set has no effect with --from-search: leave it out"])
    config = found.checked_config() if found and not config else config
    run_config = start(given, config, plugin, debug, values=values, tables=("passes", "transform"))
    from chop.actions.transform import run_transform

    run_transform(run_config, found)


def search(
    given: dict[str, Any],
    config: Path | None,
    plugin: list[Path] | None,
    debug: bool,
    resume: bool,
    init_from: list[str] | None,
    live: bool,
    dry_run: bool,
    as_json: bool,
    values: list[str] | None,
    **given_flags: Any,
) -> None:
    """Search number formats: ch search --config FILE.toml --pretrained

    `ch config examples` lists files to start from.
    """
    flags = SearchFlags(**{name: value for name, value in given_flags.items() if value is not None})
    run_config = start(given, config, plugin, debug, values=values, tables=("search",), search=flags)
    from chop.cli.search import run, show_dry_run

    if dry_run:
        show_dry_run(
            run_config, flags, unused={"--resume": resume, "--init-from": init_from, "--live": live, "--json": as_json}
        )
    else:
        run(run_config, flags, resume, init_from or (), live, as_json)


def compare(
    given: dict[str, Any],
    config: Path | None,
    plugin: list[Path] | None,
    debug: bool,
    as_json: bool,
    values: list[str] | None,
    **asked: Any,
) -> None:
    """Compare strategies on one space.

    ch compare --config FILE.toml --pretrained; `ch config examples` lists files to start from.
    """
    run_config = start(given, config, plugin, debug, values=values, tables=("search",), search=SearchFlags())
    from chop.cli.compare import show_comparison

    if show_comparison(run_config, asked, as_json):
        raise Interrupted


def info(
    what: Annotated[str, typer.Argument(help=f"{_SECTIONS}; or a file of weights")] = "all",
    name: Annotated[
        str | None,
        typer.Argument(help="A strategy, runner, space, training or exporter: its keys.", show_default=False),
    ] = None,
    plugin: PLUGINS = None,
) -> None:
    """List models, data sets, formats, passes, strategies, runners and all other names; or the keys of one.

    With a checkpoint or a saved graph it shows what the file holds: ch info best.safetensors
    """
    load_plugins(plugin)
    from chop.cli.info import show_info

    show_info(what, name)


def oracle(
    landscape: Annotated[
        Path, typer.Argument(help="An exhaustive search: its folder, as mase_output/NAME, or landscape.parquet.")
    ],
    point: Annotated[list[int] | None, typer.Option(help="The number of a point: its rank and regret.")] = None,
    study: Annotated[
        list[Path] | None, typer.Option(help="Another search of that space (its folder, as mase_output/NAME): its gap.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Print the exact front of a space: ch oracle mase_output/NAME --point 17"""
    from chop.cli.oracle import show_oracle
    from chop.tools.logger import set_logging_verbosity

    set_logging_verbosity("warning")
    show_oracle(landscape, point or [], study or [], json)


def export_optuna(
    folder: Annotated[Path, typer.Argument(help="A search's folder, as mase_output/NAME.")],
    storage: Annotated[str, typer.Option(help="sqlite:///FILE.db, another database's URL, or a journal FILE.log.")],
    study_name: Annotated[str | None, typer.Option(help="The study's name there. [default: the project's]")] = None,
) -> None:
    """Write a search as an Optuna study: ch export-optuna mase_output/NAME --storage sqlite:///study.db"""
    from chop.actions.search.strategies.optuna.storage import export_search
    from chop.tools.logger import set_logging_verbosity

    set_logging_verbosity("warning")
    name, trials = export_search(folder, storage, study_name)
    print(f"{trials} trials are in the study '{name}'")  # noqa: T201 - the answer to the command


def formats(plugin: PLUGINS = None) -> None:
    """List the number formats and their keys."""
    load_plugins(plugin)
    from chop.cli.info import show_info

    show_info("format")


_ROW_OPTIONS = {"from_search": FROM_SEARCH, "row": TRIAL, "untuned": UNTUNED}
_SEARCH_OPTIONS = {
    "n_trials": N_TRIALS,
    "strategy_name": STRATEGY_NAME,
    "metrics": METRIC,
    "values": SET,
    "dry_run": DRY_RUN,
    "as_json": TRIALS_AS_JSON,
    "resume": RESUME,
    "init_from": INIT_FROM,
    "finish_epochs": FINISH_EPOCHS,
    "target": TARGET,
    "live": LIVE,
}
_COMPARE_OPTIONS = {
    "values": SET,
    "strategies": STRATEGIES,
    "seeds": SEEDS,
    "budget": BUDGET,
    "most_points": MOST_POINTS,
    "as_json": AS_JSON,
}
_ACTIONS: tuple[tuple[Callable[..., None], dict[str, Any]], ...] = (
    (train, {"for_space": FOR_SPACE, "resume": RESUME_TRAINING, "values": SET_FOR_SPACE, **space_options()}),
    (test, _ROW_OPTIONS),
    (transform, {**_ROW_OPTIONS, "values": SET_PASS}),
    (search, _SEARCH_OPTIONS),
    (compare, _COMPARE_OPTIONS),
)
for _action, _extras in _ACTIONS:
    app.command(name=_action.__name__)(with_run_options(_action, _extras, trains=_action is train))
app.add_typer(config_app, name="config")
app.command()(report)
app.command()(info)
app.command()(formats)
app.command()(export)
app.command()(oracle)
app.command()(export_optuna)


def main() -> None:
    """Run `ch` and exit: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    replace_what_cannot_be_shown()
    TOLD.clear()
    arguments = _info_option_as_command(sys.argv[1:])
    with options_named(partial(_option_of, arguments)):
        _run(arguments)


def _run(arguments: list[str]) -> None:
    try:
        app(args=arguments, prog_name="ch", standalone_mode=True)
    except ChopError as error:
        if "--debug" in arguments:
            raise
        sys.exit(_report(error))
    except OSError as error:
        if "--debug" in arguments:
            raise
        sys.exit(_report(told(error)))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - the answer to Ctrl-C
        sys.exit(INTERRUPTED)


def _info_option_as_command(arguments: list[str]) -> list[str]:
    """Turn `ch --info [model]` into `ch info [model]`, and answer `-V` and `--version`."""
    if arguments[:1] in (["-V"], ["--version"]):
        print(__version__)  # noqa: T201 - the answer to the command
        sys.exit(0)
    head, _, value = arguments[0].partition("=") if arguments else ("", "", "")
    if head != "--info":
        return arguments
    return ["info", *([value] if value else []), *arguments[1:]]


def _report(error: ChopError) -> int:
    """Show an error, one line per problem; returns the exit status."""
    tell(error.problems if isinstance(error, ConfigError) else (str(error),))
    return WRONG_INPUT if isinstance(error, InputError) else FAILED


def _option_of(arguments: Sequence[str], name: str) -> str:
    """The option `--name`, in the spelling that was typed if it has several.

    For the folder of all projects, or one of them, it is what names the output of a command without that option. The
    command is the one that the arguments name.
    """
    command: Any = get_command(app)
    for argument in arguments:
        command = getattr(command, "commands", {}).get(argument, command)
    spellings = {option: parameter.opts for parameter in command.params for option in parameter.opts}
    typed = {argument.partition("=")[0] for argument in arguments}
    own = spellings.get(f"--{name}", [])
    if own or name not in ("project-dir", "project"):
        return next((option for option in own if option in typed), f"--{name}")
    return "--output" if "--output" in spellings else "place"


if __name__ == "__main__":
    main()
