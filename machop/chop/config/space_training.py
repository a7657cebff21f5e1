"""The options of a training for a whole search space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from chop.config.keys import documented

WARM_UP = 0.1
"""Share of the steps on which the learning rate rises."""

FIRST_RATE = 0.04
"""The learning rate of the first step, as a share of the highest."""

RATE, RATE_BATCH = 6e-3, 128
"""The highest learning rate where none is given, for batches of so many samples and more."""


@dataclass(frozen=True)
class SpaceTrainingOptions:
    """The options of `ch train --for-space`: keys of the table `[train_for_space]`, and arguments in Python."""

    max_epochs: Annotated[int, Ge(1)] = documented(24, "Epochs of training.")
    batch_size: Annotated[int, Ge(1)] | None = documented(
        None, "Samples per batch; without it, so many that an epoch has about 75 steps, 32 to 1,024."
    )
    learning_rate: Annotated[float, Gt(0), Le(1000)] | None = documented(
        None,
        "The highest learning rate; it rises for a tenth of the training, and falls to nothing along a cosine. Without "
        "it, 0.006; for batches of fewer than 128 samples less, by the square root of their size.",
    )
    weight_decay: Annotated[float, Ge(0)] = documented(0.0, "Weight decay (AdamW).")
    plans_per_step: Annotated[int, Ge(1)] = documented(4, "Random plans of each step, beside the widest.")
    widest_weight: Annotated[float, Ge(0), Le(1000)] = documented(
        2.0, "How much the loss of the widest plan counts, each of the others counting 1."
    )
    teacher_share: Annotated[float, Ge(0), Le(1)] = documented(
        0.5, "Share of the loss that is on the outputs of the float network; the rest is on the labels."
    )
    refresh_every: Annotated[int, Ge(1)] = documented(20, "Steps between two measurements of ranges.")
    probes: Annotated[int, Ge(2)] = documented(16, "Plans that are scored after each epoch; the best epoch is theirs.")
    probe_samples: Annotated[int, Ge(1)] | None = documented(
        None, "Validation samples that probes are scored on; all without it."
    )
    patience: Annotated[int, Ge(1)] | None = documented(
        None, "End when the probes' mean has not improved for so many epochs."
    )

    def batch_of(self, samples: int) -> int:
        """The batch size for so many training samples.

        >>> SpaceTrainingOptions().batch_of(78_104), SpaceTrainingOptions().batch_of(3_000)
        (1024, 64)
        """
        if self.batch_size is not None:
            return self.batch_size
        return min(1024, max(32, 1 << (max(samples, 1) // 75).bit_length()))

    def highest_rate(self, batch: int) -> float:
        """The highest learning rate for batches of so many samples: gradients of few samples are noisy.

        >>> [round(SpaceTrainingOptions().highest_rate(batch), 4) for batch in (32, 64, 128, 1024)]
        [0.003, 0.0042, 0.006, 0.006]
        """
        return self.learning_rate or RATE * min(1.0, batch / RATE_BATCH) ** 0.5

    def rate(self, step: int, steps: int, batch: int) -> float:
        """The learning rate of a step: up to the highest, and down to nothing, both along half a cosine.

        Smith and Topin, arXiv:1708.07120.

        >>> options = SpaceTrainingOptions(learning_rate=1.0)
        >>> [round(options.rate(step, 100, 32), 2) for step in (0, 10, 55, 100)]
        [0.04, 1.0, 0.5, 0.0]
        """
        highest = self.highest_rate(batch)
        rising = max(1, round(WARM_UP * steps))
        if step < rising:
            share = 0.5 * (1 - math.cos(math.pi * step / rising))
            return highest * (FIRST_RATE + (1 - FIRST_RATE) * share)
        return highest * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))
