"""Loads a data set of the user: DataLoaders for three sets, and optionally a loss, metrics and more."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from chop.dataset.arrays import SampleArrays, is_pair
from chop.dataset.data import PARTS
from chop.dataset.no_label import OnOwnLabels, label_of_none
from chop.dataset.reading import read_by_one_process
from chop.dataset.targets import INFER, TargetForm
from chop.dataset.tokens import TokenArrays
from chop.errors import DatasetError, did_you_mean
from chop.scoring.classification import Classification
from chop.scoring.labels import UNLABELLED
from chop.scoring.metric import DIRECTIONS, UserMetric
from chop.scoring.task import Task
from chop.tools.logger import get_logger
from chop.tools.model_outputs import OutputName
from chop.tools.user_code import call_user, load_user_object

logger = get_logger(__name__)

OPTIONAL = ("loss", "metrics", "num_classes", "output", "ignore_index")
BUILT_IN = ("loss", "accuracy", "accuracy_micro", "perplexity", "mean_iou")
"""Metrics of our own tasks."""


@dataclass(frozen=True)
class UserData:
    """The checked result of `build_data`."""

    loaders: Mapping[str, Any]
    loss: Callable[[Tensor, Tensor], Tensor] | None
    metrics: Mapping[str, UserMetric]
    num_classes: int | None = INFER
    output: OutputName = None
    unlabelled: int = UNLABELLED
    task: type[Task] = Classification
    has_own_batches: bool = False
    """Whether batches are as loaders of the user make them, whatever batch size is asked for."""

    @property
    def target_form(self) -> TargetForm:
        """The form in which the targets are read."""
        has_loss = self.loss is not None or self.task.targets_are_values
        classes = None if self.task.targets_are_values else self.num_classes
        return TargetForm(has_loss, classes, self.unlabelled, self.task.reads_tokens)


def load_user_data(
    reference: str,
    batch_size: int,
    task: type[Task] = Classification,
    arrays: TokenArrays | None = None,
    samples: SampleArrays | None = None,
) -> UserData:
    """Call `FILE.py:FUNCTION`, which returns a dictionary or an object with `train`, `val` and `test`.

    Each is a DataLoader (or a list) of `(x, y)`, or arrays `(x, y)`; these may also be returned for all parts together.
    Optional: `loss(predictions, targets)`, `num_classes` (None: the
    targets are no classes), `metrics = {name: (function, "maximize" | "minimize")}`, `output`, the name or position of
    the output that is scored, of a model with several, and `ignore_index`, the target that means "no label" (absent:
    the loss's own, or -100). A function with an argument `batch_size` is given it. `arrays` makes loaders of parts that
    are arrays of tokens, for a `task` that reads these. Raises DatasetError for anything else.
    """
    build = load_user_object(reference)
    if not callable(build):
        raise DatasetError(f"{reference} is a {type(build).__name__}; name a function that returns the data")
    sizes = {"batch_size": batch_size} if "batch_size" in inspect.signature(build).parameters else {}
    found = user_data_of(call_user(lambda: build(**sizes), reference), reference, task, arrays, samples)
    return replace(found, has_own_batches=False) if sizes else found


def user_data_of(
    built: Any,
    reference: str,
    task: type[Task] = Classification,
    arrays: TokenArrays | None = None,
    samples: SampleArrays | None = None,
) -> UserData:
    """The checked data set of what the function returned; errors name it `reference`.

    `samples` makes loaders of arrays `(x, y)`: of those of each part, or of all samples, which it splits.
    """
    if samples is not None and isinstance(built, tuple) and is_pair(built):
        return replace(user_data_of(samples.parts(*built), reference, task, arrays, samples), has_own_batches=False)
    given = values = _as_mapping(built, reference)
    if samples is not None:
        values = {name: samples.loader(name, own) if name in PARTS else own for name, own in values.items()}
    missing = [part for part in PARTS if values.get(part) is None]
    if missing:
        kind = "" if len(missing) < len(PARTS) else f" (its type is {type(built).__name__})"
        raise DatasetError(
            f"{reference} returned no {', '.join(missing)}{kind}; it must return a dictionary with train, val and "
            "test, each a DataLoader or arrays (x, y), or one pair of arrays for all three"
        )
    if arrays is not None and task.reads_tokens:
        values = {**values, **{part: arrays.loader(values[part], part) for part in PARTS}}
    loaders: dict[str, Any] = {
        part: read_by_one_process(_readable_again(values[part], part, reference), part) for part in PARTS
    }
    metrics = values.get("metrics") or {}
    _check_loss(values.get("loss"), reference)
    _check_metrics(metrics, reference)
    _check_num_classes(values.get("num_classes", INFER), reference, "num_classes" in values)
    _check_output(values.get("output"), reference)
    label = _label_of_none(values, reference)
    loss = values.get("loss")
    if label != UNLABELLED:
        loss = loss and OnOwnLabels(loss, label)
        metrics = {name: (OnOwnLabels(function, label), better) for name, (function, better) in metrics.items()}
    own = values["train"] is given["train"]  # else it was made of arrays, in batches of the size that is asked for
    return UserData(loaders, loss, metrics, values.get("num_classes", INFER), values.get("output"), label, task, own)


def _label_of_none(values: Mapping[str, Any], reference: str) -> int:
    """The target that means "no label"; raises DatasetError if it is no integer."""
    stated = values.get("ignore_index")
    if stated is not None and (isinstance(stated, bool) or not isinstance(stated, int)):
        raise DatasetError(f"{reference}: ignore_index is {stated!r}; return the whole number that means no label")
    return label_of_none(values.get("loss"), stated)


def _as_mapping(built: Any, reference: str) -> Mapping[str, Any]:
    if not isinstance(built, Mapping):
        return {key: getattr(built, key) for key in (*PARTS, *OPTIONAL) if hasattr(built, key)}
    for key in (key for key in built if key not in (*PARTS, *OPTIONAL)):
        hint = did_you_mean(str(key), (*PARTS, *OPTIONAL))
        if hint:
            raise DatasetError(f"{reference} returned an unknown key '{key}'{hint}")
        logger.info("%s returned '%s', which is not used", reference, key)
    return built


def _readable_again(loader: Any, part: str, reference: str) -> Any:
    is_container = isinstance(loader, Iterable) or hasattr(loader, "__getitem__")
    if isinstance(loader, (Iterator, str, Mapping, Tensor)) or not is_container:
        raise DatasetError(
            f"{reference}: {part} is a {type(loader).__name__}, which cannot be read again and again; "
            "return a torch DataLoader or a list of (x, y)"
        )
    return loader


def _check_loss(loss: Any, reference: str) -> None:
    cure = "return a function loss(predictions, targets), for example torch.nn.functional.mse_loss"
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        raise DatasetError(f"{reference}: loss is the class {loss.__name__}; return an instance, {loss.__name__}()")
    if loss is not None and not callable(loss):
        raise DatasetError(f"{reference}: loss is {loss!r}; {cure}")


def _check_metrics(metrics: Any, reference: str) -> None:
    if not isinstance(metrics, Mapping):
        raise DatasetError(
            f"{reference}: metrics is a {type(metrics).__name__}; return {{name: (function, 'maximize' or 'minimize')}}"
        )
    for name, metric in metrics.items():
        if name in BUILT_IN:
            raise DatasetError(f"{reference}: metrics['{name}'] has the name of a metric of ours; give it another")
        if not (
            isinstance(metric, (tuple, list)) and len(metric) == 2 and callable(metric[0]) and metric[1] in DIRECTIONS
        ):
            said = metric[1] if isinstance(metric, (tuple, list)) and len(metric) == 2 else ""
            hint = did_you_mean(said, DIRECTIONS) if isinstance(said, str) and said not in DIRECTIONS else ""
            raise DatasetError(
                f"{reference}: metrics['{name}'] must be (function, 'maximize' or 'minimize'), got {metric!r}{hint}"
            )


def _check_num_classes(number: Any, reference: str, is_stated: bool) -> None:
    if is_stated and number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise DatasetError(
            f"{reference}: num_classes is {number!r}; return a whole number from 1, None where the targets are no "
            "classes, or leave it out"
        )


def _check_output(output: Any, reference: str) -> None:
    keys = output if isinstance(output, tuple) else (output,)
    if output is not None and not (keys and all(isinstance(key, (str, int)) and key is not True for key in keys)):
        raise DatasetError(
            f"{reference}: output is {output!r}; return the name or the position of the model's output that is scored, "
            "or a tuple of these for one within another"
        )
