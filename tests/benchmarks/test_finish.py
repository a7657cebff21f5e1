"""What `make bench-training PART=finish` compares at equal CPU time: the clock, the cut record, the span of seeds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
sys.path.insert(0, f"{sys.path[0]}/training")

from finish import EACH_TRAINED, Clock, Front, TimedPoint, cut, span, tuned_ways


def test_the_clock_leaves_out_what_it_is_stopped_for() -> None:
    clock = Clock()
    began = clock.seconds
    with clock.stopped():
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
    assert clock.seconds - began < 0.1


def test_a_record_is_cut_at_the_time_of_another_way() -> None:
    trials = [
        TimedPoint(30_000, 0.60, 0.59, seconds=1.0),
        TimedPoint(40_000, 0.55, 0.54, seconds=2.0),  # beaten by the first
        TimedPoint(50_000, 0.70, 0.69, seconds=3.0),
        TimedPoint(20_000, 0.90, 0.89, seconds=3.5),  # too late
    ]
    front = cut(trials, 3.2)
    assert [point.bitops for point in front.points] == [30_000, 50_000]
    assert front.seconds == 3.2
    assert front.best_within(45_000) == 0.59
    assert front.best_within(25_000) is None


def test_a_cell_has_the_lowest_and_the_highest_of_all_seeds() -> None:
    assert span([0.71, 0.69, 0.7]) == "0.690–0.710"
    assert span([0.7, 0.7]) == "0.700"
    assert span([0.7, None]) == "–"


def test_a_tuned_front_is_drawn_beside_its_own_search_and_the_trials_of_the_same_time() -> None:
    names = ["a: search", "a: search, tuning", EACH_TRAINED, "b: search", "b: search, tuning", EACH_TRAINED]
    fronts = [Front(name, float(number), []) for number, name in enumerate([*names, "b: search, more", EACH_TRAINED])]
    assert [[own.seconds for own in panel] for panel in tuned_ways(fronts)] == [[0, 1, 2], [3, 4, 5], [3, 6, 7]]
