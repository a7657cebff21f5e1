"""What a comparison comes to, in words that follow from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf

from chop.actions.compare.contenders import RANDOM_ORDER, UNIFORM
from chop.actions.compare.statistics import Difference, Sample, difference, holm
from chop.report.compare_summary import Comparison, counted, percent

LEVEL = 0.05
"""Corrected p below which a difference counts as shown."""

TARGET = 0.95
BETTER, WORSE, SAME, NOT_SHOWN, NOT_REACHED = "better", "worse", "the same", "no difference shown", "not reached"
BASELINES = (UNIFORM, RANDOM_ORDER)
REACH, VOLUME = "evaluations", "hypervolume"


@dataclass(frozen=True)
class Record:
    """A strategy by seed: evaluations to `TARGET` of the hypervolume, and the hypervolume at the end of the budget."""

    name: str
    reach: Sample
    volume: Sample
    is_optuna: bool = False


@dataclass(frozen=True)
class Verdict:
    """The comparisons that were made and what they come to, line by line."""

    comparisons: list[Comparison]
    lines: list[str]


def verdict(
    records: Sequence[Record], budget: int, whole: str = "exact hypervolume", share: str = "hypervolume"
) -> Verdict:
    """Judge strategies against the baselines, where they took part, and against the best sampler of Optuna.

    `whole` is what 100 % are, `share` the word for what a strategy has of it.
    """
    best = best_sampler(records)
    references = [record for record in records if record.name in BASELINES or record is best]
    comparisons = [one for reference in references for one in _against(reference, records)]
    lines = [_ranking(records, budget, whole), *_on_sampler(best, comparisons, budget)]
    told: set[tuple[str, str]] = set()
    for record in sorted(records, key=lambda record: record.name in BASELINES):
        own = [one for one in comparisons if one.strategy == record.name and (one.reference, one.strategy) not in told]
        told |= {(one.strategy, one.reference) for one in own}
        lines += _sentence(record, own, budget, share)
    lines += _on_seeds(comparisons)
    return Verdict(comparisons, lines)


def best_sampler(records: Sequence[Record]) -> Record | None:
    """Optuna's sampler with the fewest evaluations to the target; of those that do not reach it the largest volume."""
    samplers = [record for record in records if record.is_optuna]
    return min(samplers, key=lambda record: (record.reach.median, record.volume.median), default=None)


def _against(reference: Record, records: Sequence[Record]) -> list[Comparison]:
    """All strategies against one, both measures; Holm's correction is over the strategies of each measure."""
    others = [record for record in records if record is not reference]
    found: list[Comparison] = []
    for measure in (REACH, VOLUME):
        pairs = [(_sample(record, measure), _sample(reference, measure)) for record in others]
        differences = [difference(own, other) for own, other in pairs]
        corrected = holm([one.p for one in differences])
        tests = sum(p is not None for p in corrected)
        for record, (own, other), one, p in zip(others, pairs, differences, corrected, strict=True):
            found.append(_comparison((record.name, reference.name, measure), own, other, one, p, tests))
    return found


def _sample(record: Record, measure: str) -> Sample:
    return record.reach if measure == REACH else record.volume


def _comparison(
    names: tuple[str, str, str], own: Sample, other: Sample, one: Difference, p: float | None, tests: int
) -> Comparison:
    """`names` are those of the strategy, the reference and the measure; `tests` were corrected for."""
    measure = names[2]
    turn = 1.0 if measure == REACH else -1.0
    medians = (own.median, other.median)
    ratios = (one.ratio, one.ratio_low, one.ratio_high) if measure == REACH else (None, None, None)
    word = word_for(medians, p, one.effect)
    least = None if one.least_p is None else min(1.0, one.least_p * tests)
    return Comparison(*names, turn * medians[0] + 0.0, turn * medians[1] + 0.0, p, one.effect, word, least, *ratios)


def word_for(medians: tuple[float, float], p: float | None, effect: float) -> str:
    """One word on a strategy: its median and its reference's (less is better), corrected p, A12.

    >>> word_for((50.0, 200.0), 0.001, 0.98), word_for((50.0, 60.0), 0.4, 0.6)
    ('better', 'no difference shown')
    """
    if isinf(medians[0]) and isinf(medians[1]):
        return NOT_REACHED
    if p is None:
        return SAME if effect == 0.5 else BETTER if effect > 0.5 else WORSE
    if p < LEVEL and effect != 0.5:
        return BETTER if effect > 0.5 else WORSE
    return NOT_REACHED if isinf(medians[0]) else NOT_SHOWN


def _ranking(records: Sequence[Record], budget: int, whole: str) -> str:
    reached = sorted((r for r in records if not isinf(r.reach.median)), key=lambda record: record.reach.median)
    missed = [record.name for record in records if isinf(record.reach.median)]
    told = ", ".join(f"{record.name} {record.reach.median:g}" for record in reached)
    text = f"Evaluations to {percent(TARGET)} % of the {whole}, median: {told or 'none gets there'}."
    return text + (f" Not within {budget}: {', '.join(missed)}." if missed else "")


def _on_sampler(best: Record | None, comparisons: Sequence[Comparison], budget: int) -> list[str]:
    """What the strategies that are no sampler of Optuna save against the best of those."""
    if best is None:
        return []
    own = [one for one in comparisons if one.reference == best.name and one.measure == REACH]
    faster = [f"{one.strategy} needs {_times(one, budget)}" for one in own if one.word == BETTER and one.ratio]
    if isinf(best.reach.median):
        what = f"no sampler of Optuna gets to {percent(TARGET)} % within {budget}, {best.name} comes nearest"
    else:
        what = f"the best sampler of Optuna is {best.name}"
    return [f"Here {what}{': ' if faster else ''}{', '.join(faster)}{' evaluations' if faster else ''}."]


def _sentence(record: Record, comparisons: Sequence[Comparison], budget: int, share: str) -> list[str]:
    """A strategy against every reference, in one line, what it is better than first."""
    reach = [one for one in comparisons if one.measure == REACH]
    volume = {one.reference: one for one in comparisons if one.measure == VOLUME}
    claims: dict[str, list[str]] = {}
    for one in reach:
        claim, reference = _claim(one, volume[one.reference], budget)
        claims.setdefault(claim, []).append(reference)
    order = sorted(claims, key=lambda claim: [BETTER, WORSE, SAME, NOT_SHOWN].index(_word_of(claim)))
    own = "" if isinf(record.reach.median) else f"{counted(record.reach.median, 'evaluation')} to {percent(TARGET)} %, "
    figures = f"{own}{percent(-record.volume.median)} % of the {share} after {budget}"
    told = "; ".join(f"{claim} {', '.join(claims[claim])}" for claim in order)
    return [f"{record.name} ({figures}): {told}."] if claims else []


def _claim(reach: Comparison, volume: Comparison, budget: int) -> tuple[str, str]:
    """What is said of a strategy, and of which reference: by the evaluations to the target; by the hypervolume at the
    end where they show nothing.
    """
    if reach.word in (BETTER, WORSE):
        times = f" ({_times(reach, budget)})" if reach.ratio else ""
        return f"{reach.word} than", f"{reach.reference}{times}"
    if volume.word in (BETTER, WORSE):
        return f"{volume.word} after {counted(budget, 'evaluation')} than", volume.reference
    if volume.word == SAME and reach.word in (SAME, NOT_REACHED):
        return f"{SAME} as", reach.reference
    return f"{NOT_SHOWN} from", reach.reference


def _word_of(claim: str) -> str:
    return next(word for word in (BETTER, WORSE, SAME, NOT_SHOWN) if claim.startswith(word))


def _times(reach: Comparison, budget: int) -> str:
    """How many times fewer, or more, evaluations; at least so many where the reference has not arrived."""
    assert reach.ratio is not None
    if isinf(reach.ratio):
        return f"more than {budget / reach.own:.2g} times fewer"
    is_fewer = reach.ratio >= 1
    ends = (reach.ratio, reach.ratio_low, reach.ratio_high)
    if not is_fewer:
        ends = (1 / reach.ratio, _inverse(reach.ratio_high), _inverse(reach.ratio_low))
    interval = "" if ends[1] is None or ends[2] is None else f" [{_number(ends[1])}, {_number(ends[2])}]"
    return f"{_number(ends[0])} times {'fewer' if is_fewer else 'more'}{interval}"


def _on_seeds(comparisons: Sequence[Comparison]) -> list[str]:
    """A warning where so few seeds can show nothing, whatever the strategies do."""
    hidden = sorted({one.reference for one in comparisons if one.least_p is not None and one.least_p >= LEVEL})
    if not hidden:
        return []
    return [f"With so few seeds not every difference from {', '.join(hidden)} can be shown: take more (--seeds)."]


def _inverse(value: float | None) -> float | None:
    return 1 / value if value else None


def _number(value: float) -> str:
    return "∞" if isinf(value) else f"{value:.2g}"
