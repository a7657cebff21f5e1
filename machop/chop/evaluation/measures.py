"""Computes metrics of many configurations from their batched outputs."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from chop.errors import MetricError
from chop.evaluation.values import Value, as_planes, each
from chop.scoring.accumulator import Accumulator, held_bytes
from chop.tools.logger import get_logger

logger = get_logger(__name__)

Scores = dict[str, np.ndarray[Any, Any]]
"""For each metric its value for every configuration, float64."""

LARGEST_LOGARITHM = 85.0
"""What the logarithm of a float32 may be at the most, with some room to spare."""
UNKNOWN_SECONDS = 0.1
"""Taken for the time of a function that cannot be tried."""

SAMPLES_TRIED = 8
"""Samples on which the memory and the time of an accumulator are tried."""

MOST_FACTORS = 8
"""Rows that share a logarithm at the most: each product rounds once more."""


@dataclass(frozen=True)
class RowChunk:
    """Samples that run through the network together: their numbers in the whole set, and their targets.

    `target` is the one class of all of them, if they were gathered so.
    """

    rows: Tensor
    targets: Tensor
    target: int | None = None


class Measure(ABC):
    """Takes the outputs of configurations, some samples at a time, and computes their metrics."""

    needs_order: ClassVar[bool] = False
    """Whether rows must come in the order in which they are stored."""
    calls_functions: ClassVar[bool] = True
    """Whether something is called for each configuration, whose time cannot be told from the size of the network."""

    @property
    @abstractmethod
    def bytes_per_configuration(self) -> int:
        """What it holds of a configuration until `finish`."""

    @abstractmethod
    def start(self, configurations: int) -> None:
        """Forget what was added, and expect so many configurations."""

    @abstractmethod
    def add(self, chunk: RowChunk, first: int, last: int, value: Value, numbers: np.ndarray[Any, Any]) -> None:
        """Take the outputs of configurations `first` to `last - 1` on some samples.

        `value` holds the distinct outputs, `numbers` says which of them each configuration has.
        """

    @abstractmethod
    def finish(self) -> Scores:
        """The metrics of all configurations."""

    def seconds_per_configuration(self) -> float:
        """What `finish` takes for each, as far as that is not told by the size of the outputs."""
        return 0.0


class Classification(Measure):
    """Mean cross entropy and accuracies of `(samples, classes)` for integer `targets` `(samples,)`, batched.

    Hits are counted where a score beats all earlier classes and no later one beats it, as in `argmax` (of equal scores
    the first counts).
    """

    calls_functions = False

    def __init__(self, targets: Tensor, classes: int) -> None:
        self.targets = targets
        self.classes = classes
        self.rows_of = torch.bincount(targets, minlength=classes)
        self._sums = torch.empty(0)

    @staticmethod
    def fits(targets: Tensor, predictions: Tensor, classes: int | None) -> bool:
        """Whether every class has samples and scores, so that both accuracies are sums over hits."""
        return (
            classes is not None
            and targets.ndim == 1
            and predictions.ndim == 2
            and predictions.shape[1] == classes
            and not targets.is_floating_point()
            and bool((torch.bincount(targets, minlength=classes) > 0).all())
            and int(targets.max()) < classes
        )

    @property
    def bytes_per_configuration(self) -> int:
        return 8 * (self.classes + 1)

    def start(self, configurations: int) -> None:
        self._sums = torch.zeros(self.classes + 1, configurations, dtype=torch.float64, device=self.targets.device)

    def add(self, chunk: RowChunk, first: int, last: int, value: Value, numbers: np.ndarray[Any, Any]) -> None:
        scores = as_planes(value)
        found = self._of_one_class(scores, chunk.target) if chunk.target is not None else self._of_any(scores, chunk)
        if len(numbers) != found.shape[1] or not (numbers == np.arange(len(numbers))).all():
            found = found.index_select(1, torch.from_numpy(numbers).to(found.device))
        self._sums[:, first:last] += found

    def _of_one_class(self, scores: Tensor, target: int) -> Tensor:
        """The hits of each class and the sum of losses for rows of one class, `(classes + 1, configurations)`."""
        own = scores[target]
        leads = own.new_empty(self.classes - 1, *own.shape)  # of the other classes over the target's: a sign is exact
        torch.sub(scores[:target], own, out=leads[:target])
        torch.sub(scores[target + 1 :], own, out=leads[target:])
        earlier, later = (part.amax(0) if len(part) else None for part in (leads[:target], leads[target:]))
        losses = _losses(leads, [most for most in (earlier, later) if most is not None])
        hits = torch.ones_like(own) if earlier is None else earlier.lt_(0)
        if later is not None:
            hits = later.le_(0) if earlier is None else hits.mul_(later.le_(0))
        sums = own.new_zeros(self.classes + 1, len(own), dtype=torch.float64)
        sums[target] = hits.sum(-1)
        sums[-1] = losses
        return sums

    def _of_any(self, scores: Tensor, chunk: RowChunk) -> Tensor:
        """The same for rows of any classes."""
        classes = torch.arange(self.classes, device=scores.device).view(-1, 1, 1)
        index = chunk.targets.expand(1, *scores.shape[1:])
        own = scores.gather(0, index)[0]
        earlier = scores.masked_fill(classes >= chunk.targets, -torch.inf).amax(0)
        later = scores.masked_fill(classes <= chunk.targets, -torch.inf).amax(0)
        hits = ((earlier < own) | (chunk.targets == 0)) & (later <= own)
        of_class = (classes[:, 0] == chunk.targets).T.to(scores.dtype)
        losses = -torch.log_softmax(scores, 0).gather(0, index)[0].sum(-1)
        return torch.cat([(hits.to(scores.dtype) @ of_class).T, losses.unsqueeze(0)]).double()

    def finish(self) -> Scores:
        hits, losses = self._sums[:-1].cpu(), self._sums[-1].cpu()
        rows = self.rows_of.cpu()
        recalls = hits.float() / rows.float().unsqueeze(1)
        return {
            "loss": (losses / len(self.targets)).numpy(),
            "accuracy": (recalls.double().sum(0) / self.classes).numpy(),
            "accuracy_micro": (hits.sum(0) / len(self.targets)).numpy(),
        }


def _losses(leads: Tensor, most: Sequence[Tensor]) -> Tensor:
    """Sums of `log(1 + Σ exp(lead))` over rows, `(configurations,)`; `leads` `(others, configurations, rows)` is lost.

    `most` has the greatest leads of each row. Where exponentials are sure to stay within float32 one logarithm serves
    several rows, as the logarithm of a product.
    """
    reach = math.inf
    if leads.device.type == "cpu":  # elsewhere the answer would have to be waited for
        reach = math.log(len(leads) + 1) + max([0.0, *(float(m.amax()) for m in most)])
    if not reach < LARGEST_LOGARITHM:
        return torch.logsumexp(torch.cat([leads, torch.zeros_like(leads[:1])]), 0).sum(-1)
    found = leads.exp_().sum(0).add_(1.0)
    factors = 1
    while 2 * factors * reach < LARGEST_LOGARITHM and factors < MOST_FACTORS and found.shape[1] % 2 == 0:
        factors, half = 2 * factors, found.shape[1] // 2
        found = found[:, :half] * found[:, half:]
    return found.log_().sum(-1)


class Streamed(Measure):
    """Updates one accumulator per configuration with its outputs, and keeps no outputs.

    `new` makes one, `result` gives its metrics. A configuration for which that raises MetricError has NaN for those of
    `names` that it could not have.
    """

    needs_order = True

    def __init__(
        self,
        new: Callable[[], Accumulator],
        result: Callable[[Accumulator], Mapping[str, float]],
        targets: Tensor,
        example: Tensor,
        names: Sequence[str],
    ) -> None:
        self.new = new
        self.result = result
        self.targets = targets
        self.example = example
        self.names = tuple(names)
        self._has_told = False
        self._accumulators: list[Accumulator] = []
        self._bytes, self._seconds = self._tried()

    def _tried(self) -> tuple[int, float]:
        """The bytes and the seconds of a configuration, told from a few of its samples."""
        few = min(SAMPLES_TRIED, len(self.targets))
        outputs = _noisy(self.example, few)
        share = len(self.targets) / few
        try:
            self.new().update(outputs, self.targets[:few])  # the first call may prepare something
            started = time.perf_counter()
            tried = self.new()
            tried.update(outputs, self.targets[:few])
            _ = self.result(tried)
        except Exception:  # one that cannot do with such outputs
            return int(share * outputs.nbytes), UNKNOWN_SECONDS
        return int(share * held_bytes(tried)), share * (time.perf_counter() - started)

    @property
    def bytes_per_configuration(self) -> int:
        return self._bytes

    def seconds_per_configuration(self) -> float:
        return self._seconds

    def start(self, configurations: int) -> None:
        self._accumulators = [self.new() for _ in range(configurations)]

    def add(self, chunk: RowChunk, first: int, last: int, value: Value, numbers: np.ndarray[Any, Any]) -> None:
        outputs = each(value)
        for place, number in enumerate(numbers, start=first):
            self._accumulators[place].update(outputs[number], chunk.targets)

    def finish(self) -> Scores:
        found = [self._result(accumulator) for accumulator in self._accumulators]
        self._accumulators = []
        return {name: np.array([scores[name] for scores in found], dtype=np.float64) for name in self.names}

    def _result(self, accumulator: Accumulator) -> Mapping[str, float]:
        try:
            return self.result(accumulator)
        except MetricError as error:
            if not self._has_told:
                logger.warning("a configuration fails, as others may: %s", error)
                self._has_told = True
            return {**dict.fromkeys(self.names, math.nan), **error.found}


def keeps_outputs(new: Callable[[], Accumulator], targets: Tensor, example: Tensor) -> bool:
    """Whether an accumulator keeps all outputs, because a metric needs them at once."""
    tried = new()
    try:
        tried.update(_noisy(example, min(2, len(targets))), targets[:2])
    except Exception:  # one that cannot do with such outputs: the outputs of a network show why
        return True
    return tried.keeps_outputs


def _noisy(example: Tensor, samples: int) -> Tensor:
    """Outputs of so many samples, each like the one of `example`, but no two alike.

    A function may be quick where all are alike.
    """
    noise = torch.randn(samples, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    return (example + noise.to(example.device)).to(example.dtype)


class WholePredictions(Measure):
    """Calls any function of all outputs and targets, once per configuration.

    A configuration for which it raises MetricError has NaN for those of the metrics `names` that it could not have.
    """

    def __init__(
        self,
        targets: Tensor,
        score: Callable[[Tensor, Tensor], Mapping[str, float]],
        example: Tensor,
        names: Sequence[str],
    ) -> None:
        self.targets = targets
        self.score = score
        self.names = tuple(names)
        self._has_told = False
        self.example = example
        self.shape = example.shape[1:]
        self.dtype = example.dtype
        self.predictions = example.new_empty(0)

    @property
    def bytes_per_configuration(self) -> int:
        return len(self.targets) * self.shape.numel() * self.dtype.itemsize

    def seconds_per_configuration(self) -> float:
        predictions = _noisy(self.example, len(self.targets))
        try:
            _ = self.score(predictions.clone(), self.targets)  # the first call may prepare something
            started = time.perf_counter()
            _ = self.score(predictions, self.targets)
        except Exception:  # one that cannot do with such predictions: its time is not known
            return UNKNOWN_SECONDS
        return time.perf_counter() - started

    def start(self, configurations: int) -> None:
        shape = (configurations, len(self.targets), *self.shape)
        self.predictions = torch.empty(shape, dtype=self.dtype, device=self.targets.device)

    def add(self, chunk: RowChunk, first: int, last: int, value: Value, numbers: np.ndarray[Any, Any]) -> None:
        outputs = each(value)
        for place, number in enumerate(numbers, start=first):
            self.predictions[place, chunk.rows] = outputs[number]

    def finish(self) -> Scores:
        found = [self._scored(predictions) for predictions in self.predictions]
        return {name: np.array([scores[name] for scores in found], dtype=np.float64) for name in found[0]}

    def _scored(self, predictions: Tensor) -> Mapping[str, float]:
        try:
            return self.score(predictions, self.targets)
        except MetricError as error:
            if not self._has_told:
                logger.warning("a configuration fails, as others may: %s", error)
                self._has_told = True
            return {**dict.fromkeys(self.names, math.nan), **error.found}
