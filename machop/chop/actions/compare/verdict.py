"""States the verdict of a comparison in sentences computed from its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isinf

from chop.actions.compare.contenders import RANDOM_ORDER, UNIFORM
from chop.actions.compare.statistics import Difference, Sample, difference, holm
from chop.record.comparison import Comparison, counted, percent

LEVEL = 0.05
"""Corrected p below which a difference counts as shown."""

TARGET = 0.95
BETTER, WORSE, SAME, NOT_SHOWN, NOT_REACHED = "better", "worse", "the same", "no difference shown", "not reached"
BASELINES = (UNIFORM, RANDOM_ORDER)
REACH, VOLUME = "evaluations", "hypervolume"


@dataclass(frozen=True)
class Record:
    """Figures of a strategy by seed: evaluations to `TARGET` of the hypervolume, and the final hypervolume.

    `spent` are all evaluations that it made (median): fewer than the budget where it had nothing left to propose.
    """

    name: str
    reach: Sample
    volume: Sample
    spent: float
    is_optuna: bool = False


@dataclass(frozen=True)
class Verdict:
    """The comparisons that were made, and the verdict line by line."""

    comparisons: list[Comparison]
    lines: list[str]


def verdict(
    records: Sequence[Record], budget: int, whole: str = "exact hypervolume", share: str = "hypervolume"
) -> Verdict:
    """Judge strategies against the baselines, if they took part, and against the best sampler of Optuna.

    `whole` is what 100 % are, `share` the word for what a strategy has of it.
    """
    best = best_sampler(records)
    references = [record for record in records if record.name in BASELINES or record is best]
    comparisons = [one for reference in references for one in _against(reference, records)]
    lines = [_ranking(records, budget, whole), *_on_sampler(records, best, comparisons, budget)]
    told: set[tuple[str, str]] = set()
    for record in sorted(records, key=lambda record: record.name in BASELINES):
        own = [one for one in comparisons if one.strategy == record.name and (one.reference, one.strategy) not in told]
        told |= {(one.strategy, one.reference) for one in own}
        lines += _sentence(record, own, budget, share)
    lines += _on_seeds(comparisons)
    return Verdict(comparisons, lines)


def best_sampler(records: Sequence[Record]) -> Record | None:
    """The Optuna sampler with the fewest evaluations to the target, or the largest final hypervolume."""
    samplers = [record for record in records if record.is_optuna]
    return min(samplers, key=_rank, default=None)


def _rank(record: Record) -> tuple[float, float]:
    return record.reach.median, record.volume.median


def _against(reference: Record, records: Sequence[Record]) -> list[Comparison]:
    """Compare all strategies with one, by both measures; Holm's correction is over the strategies of a measure."""
    others = [record for record in records if record is not reference]
    found: list[Comparison] = []
    for measure in (REACH, VOLUME):
        pairs = [(_sample(record, measure), _sample(reference, measure)) for record in others]
        differences = [difference(own, other) for own, other in pairs]
        corrected = holm([one.p for one in differences])
        tests = sum(p is not None for p in corrected)
        for record, (own, other), one, p in zip(others, pairs, differences, corrected, strict=True):
            names = (record.name, reference.name, measure)
            found.append(replace(_comparison(names, own, other, one, p, tests), other_spent=reference.spent))
    return found


def _sample(record: Record, measure: str) -> Sample:
    return record.reach if measure == REACH else record.volume


def _comparison(
    names: tuple[str, str, str], own: Sample, other: Sample, one: Difference, p: float | None, tests: int
) -> Comparison:
    """One comparison; `names` are strategy, reference and measure, `tests` the number corrected for."""
    measure = names[2]
    turn = 1.0 if measure == REACH else -1.0
    medians = (own.median, other.median)
    ratios = (one.ratio, one.ratio_low, one.ratio_high) if measure == REACH else (None, None, None)
    word = SAME if one.alike and not isinf(own.median) else word_for(medians, p, one.effect)
    least = None if one.least_p is None else min(1.0, one.least_p * tests)
    return Comparison(*names, turn * medians[0] + 0.0, turn * medians[1] + 0.0, p, one.effect, word, least, *ratios)


def word_for(medians: tuple[float, float], p: float | None, effect: float) -> str:
    """One word for a comparison: medians of strategy and reference (less is better), corrected p, effect.

    >>> word_for((50.0, 200.0), 0.001, 0.98), word_for((50.0, 60.0), 0.4, 0.2)
    ('better', 'no difference shown')
    """
    if isinf(medians[0]) and isinf(medians[1]):
        return NOT_REACHED
    if p is None or p < LEVEL:
        return BETTER if effect > 0 else WORSE
    return NOT_REACHED if isinf(medians[0]) else NOT_SHOWN


def _ranking(records: Sequence[Record], budget: int, whole: str) -> str:
    reached = sorted((r for r in records if not isinf(r.reach.median)), key=lambda record: record.reach.median)
    missed = [record for record in records if isinf(record.reach.median)]
    within = [record.name for record in missed if record.spent >= budget]
    ended = [f"{record.name} ({record.spent:g})" for record in missed if record.spent < budget]
    told = ", ".join(f"{record.name} {record.reach.median:.4g}" for record in reached)
    text = f"Evaluations to {percent(TARGET)} % of the {whole}, median: {told or 'not reached by any'}."
    text += f" Not within {budget}: {', '.join(within)}." if within else ""
    return text + (f" Not with all that they propose: {', '.join(ended)}." if ended else "")


def _on_sampler(
    records: Sequence[Record], best: Record | None, comparisons: Sequence[Comparison], budget: int
) -> list[str]:
    """How many times the evaluations of better strategies the best sampler of Optuna needs."""
    if best is None or len(records) == 1:
        return []
    own = [one for one in comparisons if one.reference == best.name and one.measure == REACH]
    equal = [r.name for r in records if r.is_optuna and r is not best and _rank(r) == _rank(best)]
    faster = [
        f"{times} evaluations as {one.strategy}"
        for one in own
        if one.word == BETTER and one.ratio and (times := _times(one, budget)).startswith("needs")
    ]
    if isinf(best.reach.median):
        what = f"no sampler of Optuna gets to {percent(TARGET)} % within {budget}, {best.name} comes nearest"
    else:
        what = f"the best sampler of Optuna is {best.name}"
    what += f" ({' and '.join(equal)} {'has' if len(equal) == 1 else 'have'} the same figures)" if equal else ""
    return [f"Here {what}{': it ' if faster else ''}{', '.join(faster)}."]


def _sentence(record: Record, comparisons: Sequence[Comparison], budget: int, share: str) -> list[str]:
    """One line that compares a strategy with every reference, those that it beats first."""
    reach = [one for one in comparisons if one.measure == REACH]
    volume = {one.reference: one for one in comparisons if one.measure == VOLUME}
    claims: dict[str, list[str]] = {}
    for one in reach:
        claim, reference = _claim(one, volume[one.reference], budget)
        claims.setdefault(claim, []).append(reference)
    order = sorted(claims, key=lambda claim: [BETTER, WORSE, SAME, NOT_SHOWN].index(_word_of(claim)))
    own = (
        ""
        if isinf(record.reach.median)
        else f"{counted(round(record.reach.median, 1), 'evaluation')} to {percent(TARGET)} %, "
    )
    figures = f"{own}{percent(-record.volume.median)} % of the {share} after {budget}"
    told = "; ".join(f"{claim} {', '.join(claims[claim])}" for claim in order)
    return [f"{record.name} ({figures}): {told}."] if claims else []


def _claim(reach: Comparison, volume: Comparison, budget: int) -> tuple[str, str]:
    """The claim about a strategy against a reference.

    By the evaluations to the target; by the final hypervolume if these show no difference; by both if they disagree.
    """
    times = f" (which {_times(reach, budget)})" if reach.ratio and reach.word in (BETTER, WORSE) else ""
    if {reach.word, volume.word} == {BETTER, WORSE}:
        at = f"{reach.word} to {percent(TARGET)} % but {volume.word} after {counted(budget, 'evaluation')}"
        return f"{at} than", f"{reach.reference}{times}"
    if reach.word in (BETTER, WORSE):
        return f"{reach.word} than", f"{reach.reference}{times}"
    if volume.word in (BETTER, WORSE):
        return f"{volume.word} after {counted(budget, 'evaluation')} than", volume.reference
    if volume.word == SAME and reach.word in (SAME, NOT_REACHED):
        return f"{SAME} as", reach.reference
    return f"{NOT_SHOWN} from", reach.reference


def _word_of(claim: str) -> str:
    return next(word for word in (BETTER, WORSE, SAME, NOT_SHOWN) if claim.startswith(word))


def _times(reach: Comparison, budget: int) -> str:
    """What the reference needs, as text: times the evaluations of the strategy, or more if it did not get there."""
    assert reach.ratio is not None
    if isinf(reach.ratio):
        least = reach.times_at_least(budget)
        if least is None:
            return f"ends after {reach.other_spent:g} without"
        return f"needs more than {least:.2g} times as many" if least > 1 else f"is not there after {budget}"
    low, high = reach.ratio_low, reach.ratio_high
    interval = "" if low is None or high is None else f" [{_number(low)}, {_number(high)}]"
    return f"needs {_number(reach.ratio)} times{interval} as many"


def _on_seeds(comparisons: Sequence[Comparison]) -> list[str]:
    """A warning if there are too few seeds to show any difference."""
    hidden = sorted({one.reference for one in comparisons if one.least_p is not None and one.least_p >= LEVEL})
    if not hidden:
        return []
    return [f"With so few seeds not every difference from {', '.join(hidden)} can be shown: take more (--seeds)."]


def _number(value: float) -> str:
    return "∞" if isinf(value) else f"{value:.2g}"
