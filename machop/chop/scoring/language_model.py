"""The task next-token language modelling: cross entropy, perplexity and accuracy over tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chop.errors import ChopError
from chop.scoring.accumulator import Accumulator
from chop.scoring.bounds import SampleValues
from chop.scoring.classification import ACCURACY_MICRO
from chop.scoring.intervals import Interval, bootstrap_interval
from chop.scoring.kept_outputs import KeptOutputs
from chop.scoring.labels import UNLABELLED
from chop.scoring.metric import LOSS, Loss, Metric, UserMetric
from chop.scoring.task import TASKS, Task
from chop.tools.model_inputs import tensors_of

SCORES_AT_ONCE = 2**22
"""Outputs whose logarithms of probabilities are made at once: 16 MiB of float32."""

PERPLEXITY = Metric("perplexity", "", "minimize", (1.0, inf))


@TASKS.register("language_modeling", aliases=("lm",))
class LanguageModel(Task):
    """Predicts the next token: mean cross entropy of all tokens, perplexity, and the share of correct tokens.

    Targets `(samples, tokens)` are the tokens themselves, as labels are in Hugging Face: outputs `(samples, tokens,
    vocabulary)` at one place are compared with the target at the next, so the first target and the last outputs count
    nowhere, and neither does a target of -100.
    """

    own_metrics = (LOSS, PERPLEXITY, ACCURACY_MICRO)
    reads_tokens = True

    def __init__(
        self,
        num_classes: int | None = None,
        loss: Loss | None = None,
        metrics: Mapping[str, UserMetric] | None = None,
    ) -> None:
        if loss is not None:
            raise ChopError(
                "the task 'lm' has a loss of its own, next-token cross entropy: let the data return none, or choose "
                "--task cls, which leaves loss and shift to the data"
            )
        super().__init__(num_classes, None, metrics)

    def values(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"loss": self.losses(outputs, targets)}

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        scores, following = shifted(outputs, targets)
        has_label = following != UNLABELLED
        return F.cross_entropy(scores[has_label], following[has_label], reduction="none")

    def imitation_loss(self, outputs: Tensor, taught: Tensor, targets: Tensor) -> Tensor | None:
        """The cross entropy of each next token that has a label, with the probabilities of the other network."""
        scores, following = shifted(outputs, targets)
        has_label = following != UNLABELLED
        soft = shifted(taught, targets)[0][has_label].softmax(-1)
        return F.cross_entropy(scores[has_label], soft) if len(soft) else None

    def accumulators(self, kept: KeptOutputs, by_sample: bool) -> list[Accumulator]:
        return [NextTokens()]

    def require_data(self, x: Any, targets: Tensor) -> None:
        if targets.ndim != 2 or targets.is_floating_point() or targets.shape[1] < 2:
            raise ChopError(
                f"a language model's targets are whole numbers (samples, tokens), at least two tokens; these are "
                f"{targets.dtype} {tuple(targets.shape)}"
            )
        for name, tokens in tensors_of(x).items():
            if _are_shifted(tokens, targets):
                raise ChopError(
                    f"the targets are {name} one place further on, and the task 'lm' shifts them itself: let the data "
                    "return the same tokens as input and as targets"
                )


class NextTokens(Accumulator):
    """`loss`, `perplexity` and `accuracy_micro` of next tokens, from three sums of each sample."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self._sums += [_sums(*part) for part in _pieces(outputs, targets)]

    def result(self) -> dict[str, float]:
        return _metrics(torch.cat(self._sums, 1).sum(1))

    def intervals(self) -> dict[str, Interval]:
        sums = torch.cat(self._sums, 1).cpu()

        def of_drawn(name: str) -> Callable[[Tensor], float]:
            return lambda samples: _metrics(sums[:, samples].sum(1))[name]

        return {
            name: bootstrap_interval(value, name, sums.shape[1], of_drawn(name))
            for name, value in self.result().items()
        }

    def sample_values(self) -> dict[str, SampleValues]:
        loss = SampleValues(torch.cat(self._sums, 1)[0], weights_of=next_tokens_of_each)
        return {"loss": loss, "perplexity": SampleValues(loss.values, weights_of=next_tokens_of_each, transform=_exp)}


def shifted(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs `(rows, vocabulary)` and the tokens `(rows,)` that follow; raises ChopError where they do not fit."""
    if outputs.ndim != 3 or outputs.shape[:2] != targets.shape:
        raise ChopError(
            f"the model gives {tuple(outputs.shape)} for targets {tuple(targets.shape)}: a language model gives "
            "(samples, tokens, vocabulary) for (samples, tokens)"
        )
    scores, following = outputs[:, :-1].flatten(0, 1), targets[:, 1:].flatten()
    wrong = following[((following < 0) & (following != UNLABELLED)) | (following >= scores.shape[1])]
    if len(wrong):
        raise ChopError(
            f"a target is {int(wrong[0])}, but the model scores a vocabulary of {scores.shape[1]:,} tokens, from 0 on"
        )
    return scores, following


def next_tokens_of_each(targets: Tensor) -> Tensor:
    """The number of predicted tokens of each sample, `(samples,)`."""
    return (targets[:, 1:] != UNLABELLED).sum(1)


def _pieces(outputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples in pieces that are small enough to take logarithms of."""
    samples = max(1, SCORES_AT_ONCE // max(1, outputs[0].numel()))
    yield from zip(torch.split(outputs, samples), torch.split(targets, samples), strict=True)


def _sums(outputs: Tensor, targets: Tensor) -> Tensor:
    """The sum of losses, the hits and the number of tokens of each sample, `(3, samples)` in float64."""
    scores, following = shifted(outputs, targets)
    rows = max(1, SCORES_AT_ONCE // scores.shape[1])
    parts = zip(torch.split(scores, rows), torch.split(following, rows), strict=True)
    losses = torch.cat(
        [F.cross_entropy(part.float(), own, ignore_index=UNLABELLED, reduction="none") for part, own in parts]
    )
    hits = scores.argmax(1) == following
    found = torch.stack([losses.double(), hits.double(), (following != UNLABELLED).double()])
    return found.view(3, len(targets), -1).sum(2)


def _metrics(sums: Tensor) -> dict[str, float]:
    loss, hits, tokens = sums.tolist()
    mean = loss / tokens if tokens else math.nan
    return {"loss": mean, "perplexity": _exp(mean), "accuracy_micro": hits / tokens if tokens else math.nan}


def _exp(value: float) -> float:
    """The exponential; infinite where it is beyond what a float holds."""
    return math.exp(value) if value < 709 else math.inf if not math.isnan(value) else value


def _are_shifted(tokens: Tensor, targets: Tensor) -> bool:
    """Whether targets are the tokens one place further on, and not the tokens themselves."""
    if tokens.shape != targets.shape or tokens.is_floating_point() or tokens.dtype is torch.bool:
        return False
    has_label = targets != UNLABELLED
    is_same = bool((tokens == targets)[has_label].all())
    following = has_label[:, :-1]
    return not is_same and bool(following.any()) and bool((tokens[:, 1:] == targets[:, :-1])[following].all())
