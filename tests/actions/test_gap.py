"""The line on how far a search is from the exact front says what is missing, and says so where nothing is."""

from __future__ import annotations

from dataclasses import replace

from chop.actions.oracle import Gap

FRONT = Gap(points=9, hypervolume=0.9566, found=4, front=7, regret={"accuracy": 0.01, "bits": 0.0})
SUM = Gap(points=9, hypervolume=0.9, found=0, front=1, regret={"sum": 0.02})


def test_a_gap_is_what_is_missing() -> None:
    assert FRONT.as_text() == (
        "Gap to the optimum: 4.34 % of the exact hypervolume; 4 of 7 points of the exact front were found. The best "
        "values found, beside those of the exact front: accuracy 0.01 worse, bits equal"
    )
    assert "less than 0.01 % of the exact" in replace(FRONT, hypervolume=0.99999).as_text()
    assert SUM.as_text() == "Gap to the optimum: 10 % of the way from the worst value to the best; sum 0.02 worse"


def test_no_gap_is_called_none() -> None:
    whole = replace(FRONT, hypervolume=1.0, found=7, regret={"accuracy": 0.0, "bits": 0.0})
    assert whole.as_text() == "Gap to the optimum: none, the search found all 7 points of the exact front"
    best = replace(SUM, hypervolume=1.0, found=1, regret={"sum": 0.0})
    assert best.as_text() == "Gap to the optimum: none, the search found the best value there is"
