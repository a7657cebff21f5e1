"""`load_study`: the study in a folder, from its records, with the networks of the caller's model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from chop.actions.calibration import calibrate
from chop.actions.replay import require_registered_formats
from chop.actions.search.checks import checked_call
from chop.actions.search.measuring.baseline_check import of_the_float_baseline
from chop.actions.search.run.job import SearchJob
from chop.actions.searched_weights import require_searched_weights
from chop.actions.setup import resolve_accelerator
from chop.api.argument_types import argument_problems
from chop.api.arguments import in_python, naming
from chop.api.data import UserData, data_module_of, real_type
from chop.api.network import Networks
from chop.api.own_model import loaded
from chop.api.study import Study
from chop.config.options import RunOptions
from chop.dataset import DATASETS
from chop.dataset.arrays import SPLIT
from chop.errors import CheckpointError, ConfigError, SearchError
from chop.ir import MaseGraph
from chop.record.folder import SearchFolder
from chop.record.names import search_folder
from chop.record.trial import TrialCounts
from chop.tools.logger import get_logger

logger = get_logger(__name__)


def load_study(
    folder: Path | str,
    model: nn.Module | MaseGraph | None = None,
    data: UserData | None = None,
    *,
    loss: Any = None,
    metrics: Mapping[str, Any] | None = None,
    split: Sequence[float] = SPLIT,
    weights: str | Path | None = None,
) -> Study:
    """The study in a folder, from its records alone. Its networks can be built where `model` is given.

    The `folder` is that of the search, or of its project. `model` must be the one that was searched, with its weights,
    or those of the file `weights`. `data`, `loss`, `metrics` and `split` are those of the search; data by name need not
    be given. Functions that were objectives are `metrics` here. Nothing that the folder holds is run. Raises
    SearchError for another model or other data.
    """
    if not isinstance(folder, (str, Path)):
        raise SearchError(f"folder: expected the path of a study's folder, got {folder!r}")
    if problems := argument_problems({"weights": weights}):
        raise ConfigError(problems)
    files = SearchFolder(search_folder(Path(folder)))
    with in_python():
        _require_whole(files)
    if model is None:
        if files.resolved is None:
            logger.warning("%s has no resolved.toml: tables can be shown, but no network be built", files.path)
        return Study(files)
    with in_python():
        about_data = {"loss": loss, "metrics": metrics, "split": split}
        return Study(files, _networks_of(files, model, weights, data, about_data))


def _require_whole(files: SearchFolder) -> None:
    """Raise SearchError where the records of a search that has ended do not belong together."""
    counts, _ = files.summary.counts, files.resolved
    if files.is_by_trial and TrialCounts.of(files.trials()) != counts:
        raise SearchError(f"{files.log} has other trials than summary.json beside it: it was cut off or changed")


def _networks_of(
    files: SearchFolder, model: Any, weights: str | Path | None, data: Any, about_data: Mapping[str, Any]
) -> Networks:
    text = files.resolved
    if text is None:
        raise SearchError(f"{files.path} has no resolved.toml, without which its networks cannot be built")
    require_registered_formats((row.sampled_config for row in files.summary.best), files.path)
    document = tomllib.loads(text)
    options = RunOptions(**{key: value for key, value in document.items() if key != "search" and key in _OPTIONS})
    if data is None and options.dataset not in DATASETS:
        raise SearchError("data: give the data of the search: its networks are built with their help")
    module = data_module_of(
        str(options.dataset) if data is None else data,
        task=options.task,
        batch_size=options.batch_size,
        max_token_len=options.max_token_len,
        seed=options.seed,
        real=real_type(model),
        **about_data,
    )
    options = replace(options, load_name=None if weights is None else str(weights))
    with naming("model"), naming("weights", CheckpointError):
        own = loaded(model, options, module)
    with naming("model", SearchError):
        require_searched_weights(own, files, options.load_name)
    device = resolve_accelerator(options)
    job = checked_call(SearchJob, own, module, document["search"], files.path, options.seed, device)
    _require_same(job, files)
    if job.space.calibration_rows:
        with of_the_float_baseline():
            calibrate(job.space.graph, module, job.space.calibration_rows)
    return Networks.of(job, options)


_OPTIONS = ("model", "dataset", "task", "load_name", "batch_size", "seed", "accelerator", "max_token_len")
_TOLD = {"layers": "layers", "choices": "choices", "dataset": "data"}


def _require_same(job: SearchJob, files: SearchFolder) -> None:
    """Raise SearchError where model or data are not those of the search."""
    then, now = files.fingerprint, job.fingerprint()
    other = [said for key, said in _TOLD.items() if then.get(key) != now.get(key)]
    if other:
        raise SearchError(
            f"the search in {files.path} had other {' and other '.join(other)}: give the model and the data that it "
            "was run on"
        )
