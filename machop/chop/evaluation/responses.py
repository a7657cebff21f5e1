"""What each alternative of a layer does to a network's outputs on its own, and what that tells of all of them together.

To first order the changes of the outputs add up (as the losses do in HAWQ-V2, Dong et al., NeurIPS 2020): with one run
for each alternative of each axis, on a few rows, the outputs of every network of a product space can be guessed. It is
done around two networks, the one in float and the one with fewest bits, since what a layer of few bits does among wide
ones says little of what it does among its like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chop.evaluation.plan_runner import PlanRunner
from chop.evaluation.program import Axis
from chop.evaluation.walk import Codes
from chop.formats import Format
from chop.ir import MaseGraph, QuantPlan

Array = np.ndarray[Any, Any]

LARGEST = 1e6
"""Outputs beyond it, and those that are no numbers, count as this."""

SMALLEST = 1e-9
MOST_DEVIATIONS = 4.0
TYPICAL = 1_000
"""Points that show how features are spread."""

VALUES_AT_ONCE = 2**18
MOST_REMEMBERED = 100_000

Choice = Mapping[str, Mapping[str, Format]]
Outputs = Callable[[Sequence[Choice]], Tensor]


class Responses:
    """Guesses of the outputs of all configurations that `axes` make, on fixed batches `[(x, y), …]`.

    `fewest` is the code of the configuration with fewest bits; `classes` how many classes targets number, if they do.
    Nothing but these rows is looked at, and no metric of a search is measured.
    """

    def __init__(
        self,
        graph: MaseGraph,
        axes: Sequence[Axis],
        fewest: Sequence[int],
        batches: Sequence[tuple[Any, Tensor]],
        device: str = "cpu",
        classes: int | None = None,
    ) -> None:
        runner = PlanRunner(graph, batches, device)

        def outputs(chosen: Sequence[Choice]) -> Tensor:
            plan = QuantPlan.of({node: formats for own in chosen for node, formats in own.items()})
            found = runner.predictions(plan).float().nan_to_num(LARGEST, LARGEST, -LARGEST)
            return found.clamp(-LARGEST, LARGEST).movedim(0, -1).contiguous()  # rows last: quick to add up over classes

        in_float: list[Choice] = [{} for _ in axes]
        low: list[Choice] = [dict(axis[number]) for axis, number in zip(axes, fewest, strict=True)]
        self._float = outputs(in_float)
        self._targets = runner.targets.long()
        self._are_classes = self._tell_classes(runner.targets, classes)
        self._bases = [_Base(outputs, axes, base) for base in (in_float, low)]
        self._remembered: dict[bytes, Array] = {}
        self._centre, self._spread = np.zeros(1), np.ones(1)
        typical = np.random.default_rng(0).integers(0, [len(axis) for axis in axes], (TYPICAL, len(axes)))
        guessed = self._guess(typical)
        self._centre, self._spread = guessed.mean(0), np.maximum(guessed.std(0), SMALLEST)

    def _tell_classes(self, targets: Tensor, classes: int | None) -> bool:
        """Whether outputs are scores of classes, and targets their numbers."""
        if classes is None or self._float.ndim != 2 or len(self._float) != classes:
            return False
        are_numbers = targets.ndim == 1 and not targets.is_floating_point()
        return are_numbers and 0 <= int(targets.min()) <= int(targets.max()) < classes

    @staticmethod
    def runs(axes: Sequence[Axis]) -> int:
        """How many networks are run to make this."""
        return 2 * (1 + sum(len(axis) for axis in axes))

    @property
    def count(self) -> int:
        """How many features a configuration has."""
        return len(self._centre)

    def features(self, codes: Codes) -> Array:
        """What is guessed of configurations, `(configurations, features)`, the less the better, in standard units.

        For either base the share of rows that are not told right, the logarithm of the mean cross entropy, and that of
        the mean square of what the outputs differ by from those in float; the last alone where outputs are no classes.
        """
        keys = [row.tobytes() for row in np.ascontiguousarray(codes)]
        new = {key: place for place, key in enumerate(keys) if key not in self._remembered}
        if len(self._remembered) + len(new) > MOST_REMEMBERED:
            self._remembered, new = {}, {key: place for place, key in enumerate(keys)}
        if new:
            guessed = (self._guess(codes[list(new.values())]) - self._centre) / self._spread
            self._remembered.update(zip(new, guessed.clip(-MOST_DEVIATIONS, MOST_DEVIATIONS), strict=True))
        return np.array([self._remembered[key] for key in keys]).reshape(-1, self.count)

    @torch.no_grad()
    def _guess(self, codes: Codes) -> Array:
        size = max(1, VALUES_AT_ONCE // self._float.numel())
        parts = [codes[first : first + size] for first in range(0, len(codes), size)]
        found = [torch.cat([self._judged(base.outputs(part)) for base in self._bases], 1) for part in parts]
        return torch.cat(found).double().cpu().numpy()

    def _judged(self, outputs: Tensor) -> Tensor:
        """Features of outputs `(configurations, *output, rows)`, which are overwritten."""
        apart = (outputs - self._float).square_().flatten(1).mean(1)
        features = [apart.clamp_min(SMALLEST).log()]
        if self._are_classes:
            own = outputs.gather(1, self._targets.expand(len(outputs), 1, -1))
            leads = outputs.sub_(own)
            most = leads.amax(1)
            wrong = (leads >= 0).sum(1) > 1  # also where all scores are alike, as those of a network that is dead
            loss = leads.sub_(most.unsqueeze(1)).exp_().sum(1).log_().add_(most).mean(1)
            features = [wrong.float().mean(1), loss.clamp_min(SMALLEST).log(), *features]
        return torch.stack(features, 1)


class _Base:
    """A network, and what each alternative changes in its outputs when it alone is put in place of its own."""

    def __init__(self, outputs: Outputs, axes: Sequence[Axis], base: Sequence[Choice]) -> None:
        self._own = outputs(base)
        changes = [
            outputs([*base[:place], other, *base[place + 1 :]]) - self._own
            for place, axis in enumerate(axes)
            for other in axis
        ]
        self._changes = torch.stack(changes).flatten(1)
        self._first = np.cumsum([0, *(len(axis) for axis in axes[:-1])])

    def outputs(self, codes: Codes) -> Tensor:
        """What the outputs of configurations would be if changes added up, `(configurations, *output, rows)`."""
        rows = torch.from_numpy(codes + self._first).to(self._changes.device)
        changes = functional.embedding_bag(rows, self._changes, mode="sum")
        return changes.view(len(codes), *self._own.shape).add_(self._own)
