"""The command `ch config`: writes, checks and lists TOML files, and prints their JSON schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from chop.cli.options import DEBUG, OWN_DATASET, OWN_MODEL, PLUGINS
from chop.cli.start import load_plugins, start
from chop.errors import ConfigError

app = typer.Typer(
    help="Write, check and list TOML files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FILE = Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file.")]
NEW_MODEL = Annotated[str, typer.Argument(metavar="MODEL", help="A model of `ch info model`, or FILE.py:FUNCTION.")]
NEW_DATASET = Annotated[
    str | None,
    typer.Argument(metavar="[DATASET]", help="A data set of `ch info dataset`. [default: that of its weights]"),
]
TASK = Annotated[str | None, typer.Option("--task", help="What outputs are judged by: one of `ch info task`.")]
OUTPUT = Annotated[Path | None, typer.Option("--output", help="The file to write. [default: standard output]")]
NAME = Annotated[str | None, typer.Argument(metavar="[NAME]", help="An example. [default: list all]")]
TO = Annotated[
    Path | None,
    typer.Option("--output", help="Copy the example, or all, into this folder; or one to this file, NAME.toml."),
]


@app.command()
def new(
    model: NEW_MODEL,
    dataset: NEW_DATASET = None,
    task: TASK = None,
    output: OUTPUT = None,
    plugin: PLUGINS = None,
    debug: DEBUG = False,
) -> None:
    """Write a commented TOML file with a search for a model: ch config new jsc-tiny --output my.toml"""
    if output is not None:
        _require_absent(output)
    load_plugins(plugin)
    from chop.actions.new_config import new_config, usual_data

    given = {"model": model, "dataset": dataset or usual_data(model), "log_level": "warning"}
    run_config = start({**given, **({"task": task} if task else {})}, None, None, debug, shows_options=False)
    run_config.raise_if_problems()
    _show(new_config(run_config.options), output)


@app.command()
def check(
    file: FILE,
    model: OWN_MODEL = None,
    dataset: OWN_DATASET = None,
    plugin: PLUGINS = None,
    debug: DEBUG = False,
) -> None:
    """Say all that is wrong with a TOML file (exit status 2), or that nothing is: ch config check my.toml"""
    given = {key: value for key, value in (("model", model), ("dataset", dataset)) if value is not None}
    run_config = start({**given, "log_level": "warning"}, file, plugin, debug, shows_options=False)
    from chop.actions.search.checks import all_problems

    if problems := all_problems(run_config):
        raise ConfigError(problems)
    _print(f"{file}: nothing is wrong")


@app.command()
def schema(plugin: PLUGINS = None, output: OUTPUT = None) -> None:
    """Print the JSON schema of TOML files, for editors: ch config schema --output chop.schema.json"""
    if output is not None:
        _require_absent(output)
    load_plugins(plugin)
    from chop.actions.config_schema import config_schema

    _show(json.dumps(config_schema(), indent=2) + "\n", output)


@app.command()
def examples(name: NAME = None, output: TO = None) -> None:
    """List the bundled TOML files, print one, or copy them: ch config examples jsc_toy_by_type --output ."""
    from chop.config import examples as bundled

    wanted = bundled.examples() if name is None else (bundled.example(name),)
    if output is not None:
        is_file = name is not None and output.suffix == ".toml" and not output.is_dir()
        targets = [output] if is_file else [output / one.path.name for one in wanted]
        for target in targets:
            _require_absent(target)
        for one, target in zip(wanted, targets, strict=True):
            _show(one.path.read_text(encoding="utf-8"), target)
    elif name is not None:
        _print(wanted[0].path.read_text(encoding="utf-8"), end="")
    else:
        for one in wanted:
            _print(f"{one.name}\n    {one.about}")


def _require_absent(path: Path) -> None:
    """Raise ConfigError for a file that is there: what somebody wrote is not overwritten."""
    if path.exists():
        raise ConfigError([f"command line: --output: {path} is there already; remove it, or choose another name"])


def _show(text: str, output: Path | None) -> None:
    """Write a text to a file, or to standard output without one."""
    if output is None:
        _print(text, end="")
        return
    from chop.tools.files import write_whole

    _print(f"written: {write_whole(output, text)}")


def _print(text: str, end: str = "\n") -> None:
    print(text, end=end)  # noqa: T201 - the answer to the command
