"""What `make bench-training PART=finish` compares at equal CPU time: the clock, the cut record, the span of seeds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
sys.path.insert(0, f"{sys.path[0]}/training")

from finish import Clock, TimedPoint, cut, span


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
