"""The conformance suite of search strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from chop.actions.search.measuring.outcome import Measured
from chop.actions.search.run.loop import scaled_metrics, told_values
from chop.actions.search.search_space.base import Point
from chop.actions.search.search_space.trained_networks import TrainedNetworks
from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext, Values
from chop.errors import MetricError
from chop.record.goals import Constraint
from chop.record.trial import Trial
from chop.testing.made_up_search import MadeUpSearch, MadeUpTrainer

TRIALS = 12
"""Trials of a search in this suite."""

CONSTRAINTS = (Constraint("model_size", "max", 80.0), Constraint("accuracy", "min", 0.7))
IMPOSSIBLE = (Constraint("accuracy", "min", 2.0),)
Listed = str | type[SearchStrategyBase] | tuple[str | type[SearchStrategyBase], Mapping[str, Any]]


@dataclass(frozen=True)
class StrategyCase:
    """A strategy with its options; `objectives` are the numbers of objectives (1, 2, 3) that it can search for."""

    cls: type[SearchStrategyBase]
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, listed: Listed) -> StrategyCase:
        """A case from what a suite lists: a name or a class, or a pair of one and its options."""
        given, options = listed if isinstance(listed, tuple) else (listed, {})
        return cls(STRATEGIES[given] if isinstance(given, str) else given, options)

    def __call__(self, context: StrategyContext) -> SearchStrategyBase:
        """A new strategy for a space, with a made-up training where it declares one."""
        options = self.cls.Options(**self.options)
        trainer = None
        if (training := self.cls.training(options)) is not None:
            given = context.space.given if isinstance(context.space, TrainedNetworks) else context.space
            trainer = MadeUpTrainer(given, training.snapshots, context.seed)
        return self.cls(replace(context, trainer=trainer), options)

    def search(self, **options: Any) -> MadeUpSearch:
        """A made-up search that suits it: with a point for each network, where it trains networks of their own."""
        return MadeUpSearch(**options, snapshots=self.networks)

    @property
    def networks(self) -> int:
        """How many networks with weights of their own it trains; 0: it proposes points of the space."""
        training = self.cls.training(self.cls.Options(**self.options))
        return training.snapshots if training is not None and training.own_networks else 0

    @property
    def objectives(self) -> list[int]:
        """The numbers of objectives, from 1 to 3, that the strategy can search for with its options."""
        return [number for number in (1, 2, 3) if self.cls.problem(self.cls.Options(**self.options), number) is None]

    def __str__(self) -> str:
        return "-".join([self.cls.__name__, *map(str, self.options.values())])


class StrategyConformance:
    """Subclass it in a test module and list `strategies`; pytest then checks each of them on made-up searches.

    One is listed as its name or class, or as a pair of that and its options: `("mine", {"depth": 3})`. Whatever it
    does within its first 12 trials is checked, so let it begin to learn before.
    """

    strategies: ClassVar[Sequence[Listed]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each strategy, and where a test asks for it, for each number of objectives."""
        cases = [StrategyCase.of(listed) for listed in self.strategies]
        if "objectives" in metafunc.fixturenames:
            pairs = [(case, number) for case in cases for number in case.objectives]
            metafunc.parametrize(("case", "objectives"), pairs, ids=[f"{case}-{number}" for case, number in pairs])
        elif "case" in metafunc.fixturenames:
            metafunc.parametrize("case", cases, ids=str)

    def test_it_searches_for_one_number_at_least(self, case: StrategyCase) -> None:
        """`problem` names what a strategy cannot do; one number any can."""
        assert 1 in case.objectives
        assert case.cls.purpose, "say in `purpose` what it is for: `ch info strategy` shows it"

    def test_a_seed_gives_the_same_trials_again(self, case: StrategyCase, objectives: int, tmp_path: Path) -> None:
        """For any number of objectives that it declares, whatever stands in its context; points lie in the space."""
        search = case.search(objectives=objectives)
        first = search.run(case, TRIALS, tmp_path / "first")
        again = case.search(objectives=objectives).run(case, TRIALS, tmp_path / "again")
        assert _facts(again) == _facts(first)
        _check_points(search, [trial.point for trial in first])

    @pytest.mark.parametrize("seed", [1, 2**31 - 1])
    def test_other_seeds_are_as_good(self, case: StrategyCase, seed: int, tmp_path: Path) -> None:
        """Any seed will do, also where nothing is known of points without measuring them."""
        search = case.search(objectives=max(case.objectives[:2]), seed=seed, is_free=False)
        _check_points(search, [trial.point for trial in search.run(case, 4, tmp_path / "log")])

    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_resumed_search_equals_an_unbroken_one(self, case: StrategyCase, batch: int, tmp_path: Path) -> None:
        """Wherever the record was cut, and however many points are asked for at a time."""
        search = case.search(objectives=max(case.objectives[:2]))
        whole = search.run(case, TRIALS, tmp_path / "whole", batch)
        lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
        for cut in {1, len(whole) // 2, len(whole) - 1}:
            (tmp_path / "cut").write_bytes(b"".join(lines[: 1 + cut]))
            assert _facts(search.run(case, TRIALS, tmp_path / "cut", batch, resume=True)) == _facts(whole)

    def test_it_gives_no_more_points_than_it_is_asked_for(self, case: StrategyCase) -> None:
        """And leaves alone what it has given and what it is told."""
        search = case.search(objectives=case.objectives[0])
        strategy = case(search.context)
        for n in (1, 2, 5, 3):
            points = strategy.ask(n)
            assert len(points) <= n
            _check_points(search, points)
            before = [dict(point) for point in points]
            told = _values(search, strategy, points)
            strategy.tell(points, told)
            strategy.ask(1)
            assert [dict(point) for point in points] == before
            assert told == _values(search, strategy, points)

    def test_a_small_space_ends_or_repeats(self, case: StrategyCase) -> None:
        """When every point was told it proposes nothing, or points of the space once more."""
        search = case.search(layers=1, objectives=case.objectives[0])
        strategy, seen = case(search.context), []
        for _ in range(search.space.size + 5):
            points = strategy.ask(1)
            _check_points(search, points)
            strategy.tell(points, _values(search, strategy, points))
            seen += [search.number(point) for point in points]
        if case.cls.exhaustive:
            assert sorted(seen) == list(range(search.space.size))

    def test_what_it_did_not_ask_for_is_welcome(self, case: StrategyCase, tmp_path: Path) -> None:
        """Trials of earlier searches are told before its first question; it goes on from there, the same each time."""
        if case.networks:
            pytest.skip("trials with weights of their own are of no other search")
        search = case.search(objectives=max(case.objectives[:2]), failing="some")
        inherited = [_trial(search, number, search.space.point(number * 2)) for number in range(12)]
        first = search.run(case, 3, tmp_path / "first", inherited=inherited)
        again = search.run(case, 3, tmp_path / "again", inherited=inherited)
        assert _facts(first) == _facts(again)
        own = [trial for trial in first if not trial.inherited]
        assert len(first) - len(own) == 12
        assert len(own) <= 3
        _check_points(search, [trial.point for trial in own])

    def test_a_point_that_it_asked_for_may_be_told_twice(self, case: StrategyCase) -> None:
        """Another search may have measured it as well."""
        search = case.search(objectives=case.objectives[0])
        strategy = case(search.context)
        points = strategy.ask(2)
        for told in (points[:1], points[:1], points[1:], [search.space.point(0)]):
            strategy.tell(told, _values(search, strategy, told))
        _check_points(search, strategy.ask(2))

    @pytest.mark.parametrize("constraints", [CONSTRAINTS, IMPOSSIBLE], ids=["constraints", "impossible"])
    def test_it_bears_constraints(
        self, case: StrategyCase, constraints: tuple[Constraint, ...], tmp_path: Path
    ) -> None:
        """Values with violations behind them where it knows of constraints; also if no network satisfies them."""
        search = case.search(objectives=max(case.objectives[:2]), constraints=constraints)
        _check_points(search, [trial.point for trial in search.run(case, TRIALS, tmp_path / "log")])

    @pytest.mark.parametrize("failing", ["some", "all"])
    def test_it_survives_trials_that_fail(self, case: StrategyCase, failing: str, tmp_path: Path) -> None:
        """They are told the worst value there is, and it goes on."""
        search = case.search(objectives=max(case.objectives[:2]), failing=failing, constraints=CONSTRAINTS[:1])
        trials = search.run(case, TRIALS, tmp_path / "log")
        _check_points(search, [trial.point for trial in trials])
        assert len(trials) > 1


def _facts(trials: Sequence[Trial]) -> list[tuple[Any, ...]]:
    """The parts of a trial that must be the same in every run: all but the time."""
    return [(t.number, dict(t.point), t.metrics, t.repeats, t.failed, t.inherited) for t in trials]


def _check_points(search: MadeUpSearch, points: Sequence[Point]) -> None:
    """Every key that there is to decide, each with the number of one of its choices."""
    for point in points:
        assert set(point) == set(search.space.parameters), point
        for key, choices in search.space.parameters.items():
            assert type(point[key]) is int, f"{key}: {point[key]!r} is no int"
            assert 0 <= point[key] < len(choices), f"{key}: there is no choice {point[key]}"
        assert 0 <= search.number(point) < search.space.size


def _values(search: MadeUpSearch, strategy: SearchStrategyBase, points: Sequence[Point]) -> list[Values]:
    """The values that a study tells of points."""
    return [told_values(_trial(search, 0, point), search.goals, strategy.constraints) for point in points]


def _trial(search: MadeUpSearch, number: int, point: Point) -> Trial:
    """A trial of an earlier search at a point."""
    found: Measured | MetricError = search.measure([point])[0]
    if isinstance(found, MetricError):
        return Trial(number, dict(point), {}, {}, {}, failed=str(found), inherited="earlier")
    scaled = scaled_metrics(found, search.goals)
    return Trial(number, dict(point), found.software, found.hardware, scaled, inherited="earlier")
