"""The command `ch export`: its options, and the network that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from chop.cli.options import DEBUG, OWN_DATASET, OWN_MODEL, PLUGINS, TRIAL
from chop.cli.start import row_of, start
from chop.config.key_values import key_value
from chop.errors import CheckpointError, ConfigError
from chop.tools.file_kinds import not_weights
from chop.tools.option_names import option

RUN = Annotated[Path | None, typer.Argument(help="A search's folder, as mase_output/NAME.", show_default=False)]
LOAD = Annotated[
    Path | None,
    typer.Option("--load", help="A saved graph of `ch transform`; with a search: the file with its weights."),
]
TO = Annotated[str | None, typer.Option("--to", help="The form: one of `ch info exporter`.")]
OUTPUT = Annotated[Path | None, typer.Option("--output", help="The folder. [default: one in the search's project]")]
SET = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the exporter. Repeatable.")
]
WEIGHTS_ONLY = Annotated[
    bool, typer.Option("--weights-only", help="Quantise the weights alone, where the form lacks the other formats.")
]
ALLOW_DIFFERENCES = Annotated[
    bool, typer.Option("--allow-differences", help="Keep files whose outputs differ from the network's.")
]
UNTUNED = Annotated[bool, typer.Option("--untuned", help="The network as it was before it was tuned.")]


def export(
    run: RUN = None,
    to: TO = None,
    trial: TRIAL = None,
    load: LOAD = None,
    output: OUTPUT = None,
    options: SET = None,
    weights_only: WEIGHTS_ONLY = False,
    allow_differences: ALLOW_DIFFERENCES = False,
    untuned: UNTUNED = False,
    model: OWN_MODEL = None,
    dataset: OWN_DATASET = None,
    plugin: PLUGINS = None,
    debug: DEBUG = False,
) -> None:
    """Write a network for another tool, and verify it: ch export mase_output/NAME --trial 17 --to onnx"""
    if run is None and load is None:
        raise ConfigError(["ch export: give the folder of a search with --trial NUMBER, or --load graph.safetensors"])
    if run is None and (trial is not None or untuned):
        flag = "--untuned" if trial is None else f"{option('trial')} {trial}"
        raise ConfigError([f"ch export: {flag} is for the folder of a search, not for --load; leave it out"])
    if to is None:
        raise ConfigError(["ch export: add --to NAME, one of `ch info exporter`"])
    values = dict(map(key_value, options or [])) | ({"weights_only": True} if weights_only else {})
    given = {key: value for key, value in (("model", model), ("dataset", dataset)) if value is not None}
    given |= {} if load is None else {"load_name": str(load)}
    row = None if run is None else row_of(run, trial, untuned)
    config = None if row is None else row.checked_config()
    if run is None and load is not None:
        given = {**_named_in(load), **given}
    run_config = start(given, config, plugin, debug, shows_options=False)
    from chop.actions.export import ExportRequest, run_export

    run_export(run_config, ExportRequest(to, output, values, allow_differences), row)


def _named_in(path: Path) -> dict[str, Any]:
    """The model, data set and task that a saved graph names; the user's own code only the command line may name."""
    if problem := not_weights(path):
        raise CheckpointError(problem)
    from chop.models.checkpoint_file import graph_notes, read_checkpoint
    from chop.tools.user_code import is_user_reference

    notes = graph_notes(read_checkpoint(path))
    named = {key: notes.get(key) for key in ("model", "dataset", "task")}
    return {key: text for key, text in named.items() if isinstance(text, str) and not is_user_reference(text)}
