"""Prepares a command: data, model with weights, device, output folder; traces the model and checks its graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import nn

from chop.config.options import RunOptions
from chop.config.run_config import RunConfig
from chop.dataset import MaseDataModule
from chop.dataset.data import PARTS, Data, Part, first_batch
from chop.dataset.missing_values import missing_values
from chop.dataset.rows import cut, form_of
from chop.errors import ChopError, DatasetError, GraphError, InputError, first_line
from chop.ir import MaseGraph
from chop.ir.graph.own_copy import is_uninitialised
from chop.ir.graph.same_results import draws_at_random, failure, gives, is_finite_on, steady_results
from chop.models import get_model
from chop.models.build import ships_weights
from chop.models.checkpoint import load_weights
from chop.tools.get_input import call_model
from chop.tools.logger import get_logger
from chop.tools.model_inputs import tensors_of
from chop.tools.user_code import is_user_reference

logger = get_logger(__name__)

TRAINING_FOLDER = "training_ckpts"
"""The folder of a project that holds the weights of its training."""

SEARCHED_PARTS: tuple[Part, ...] = ("train", "val")
"""The sets that a training or a search works with."""

MOST_FORMS = 8
"""Forms of input in a part of the data (sequences of other lengths, say) that a graph is compared with its model on."""


@dataclass(frozen=True)
class Prepared:
    """Model and data, ready to use."""

    model: nn.Module
    data_module: MaseDataModule
    load_name: str | None = None
    """The file that the weights are from; None: no file."""


def prepare(
    options: RunOptions, check: Callable[[MaseDataModule], None] = lambda data: None, takes_graph: bool = False
) -> Prepared:
    """Build the data module and the model with the weights that the options name; seeds torch.

    `check` may refuse the data, before the model is built.
    `takes_graph`: a saved graph under `--load` is rebuilt on the model next, with its formats and folded norms.
    """
    if options.model is None or options.dataset is None:
        raise InputError("name a model and a data set: `ch ACTION MODEL DATASET`, or both in the TOML file")
    torch.manual_seed(options.seed)
    data = build_data(options)
    check(data)
    return Prepared(build_model(options, data, takes_graph), data, options.load_name)


def build_data(options: RunOptions) -> MaseDataModule:
    """The data module of the options, set up."""
    assert options.dataset is not None
    data_module = MaseDataModule(
        options.dataset,
        batch_size=options.batch_size,
        model_name=options.model,
        num_workers=options.num_workers,
        seed=options.seed,
        task=options.task,
        max_token_len=options.max_token_len,
    )
    data_module.prepare_data()
    data_module.setup()
    if options.disable_dataset_cache:
        logger.info("--disable-dataset-cache: %s is read from its source in any case", options.dataset)
    if options.max_token_len != RunOptions.max_token_len and not data_module.task.reads_tokens:
        logger.info("--max-token-len %d: %s holds no tokens to cut", options.max_token_len, options.dataset)
    return data_module


def build_model(options: RunOptions, data_module: MaseDataModule, takes_graph: bool = False) -> nn.Module:
    """The model of the options with its weights: those of `--load`, the bundled ones, or random ones."""
    assert options.model is not None
    if not options.load_name:
        for name, about in (("load-weights", "chooses among the weights of a file"), ("load-type", "is about a file")):
            if getattr(options, name.replace("-", "_")):
                raise InputError(f"--{name} {about}: add --load PATH")
    if options.load_name and options.is_pretrained:
        logger.warning("--load %s replaces the weights of --pretrained", options.load_name)
    shipped = options.is_pretrained and not options.load_name
    model = get_model(options.model, options.task, data_module.dataset_info, pretrained=shipped)
    take_weights(model, options, data_module, takes_graph)
    return model


def take_weights(model: nn.Module, options: RunOptions, data_module: Data, takes_graph: bool = False) -> None:
    """Give lazy layers of `model` their shapes, and put the weights of `--load` into it, if there are any."""
    if is_uninitialised(model):
        _initialise(model, data_module)
    if options.load_name:
        load_weights(model, options.load_name, options.load_type, options.load_weights, takes_graph)


def tell_of_own_batches(options: RunOptions, data_module: MaseDataModule) -> None:
    """Log that loaders of the user decide on the batches, where a batch size was asked for."""
    if options.batch_size != RunOptions.batch_size and data_module.has_own_batches:
        logger.info(
            "--batch-size %d is not used: %s takes no batch_size, and batches are as its loaders make them",
            options.batch_size,
            options.dataset,
        )


def warn_of_untrained_weights(options: RunOptions, what_else: str = "so are all figures") -> None:
    """Warn where no weights are given: the model has random ones, or those that the user's function returns.

    `what_else` is what follows from random weights, in words behind "random, and".
    """
    if options.load_name or options.is_pretrained:
        return
    model = options.model or ""
    if is_user_reference(model):
        logger.warning(
            "the weights are those that %s returns: unless it trains or loads them, they are random, and %s. "
            "--load PATH takes those of a file",
            model,
            what_else,
        )
        return
    logger.warning(
        "neither --load nor --pretrained is given: the weights are random, and %s. Train with "
        "`ch train %s %s`, then add --load PATH%s",
        what_else,
        model,
        options.dataset,
        f"; or add --pretrained for the weights that ship with {model}" if ships_weights(model) else "",
    )


def _initialise(model: nn.Module, data_module: Data) -> None:
    """Run two training samples, so that lazy layers get their shapes."""
    x, _ = first_batch(data_module, "train", 2)
    was_training = model.training
    with torch.no_grad():
        call_model(model.eval(), x)
    model.train(was_training)


def traced(model: nn.Module, data_module: Data) -> MaseGraph:
    """Trace a model; raises GraphError if the graph differs from it on any form of input in any of the data sets.

    Raises GraphError, naming the part, where its forward goes another way there than on the first two training samples,
    or does not run; and for a model that draws at random, whose figures could not be measured again.
    """
    require_parts_alike(model, data_module)
    x, _ = first_batch(data_module, "train", 2)
    if draws_at_random(model, x):
        raise GraphError(
            f"{type(model).__name__} gives different results for the same input, also in eval mode: it draws at "
            "random. Let its forward draw in training alone (`if self.training`), or draw once and keep the numbers "
            "in a buffer"
        )
    graph = MaseGraph(model, example_inputs=x)
    for part in PARTS:
        for few in _two_of_each_form(data_module, part):
            _require_same_on(part, model, graph, few)
    return graph


def require_parts_alike(model: nn.Module, data_module: Data) -> None:
    """Raise GraphError if a model does not run on its data: on training samples, or on those of another set.

    The message names the set. Of a model that takes no batch of two samples the first layer must run on a whole batch.
    Raises DatasetError if a sample of the training or validation set holds NaN or infinity, and the outputs for it do,
    too. For samples of the test set there is a warning when they are read.
    """
    x, _ = first_batch(data_module, "train", 2)
    if failure(model, x):
        _require_runs_on_training(model, first_batch(data_module, "train")[0], _described(x))
        return
    for part in PARTS:
        for few in _two_of_each_form(data_module, part):
            _require_runs_on(part, model, few, x)
    for part in SEARCHED_PARTS:
        told, first = missing_values(data_module.batches(part), part)
        if told and not is_finite_on(model, first):
            raise DatasetError(told)


def _require_runs_on_training(model: nn.Module, batch: Any, two_samples: str) -> None:
    """Raise GraphError if a model's first layer does not run on a batch of the training set.

    What fails behind it may suit batches of another size, which a search can have.
    """
    name, layer = _first_layer(model)
    reached: list[bool] = []
    handle = layer.register_forward_hook(lambda *_: reached.append(True))
    why = failure(model, batch)
    handle.remove()
    if why and not reached:
        raise GraphError(
            f"the model does not run on the data ({why}): two samples are {two_samples}{_description(name, layer)}. "
            "Choose a model and a data set that fit (`ch info` lists both), or let the data have the form that the "
            "model takes"
        )


def _first_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of the first layer within a model that has parameters; the model itself if there is none."""
    for name, layer in model.named_modules():
        if name and next(layer.parameters(recurse=False), None) is not None:
            return name, layer
    return "", model


def _description(name: str, layer: nn.Module) -> str:
    """What a model's first layer is, as the end of a sentence; nothing of a model that is a layer itself."""
    if not name:
        return ""
    dtype = str(next(layer.parameters(recurse=False)).dtype).removeprefix("torch.")
    takes = ", which takes whole numbers" if isinstance(layer, nn.Embedding) else ""
    return f"; the first layer of the model is {name} = {layer} in {dtype}{takes}"


def _require_runs_on(part: str, model: nn.Module, few: Any, x: Any) -> None:
    """Raise GraphError if a model that runs on the training samples `x` does not run on those of another set."""
    if why := failure(model, few):
        raise GraphError(
            f"{type(model).__name__} does not run on samples of the {part} set ({why}): they are {_described(few)}, "
            f"the training samples are {_described(x)}; let all sets have the form that the model takes"
        )


def _described(x: Any) -> str:
    """Types and shapes of the tensors of an input."""
    named = ((name, str(own.dtype).removeprefix("torch."), tuple(own.shape)) for name, own in tensors_of(x).items())
    return ", ".join(f"{name} {dtype} {shape}" for name, dtype, shape in named)


def _two_of_each_form(data_module: Data, part: str) -> list[Any]:
    """Two samples of every form of input (lengths, data types, names) in a data set; of many forms a few."""
    by_form: dict[str, Any] = {}
    for x, _ in data_module.batches(part):
        by_form.setdefault(str(form_of(x)), cut(x, 0, 2))
    found = [by_form[form] for form in sorted(by_form, key=lambda form: (len(form), form))]
    places = torch.linspace(0, len(found) - 1, min(MOST_FORMS, len(found))).round().int().tolist()
    return [found[place] for place in places]


def _require_same_on(part: str, model: nn.Module, graph: MaseGraph, x: Any) -> None:
    """Raise GraphError if a graph traced on training samples differs from its model on another data set."""
    if gives(steady_results(model, x), graph.model, x):
        return
    try:
        call_model(graph.model, x)
        why = "it gives other results than the model. Write its branch with torch.where, or let the parts be alike"
    except Exception as error:  # of the model's own code, or a condition of the graph
        why = str(error) if isinstance(error, ChopError) else first_line(error)
    raise GraphError(
        f"the graph of {type(model).__name__} is made from training samples and does not fit those of the {part} set: "
        f"{why}"
    )


def resolve_accelerator(options: RunOptions) -> str:
    """The torch device of `accelerator`; the CPU, with a warning, if there is no GPU."""
    available = {
        "gpu": ("cuda", torch.cuda.is_available()),
        "mps": ("mps", torch.backends.mps.is_available()),
    }
    if options.accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if options.accelerator == "cpu":
        return "cpu"
    device, is_there = available[options.accelerator]
    if not is_there:
        logger.warning('accelerator = "%s": this machine has none; running on the CPU', options.accelerator)
    return device if is_there else "cpu"


def software_dir(options: RunOptions) -> Path:
    """`<project_dir>/<project>/software`, the folder for all files of a run."""
    return Path(options.project_dir) / (options.project or _default_project(options)) / "software"


def output_dir(run_config: RunConfig, search_folder: Path | None) -> Path:
    """The folder for `ch test` and `ch transform`: the project of the search that a trial came from.

    `--project` and `--project-dir` on the command line go before that.
    """
    given = {name for name in ("project", "project_dir") if run_config.sources[name] == "command line"}
    return software_dir(run_config.options) if given or search_folder is None else search_folder.parent


def _default_project(options: RunOptions) -> str:
    names: list[Any] = [options.model, options.task, options.dataset]
    short = [Path(str(name).partition(":")[0]).stem if is_user_reference(str(name)) else str(name) for name in names]
    today = date.today()  # noqa: DTZ011 - the day where the user is
    return "_".join([*short, today.isoformat()])
