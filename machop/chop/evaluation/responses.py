"""The responses of a network's outputs to each choice alone, which predict all choices together.

To first order the changes of the outputs add up (as the losses do in HAWQ-V2, Dong et al., NeurIPS 2020): with one run
for each alternative of each axis, on a few rows, the outputs of every network of a product space can be guessed. It is
done around two networks, the one in float and the one with fewest bits, since what a layer of few bits does among wide
ones says little of what it does among its like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from chop.tools.model_outputs import OutputName

Array = np.ndarray[Any, Any]

LARGEST = 1e6
"""Outputs beyond it, and those that are no numbers, count as this."""

MOST_RIVALS = 16
"""Of more classes than this those that score highest in float count, beside the highest of all."""

SMALLEST = 1e-9
SMALLEST_DIVERGENCE = 1e-4
"""Nats, added before the logarithm is taken: of networks that near to the one in float none is better."""

MOST_DEVIATIONS = 4.0
TYPICAL = 1_000
"""Points that show how features are spread."""

VALUES_AT_ONCE = 2**18
MOST_REMEMBERED = 100_000

Choice = Mapping[str, Mapping[str, Format]]
Outputs = Callable[[Sequence[Choice]], Tensor]


class Responses:
    """ProbeFeatures of the outputs of all configurations that `axes` make, on fixed batches `[(x, y), …]`.

    `fewest` is the code of the configuration with fewest bits; `classes` how many classes targets number, if they do.
    Nothing but these rows is looked at, and no metric of a search is measured: networks are judged by how far their
    outputs are from those of the network in float, which few rows tell. `on_run` is called after each of `runs`.
    `samples_run` tells for each node on how many samples it was computed: what networks share is computed once.
    """

    def __init__(
        self,
        graph: MaseGraph,
        axes: Sequence[Axis],
        fewest: Sequence[int],
        batches: Iterable[tuple[Any, Tensor]],
        device: str = "cpu",
        classes: int | None = None,
        on_run: Callable[[], None] = lambda: None,
        output: OutputName = None,
    ) -> None:
        runner = PlanRunner(graph, batches, device, output)

        def outputs(chosen: Sequence[Choice]) -> Tensor:
            plan = QuantPlan.of({node: formats for own in chosen for node, formats in own.items()})
            found = runner.predictions(plan).float().nan_to_num(LARGEST, LARGEST, -LARGEST)
            on_run()
            return found.clamp(-LARGEST, LARGEST).movedim(0, -1).contiguous()  # rows last: quick to add up over classes

        no_formats: list[Choice] = [{} for _ in axes]
        low: list[Choice] = [dict(axis[number]) for axis, number in zip(axes, fewest, strict=True)]
        in_float = outputs(no_formats)
        kept = _highest(in_float) if _are_scores(in_float, runner.targets, classes) else None

        def run(chosen: Sequence[Choice]) -> Tensor:
            return outputs(chosen) if kept is None else outputs(chosen).gather(0, kept)

        in_float = in_float if kept is None else in_float.gather(0, kept)
        bases = (no_formats, in_float), (low, run(low))
        self._bases = [_Base(run, axes, base, own, in_float, kept is not None) for base, own in bases]
        self.samples_run: Mapping[str, int] = runner.samples_run
        self._remembered: dict[bytes, Array] = {}
        self._centre, self._spread = np.zeros(1), np.ones(1)
        typical = np.random.default_rng(0).integers(0, [len(axis) for axis in axes], (TYPICAL, len(axes)))
        guessed = self._guess(typical)
        self._centre, self._spread = guessed.mean(0), np.maximum(guessed.std(0), SMALLEST)

    @staticmethod
    def runs(axes: Sequence[Axis]) -> int:
        """The number of networks that are run to compute the responses."""
        return 2 * (1 + sum(len(axis) for axis in axes))

    @staticmethod
    def kept(row: Tensor, targets: Tensor, classes: int | None) -> int:
        """The number of stored outputs of one sample `(1, …)`."""
        are_scores = _are_scores(row.movedim(0, -1), targets, classes)
        return min(row.numel(), 1 + MOST_RIVALS) if are_scores else row.numel()

    @property
    def count(self) -> int:
        """The number of features of a configuration."""
        return len(self._centre)

    def features(self, codes: Codes) -> Array:
        """The predicted features of configurations, `(configurations, features)`, less is better, in standard units.

        For either base the logarithm of the mean square of what the outputs differ by from those in float; where they
        are scores of classes, also that of the mean Kullback-Leibler divergence of the classes' probabilities.
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
        found = [torch.cat([base.features(part) for base in self._bases], 1) for part in self._parts(codes)]
        return torch.cat(found).double().cpu().numpy()

    def _parts(self, codes: Codes) -> list[Codes]:
        size = max(1, VALUES_AT_ONCE // max(self._bases[0].outputs, codes.shape[1] ** 2))
        return [codes[first : first + size] for first in range(0, len(codes), size)]


def _are_scores(outputs: Tensor, targets: Tensor, classes: int | None) -> bool:
    """Whether outputs are scores of classes `(classes, rows)`, and targets their numbers."""
    if classes is None or classes < 2 or outputs.ndim != 2 or len(outputs) != classes:
        return False
    are_numbers = targets.ndim == 1 and not targets.is_floating_point()
    return are_numbers and 0 <= int(targets.min()) <= int(targets.max()) < classes


def _highest(scores: Tensor) -> Tensor:
    """Of each row the classes by score, highest first, `(classes, rows)`; of many those that score highest."""
    return scores.topk(min(len(scores), 1 + MOST_RIVALS), 0).indices


class _Base:
    """A network, and what each alternative changes in its outputs when it alone is put in place of its own.

    All that is kept is linear in the outputs, so that changes add up: scalar products of the changes, for the distance
    from float, and how far the other classes lead the first one, for the divergence.
    """

    def __init__(
        self,
        run: Outputs,
        axes: Sequence[Axis],
        base: Sequence[Choice],
        own: Tensor,
        in_float: Tensor,
        are_scores: bool,
    ) -> None:
        others = [run([*base[:place], other, *base[place + 1 :]]) for place, axis in enumerate(axes) for other in axis]
        apart = torch.stack([*(other - own for other in others), own - in_float]).flatten(1).double()
        self.outputs = own.numel()
        self._products = apart @ apart.T / own.numel()
        self._first = np.cumsum([0, *(len(axis) for axis in axes)])
        self._leads = own[1:] - own[:1] if are_scores else None
        if self._leads is not None:
            self._changes = torch.stack([other[1:] - other[:1] - self._leads for other in others]).flatten(1)
            scores = in_float.double().log_softmax(0)
            likely = scores.exp()
            likely_leads = torch.cat([self._changes, self._leads.flatten()[None]]).double() @ likely[1:].flatten()
            self._expected = likely_leads[:-1, None] / scores.shape[1]
            self._constant = float((likely * scores).sum(0).mean() - likely_leads[-1] / scores.shape[1])

    def features(self, codes: Codes) -> Tensor:
        """What is guessed of configurations around this network, `(configurations, features)`."""
        last = np.zeros((len(codes), 1), codes.dtype)  # what sets this network apart from the one in float
        rows = torch.from_numpy(np.concatenate([codes, last], 1) + self._first).to(self._products.device)
        apart = self._products[rows[:, :, None], rows[:, None]].sum((1, 2))
        features = [apart.clamp_min(SMALLEST).log()]
        if self._leads is not None:
            features.append((self._divergence(rows[:, :-1]) + SMALLEST_DIVERGENCE).log())
        return torch.stack(features, 1)

    def _divergence(self, rows: Tensor) -> Tensor:
        """The mean divergence of the classes' probabilities from those in float, in nats, `(configurations,)`."""
        assert self._leads is not None
        leads = functional.embedding_bag(rows, self._changes, mode="sum")
        leads = leads.view(len(rows), *self._leads.shape).add_(self._leads)
        most = leads.amax(1).clamp_min_(0.0)  # the first class leads itself by nothing
        odds = leads.sub_(most.unsqueeze(1)).exp_().sum(1).add_((-most).exp_())
        expected = functional.embedding_bag(rows, self._expected, mode="sum").squeeze(1)
        return (odds.log_().add_(most).double().mean(1) - expected + self._constant).clamp_min_(0.0)
