"""The front of tuned and untuned networks leaves out nothing that no other dominates."""

from __future__ import annotations

from chop.actions.search.run.finish_rows import drawn_again
from chop.record.goals import Goals
from chop.record.trial import BestRow, Finished, Objective, Trial

GOALS = Goals((Objective("accuracy"), Objective("ebops", direction="minimize")))


def trial(number: int, accuracy: float, ebops: float) -> Trial:
    return Trial(number, {}, {"accuracy": accuracy}, {"ebops": ebops}, {})


def tuned(of: Trial, accuracy: float, ebops: float, epochs: int = 1) -> BestRow:
    finished = Finished(of, {"max_epochs": epochs}, f"finished/{of.number}.safetensors", "")
    return BestRow(trial(of.number, accuracy, ebops), (), {}, finished=finished)


def test_a_network_that_tuning_made_worse_and_cheaper_is_on_the_front_twice() -> None:
    searched = [trial(0, 0.7375, 4991), trial(1, 0.7335, 3547)]
    rows = [tuned(searched[0], 0.7346, 4933), tuned(searched[1], 0.7330, 3600)]
    front = drawn_again([BestRow(own, (), {}) for own in searched], rows, GOALS)
    assert [(row.trial.number, row.finished is not None) for row in front] == [(0, True), (0, False), (1, False)]
    assert all(row.equals == () for row in front)


def test_equal_figures_appear_once_as_tuned_for_the_most_epochs() -> None:
    searched = trial(3, 0.7, 100)
    rows = [tuned(searched, 0.7, 100, epochs=2), tuned(searched, 0.7, 100)]
    (row,) = drawn_again([BestRow(searched, (4,), {})], rows, GOALS)
    assert row.finished and row.finished.epochs == 2 and row.equals == ()
