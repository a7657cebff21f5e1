"""The summary of a search, `summary.json`: result, reason of its end, origin of its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from chop.record.goals import Goals
from chop.record.rows import best_row_as_json, best_row_from_json, trial_from_json
from chop.record.training import NETWORK_FILE
from chop.record.trial import BestRow, Position, TrialCounts
from chop.scoring.metric import Direction
from chop.tools.whole_numbers import as_json, from_json

Reason = Literal["n_trials", "timeout", "patience", "exhausted", "strategy", "interrupted"]
"""Why a search ended."""

FP32 = "FP32"
"""The name of the unquantised network among the baselines."""


@dataclass(frozen=True)
class Origin:
    """The origin of the figures: checksums of data and weights, seed, versions, command line.

    `data` is one line for people. `data_checksum` is the sha256 of a data set that ships with chop, a checksum of the
    samples of any other; `weights` is a checksum of the model's tensors. `versions` are those of chop, torch and
    Python, and the machine (processor, cores, system). `command` is the command line as it was typed, without
    passwords; empty for a search from Python. `training` is a sentence on the training of the weights for a whole
    search space; empty if they had none.
    """

    data: str
    data_checksum: str = ""
    model: str = ""
    weights: str = ""
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    training: str = ""


@dataclass(frozen=True)
class MetricFacts:
    """The unit of a metric (empty: a plain number) and its direction.

    `of_best`: it was measured for the best networks alone. It was measured on so many `samples` of a `part` of the data
    ("validation"); 0 and empty where it needs none, or the file does not say it.
    """

    unit: str
    direction: Direction
    of_best: bool = False
    samples: int = 0
    part: str = ""

    @property
    def told_samples(self) -> str:
        """The samples as text, `4,000 validation samples`; empty where there are none."""
        return f"{self.samples:,} {self.part} samples" if self.samples else ""


@dataclass(frozen=True)
class LayerFacts:
    """A layer with a choice of formats: its node, its op, its parameters, its MACs for one sample.

    `parameters` are the numbers of values by operand, `{"weight": 80, "bias": 5}`.
    `alone` are the metrics of the network in which this layer alone is quantised, by its choice with the fewest bits;
    empty where they were not measured.
    `positions` are the bits after the point that measured ranges lead to, `{operand: {width: bits}}`.
    """

    name: str
    op: str
    parameters: Mapping[str, int]
    macs: int
    alone: Mapping[str, float] = field(default_factory=dict)
    positions: Mapping[str, Mapping[str, Position]] = field(default_factory=dict)


@dataclass(frozen=True)
class FinishFacts:
    """The tuning of the best networks after a search.

    `options` are those of the table `[search.finish]`; `trials` were tuned, of `wanted` in all; `before` is the front
    that the search had found. `seconds` were spent on all trainings, in every run. `missing` says which tunings Ctrl-C
    has left undone, if it did. `changes` are the metrics of the goals that tuning can change (all but those of formats
    alone), `improved` is the number of networks that it made better in one of them; None in earlier records.
    """

    options: Mapping[str, Any]
    trials: Sequence[int]
    wanted: int
    before: Sequence[int]
    seconds: float
    missing: str = ""
    changes: Sequence[str] | None = None
    improved: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The facts as `summary.json` holds them."""
        found = {**asdict(self), "seconds": round(self.seconds, 6)}
        return {key: value for key, value in found.items() if value not in ("", None)}


@dataclass(frozen=True)
class SearchSummary:
    """The facts of a search and its result.

    `best` is the Pareto set, or the one best trial where a sum is optimised; with no trial within all constraints it is
    the nearest. `why_done` is what the strategy says where it had nothing more to propose. `baselines` are networks to
    compare with, by name. `seconds` were spent on all trials, in every run of the search. `started` and `ended` are
    dates as ISO 8601 writes them. `saw_test`: a runner measured on the test set, so that test scores are not unbiased.
    `finish` says how the best networks were tuned, if they were. `exporter` can write every network of the space; empty
    where the search had no target. `exporters` refuse no network of `best`, as far as formats and operations tell it;
    None where the record does not say it. `layers` are the facts of single layers, where they are known. `exact_front`
    are the metrics of the exact front by number of point, where an exhaustive table of another search told it.
    """

    strategy: str
    goals: Goals
    origin: Origin
    space_size: int
    counts: TrialCounts
    best: Sequence[BestRow]
    reason: Reason
    why_done: str = ""
    metrics: Mapping[str, MetricFacts] = field(default_factory=dict)
    baselines: Mapping[str, BestRow] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    saw_test: bool = False
    seconds: float = 0.0
    started: str = ""
    ended: str = ""
    finish: FinishFacts | None = None
    exporter: str = ""
    exporters: tuple[str, ...] | None = None
    layers: tuple[LayerFacts, ...] = ()
    exact_front: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def fp32(self) -> BestRow | None:
        """The FP32 baseline; None if it was not measured."""
        return self.baselines.get(FP32)

    @property
    def of_training(self) -> bool:
        """Whether trials are the snapshots of a training, each with weights of its own."""
        return any(NETWORK_FILE in row.sampled_config for row in self.best)

    def as_json(self) -> dict[str, Any]:
        """The content of `summary.json`. The rows of `best` are in `best.json`; here are their trials and points."""
        return {
            "strategy": self.strategy,
            "reason": self.reason,
            **({"why_done": self.why_done} if self.why_done else {}),
            "space_size": as_json(self.space_size),
            "counts": asdict(self.counts),
            "started": self.started,
            "ended": self.ended,
            "seconds": round(self.seconds, 6),
            "goals": self.goals.as_json(),
            "metrics": {name: asdict(facts) for name, facts in self.metrics.items()},
            "origin": asdict(self.origin),
            "baselines": {name: best_row_as_json(row) for name, row in self.baselines.items()},
            "front": [{"trial": row.trial.number, "point": dict(row.trial.point)} for row in self.best],
            "remarks": list(self.remarks),
            "saw_test": self.saw_test,
            **({"finish": self.finish.as_json()} if self.finish else {}),
            **({"exporter": self.exporter} if self.exporter else {}),
            **({} if self.exporters is None else {"exporters": list(self.exporters)}),
            **({"layers": [asdict(layer) for layer in self.layers]} if self.layers else {}),
            **(
                {"exact_front": {str(point): own for point, own in self.exact_front.items()}}
                if self.exact_front
                else {}
            ),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> SearchSummary:
        """A summary without the rows of `best`, which `with_best` adds. Raises one of `DAMAGES` if malformed."""
        return cls(
            strategy=row["strategy"],
            goals=Goals.from_json(row["goals"]),
            origin=Origin(**row["origin"]),
            space_size=from_json(row["space_size"]),
            counts=TrialCounts(**row["counts"]),
            best=(),
            reason=row["reason"],
            why_done=row.get("why_done", ""),
            metrics={name: MetricFacts(**facts) for name, facts in row["metrics"].items()},
            baselines={n: best_row_from_json(own, trial_from_json(own, {})) for n, own in row["baselines"].items()},
            remarks=tuple(row["remarks"]),
            saw_test=row["saw_test"],
            seconds=row["seconds"],
            started=row["started"],
            ended=row["ended"],
            finish=FinishFacts(**row["finish"]) if "finish" in row else None,
            exporter=row.get("exporter", ""),
            exporters=tuple(row["exporters"]) if "exporters" in row else None,
            layers=tuple(LayerFacts(**own) for own in row.get("layers", ())),
            exact_front={int(point): dict(own) for point, own in row.get("exact_front", {}).items()},
        )

    def with_best(self, best: Sequence[BestRow]) -> SearchSummary:
        """The summary with the rows of `best.json`."""
        return replace(self, best=tuple(best))
