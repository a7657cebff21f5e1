"""Surrogate search: Gaussian processes model the measured metrics; costs are computed exactly from formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy  # its parts are imported when they are first used
from annotated_types import Ge

from chop.actions.search.strategies.base import STRATEGIES, StrategyContext
from chop.actions.search.strategies.product.averaged_model import AveragedModel
from chop.actions.search.strategies.product.base import Array, Code, ProductStrategy
from chop.actions.search.strategies.product.choice_levels import levels_of
from chop.actions.search.strategies.product.gaussian_process import Features, GaussianProcess
from chop.actions.search.strategies.product.hypervolume_gain import Boxes, expected_gain, undominated
from chop.actions.search.strategies.product.uniform_codes import uniform_codes
from chop.config.keys import documented
from chop.record.front import Front

EXPLORATION, EXPLORATION_OF_TWO = 0.5, 0.3
"""The share of a prediction's standard deviation that counts: a front has so many points that being right about most
of them pays more than learning where the model is unsure. Of two processes the deviation has a second part, by which
they disagree, and less of it is best."""

LEAST_INITIAL, MOST_INITIAL = 18, 30
GUESSED_INITIAL = 12
"""Points on the guessed front that are measured first, where there are guesses."""

POOL, GUESSING_ROUNDS, MOST_BESIDE = 4_000, 3, 60
"""Points drawn to find the guessed front, how often those beside it are looked at, and beside how many of its points.
"""

BEYOND = 1.05
"""The reference of the guessed front, of which all objectives are scaled to 0 … 1: its ends count, too."""

STEPS = 20
"""Steps in which the model's parameters are improved before each batch."""

DRAWN = 500
MOST_FRONT = {1: 200, 2: 200, 3: 40}
FEW_FRONT = 12
"""Points of the front from which gains are told, by the number of objectives: boxes grow with its power."""

ROUNDS, BEST = 2, 30
FINALISTS = 400
WHOLE_SPACE = 6_000
"""Points up to which a space is scored as a whole."""


@dataclass(frozen=True)
class SurrogateOptions:
    """Options of the probes, the first points and the model."""

    probe_rows: Annotated[int, Ge(0)] | None = documented(
        None,
        "Training samples of the sensitivity probes, which estimate all points before any is measured; 0: no probes. "
        "Without it from 32 to 512, as many as keep the probes within the cost of eight evaluations.",
    )
    initial: Annotated[int, Ge(2)] | None = documented(
        None,
        "Points that are measured before there is a model. Without it 12 on the guessed front; where that has fewer "
        "(one objective, say), or there are no guesses, uniform ones follow, then random ones, 18 to 30 in all.",
    )
    most_model_points: Annotated[int, Ge(10)] = documented(
        400, "The largest number of trials that the model learns from: those nearest to the front."
    )


@dataclass(frozen=True)
class _Candidates:
    """Points that may be proposed: codes, and the mean and deviation of all values."""

    codes: Array
    mean: Array
    deviation: Array

    def part(self, rows: Array) -> _Candidates:
        """Some of them."""
        return _Candidates(self.codes[rows], self.mean[rows], self.deviation[rows])

    @staticmethod
    def joined(parts: Sequence[_Candidates]) -> _Candidates:
        """All of several sets."""
        names = ("codes", "mean", "deviation")
        return _Candidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@STRATEGIES.register("surrogate")
class Surrogate(ProductStrategy):
    """Proposes the points with the largest expected hypervolume gain under Gaussian processes."""

    Options = SurrogateOptions
    batch = 5
    purpose = "fewest evaluations: use it when an evaluation takes a second or more"

    def __init__(self, context: StrategyContext, options: SurrogateOptions | None = None) -> None:
        super().__init__(context, options)
        self._uniform = uniform_codes(self.axes)
        self._models: dict[int, AveragedModel] = {}
        self._first = self.options.initial or min(max(len(self._uniform), LEAST_INITIAL), MOST_INITIAL)
        self._initial: list[Code] | None = None

    def proposals(self, n: int) -> Iterable[Code]:
        if self._initial is None:
            self._initial = self._begin()
        if len(self.told) < self._first and self._initial:
            first, self._initial = self._initial[:n], self._initial[n:]
            return self.unseen(first) if any(code not in self.told for code in first) else self.proposals(n)
        codes, costs = self.measured()
        if len(self.told) >= self.size:
            return []
        if len(codes) < 2:
            return self.unseen(self.random_codes(20 * n))
        return self._best(n, codes, costs)

    def _begin(self) -> list[Code]:
        """Make the models, and choose the points that are measured before the models can learn."""
        learned = [place for place, is_learned in enumerate(self.known.is_learned) if is_learned]
        features = self._features() if learned else None
        self._models = {place: self._model(features) for place in learned}
        self._has_features = features is not None
        self._worst_known = self._most_known()
        if features is None:
            return self._initial_codes([])
        guessed = self._guessed_front(features)
        if len(guessed) >= GUESSED_INITIAL:  # fewer where there is no front of two costs: as many as without guesses
            self._first = self.options.initial or GUESSED_INITIAL
        return self._initial_codes(guessed)

    def _model(self, features: Features | None) -> AveragedModel:
        """The model of a measured value: a process that sees the probes, later one without them beside it."""
        levels = [levels_of(axis) for axis in self.axes]
        processes = [GaussianProcess(levels, own) for own in ([features, None] if features else [None])]
        return AveragedModel(processes, self._enough)

    @property
    def _enough(self) -> int:
        """The number of trials from which a process without features counts: as many as all layers have choices."""
        return min(sum(self.sizes), int(self.options.most_model_points))

    def _features(self) -> Features | None:
        """The features from the sensitivity probes, if they are wanted and possible."""
        rows, probes = self.options.probe_rows, self.context.probes
        found = probes(rows) if probes and rows != 0 else None
        return Features(found.count, found.features) if found else None

    def _initial_codes(self, guessed: Sequence[Array]) -> list[Code]:
        """The first points: `guessed` ones, uniform ones in random order, and random ones."""
        uniform = self.random.permutation(self._uniform)
        drawn = self.random_codes(self._first)
        codes = dict.fromkeys(tuple(map(int, code)) for code in [*guessed, *uniform, *drawn])
        return list(codes)[: self._first]

    def _most_known(self) -> Array:
        """The worst useful value of each objective that is known beforehand; no bound for the others."""
        costs: Array = self.known.costs(np.concatenate([self._uniform, self.random_codes(POOL)])).max(0)
        costs[list(self._models)] = -np.inf
        return costs[: self.known.objectives]

    def _guessed_front(self, features: Features) -> list[Array]:
        """Points on the front that the probes predict, those first that add most to its hypervolume."""
        around = np.concatenate([self._uniform, self.random_codes(POOL)])
        for _ in range(GUESSING_ROUNDS):
            front, _ = self._front_by_guess(around, features)
            around = np.concatenate([front, self.neighbours(front[:: 1 + len(front) // MOST_BESIDE])])
        front, costs = self._front_by_guess(around, features)
        costs = (costs - costs.min(0)) / np.where(costs.max(0) > costs.min(0), costs.max(0) - costs.min(0), 1.0)
        chosen: list[int] = []
        for _ in range(min(self.options.initial or GUESSED_INITIAL, len(front))):
            gains = expected_gain(undominated(costs[chosen], BEYOND * np.ones(costs.shape[1])), costs, 0.0 * costs)
            gains[chosen] = -1.0
            chosen.append(int(gains.argmax()))
        return list(front[chosen])

    def _front_by_guess(self, codes: Array, features: Features) -> tuple[Array, Array]:
        """The undominated points of `codes`, with the first feature in place of the measured values; their costs.

        Constraints on what is known hold. Where there is one objective, what constraints are on counts as another: it
        is near a constraint that the best is found, and guesses do not say where that is.
        """
        codes = np.unique(codes, axis=0)
        costs, guess = self.known.costs(codes), features.of(codes)[:, 0]
        objectives = self.known.objectives
        for place in self._models:
            known = costs[:, place] / (costs[:, place].std() or 1.0)
            costs[:, place] = known + guess if place < objectives else 0.0
        places = range(objectives, costs.shape[1])
        known = [place for place in places if place not in self._models]
        constraints = [*[guess] * (len(known) < len(places)), *([costs[:, known].max(1)] if known else [])]
        weighed = np.stack([*costs[:, :objectives].T, *(constraints if objectives == 1 else [])], 1)
        is_within = self.is_within(costs)
        rows = np.flatnonzero(is_within if is_within.any() else ~is_within)
        front: Array = Front.of(weighed[rows], rows).index
        return codes[front], weighed[front]

    def _best(self, n: int, codes: Array, costs: Array) -> list[Code]:
        """The `n` points that add most, each under the assumption that those before it turn out as predicted."""
        self._learn(codes, costs)
        worst = np.maximum(costs[:, : self.known.objectives].max(0), self._worst_known)
        candidates = self._candidates(codes, costs, worst)
        chosen: list[Code] = []
        known = costs
        for _ in range(min(n, len(candidates.codes))):
            scores = self._scores(candidates, known, worst)
            best = int(scores.argmax())
            chosen.append(tuple(map(int, candidates.codes[best])))
            known = np.concatenate([known, candidates.mean[best : best + 1]])
            candidates = candidates.part(np.flatnonzero(np.arange(len(scores)) != best))
        return chosen

    def _learn(self, codes: Array, costs: Array) -> None:
        """Fit the models to the measured values."""
        rows = self._nearest_rows(costs)
        self._exploration = EXPLORATION_OF_TWO if self._has_features and len(rows) >= self._enough else EXPLORATION
        missing = (costs - self.known.costs(codes))[rows]
        for place, model in self._models.items():
            model.fit(codes[rows], missing[:, place], STEPS)

    def _nearest_rows(self, costs: Array) -> Array:
        """The trials that the model is fitted to: of many, those with the best objectives in turn."""
        most = self.options.most_model_points
        if len(costs) <= most:
            return np.arange(len(costs))
        ranks = costs[:, : self.known.objectives].argsort(0).argsort(0)
        left, kept = np.arange(len(costs)), np.empty(0, dtype=np.int64)
        while len(kept) < most:
            front = left[self.front_of(costs[left])]
            kept, left = np.concatenate([kept, front]), np.setdiff1d(left, front)
            if len(front) == 1 and len(left):  # nothing satisfies the constraints: the best of any objective instead
                kept = np.concatenate([kept, left[ranks[left].min(1).argsort()[: most - len(kept)]]])
        return np.sort(kept[:most])

    def _candidates(self, codes: Array, costs: Array, worst: Array) -> _Candidates:
        """The most promising points around the front, around each other, and anywhere."""
        if self.size <= WHOLE_SPACE:
            everything = np.stack(np.unravel_index(np.arange(self.size), self.sizes), 1)
            return self._finalists(self._predicted(everything), costs, worst)
        front = codes[self.front_of(costs)]
        found = [self._predicted(np.concatenate([self.neighbours(front), self.random_codes(DRAWN)]))]
        for _ in range(ROUNDS):
            best = self._finalists(_Candidates.joined(found), costs, worst).codes[:BEST]
            found.append(self._predicted(self.neighbours(best)))
        return self._finalists(_Candidates.joined(found), costs, worst)

    def _predicted(self, codes: Array) -> _Candidates:
        """The points of `codes` that were not measured, each once, with the model's predictions."""
        distinct = self.new_codes(codes)
        mean = self.known.costs(distinct)
        deviation = np.zeros_like(mean)
        for place, model in self._models.items():
            if len(distinct):
                more, deviation[:, place] = model.predict(distinct)
                mean[:, place] += more
        return _Candidates(distinct, mean, self._exploration * deviation)

    def _finalists(self, candidates: _Candidates, costs: Array, worst: Array) -> _Candidates:
        """The points with the largest gain on their own, best first."""
        _, once = np.unique(candidates.codes, axis=0, return_index=True)
        candidates = candidates.part(once)
        order = np.argsort(-self._scores(candidates, costs, worst), kind="stable")
        return candidates.part(order[:FINALISTS])

    def _scores(self, candidates: _Candidates, costs: Array, worst: Array) -> Array:
        """The expected gain of each candidate, times the probability that it satisfies the constraints."""
        objectives = self.known.objectives
        chance = self._chance(candidates.mean[:, objectives:], candidates.deviation[:, objectives:])
        if not self.is_within(costs).any():
            return chance
        boxes = self._boxes(costs, worst)
        return chance * expected_gain(boxes, candidates.mean[:, :objectives], candidates.deviation[:, :objectives])

    def _boxes(self, costs: Array, worst: Array) -> Boxes:
        front = costs[self.front_of(costs), : self.known.objectives]
        most = MOST_FRONT.get(self.known.objectives, FEW_FRONT)
        if len(front) > most:
            front = front[np.linspace(0, len(front) - 1, most).astype(int)]
        return undominated(front, worst)

    def _chance(self, mean: Array, deviation: Array) -> Array:
        """The probability `(points,)` that all violations `(points, constraints)` are 0 or less."""
        z = (1e-12 - mean) / np.maximum(deviation, 1e-13)
        found: Array = np.prod(scipy.special.ndtr(z), axis=1)
        return found
