"""Requires the weights that a search measured; where a model has others, names the file that has those."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from torch import nn

from chop.actions.setup import TRAINING_FOLDER
from chop.errors import CheckpointError, SearchError
from chop.models.checkpoint import fitting_sets, format_notes_in, misfits
from chop.models.checkpoint_file import read_checkpoint
from chop.models.weight_notes import note, weights_digest
from chop.models.weight_values import as_weights
from chop.nn.copying import copied_module
from chop.record.folder import SearchFolder


def require_searched_weights(model: nn.Module, files: SearchFolder, given: str | None) -> None:
    """Raise SearchError where a model has other weights than those that the search measured.

    `given` is the file that they are from; None: no file. The error names the file that has those of the search, if it
    is the one that the search had, or one of a training that was moved aside since.
    """
    searched = files.weights
    if searched is not None and searched != weights_digest(model):
        cure = _cure(model, files, searched, given)
        raise SearchError(f"the model has other weights than the search in {files.path} measured: {cure}")


def _cure(model: nn.Module, files: SearchFolder, searched: str, given: str | None) -> str:
    options = tomllib.loads(files.resolved or "")
    then = options.get("load_name")
    for path in _places(files, then):
        if _has(path, model, searched):
            now = f"{_fate(then)}, and " if then is not None and path != Path(then) else ""
            return f"{now}{path} has them: add --load {quote(str(path))}"
    if then is not None:
        return f"{_fate(then)}: give the file that has them by --load PATH, or search anew"
    if options.get("is_pretrained"):
        return "it had those that ship with the model (--pretrained)"
    if given is not None:
        return f"it had no file of weights: leave out --load {quote(given)}"
    return "it had those that the model came with then: give a file that has them by --load PATH, or search anew"


def _fate(then: str) -> str:
    """What has become of the file that the search had."""
    return f"{then} holds others now" if Path(then).exists() else f"{then} is no longer there"


def _places(files: SearchFolder, then: str | None) -> Iterator[Path]:
    """The files that may have the weights of a search.

    First the file `then` that it had, and those of the trainings in its project; behind each the files of its name that
    later trainings have moved aside, the latest first.
    """
    of_project = sorted((files.path.parent / TRAINING_FOLDER).glob("best.*"))
    for path in [*([] if then is None else [Path(then)]), *of_project]:
        yield path
        folder = path.parent
        asides = [one for one in folder.parent.glob(f"{folder.name}-*") if _number(one).isdecimal()]
        yield from (one / path.name for one in sorted(asides, key=lambda one: -int(_number(one))))


def _number(folder: Path) -> str:
    return folder.name.rpartition("-")[2]


def _has(path: Path, model: nn.Module, searched: str) -> bool:
    """Whether a file can be read and has weights of a model with the checksum `searched`."""
    try:
        checkpoint = read_checkpoint(path)
    except (CheckpointError, OSError):
        return False
    for one in fitting_sets(checkpoint, model):
        if misfits(model, one.tensors):
            continue
        state, problems, _ = as_weights(model, one.tensors)
        if problems:
            continue
        twin = copied_module(model)
        twin.load_state_dict(state)
        note(twin, None, format_notes_in(checkpoint))
        if weights_digest(twin) == searched:
            return True
    return False
