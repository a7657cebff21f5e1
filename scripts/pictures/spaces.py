"""Search spaces of the examples, measured whole: accuracy, loss and cost of every network, and its hits by sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pictures.pages import ROOT
from torch import Tensor

from chop.actions.search.checks import checked_call
from chop.actions.search.measuring.instruments import Instruments
from chop.actions.search.run.job import SearchJob
from chop.actions.search.search_space.codes import Codes, codes_of_range
from chop.config.toml_document import TomlDocument
from chop.dataset import MaseDataModule
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import Classification, Measure, RowChunk, Scores
from chop.evaluation.values import Value, as_planes
from chop.models import get_model

EXAMPLES = ROOT / "machop" / "configs" / "examples"
FILES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "jsc-tiny": ("jsc_tiny_brute_force.toml", {}),
    "jsc-toy": ("jsc_toy_brute_force.toml", {}),
    "shapes-cnn": ("shapes_cnn_brute_force.toml", {"bias_width": [8]}),
}
"""The example of each space, and the choices that are narrowed so that it is measured in seconds."""

Batch = tuple[Tensor, Tensor]


class Hits(Measure):
    """Keeps for every configuration which samples it classifies right: `found`, `(configurations, samples)`."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.found = np.zeros((0, samples), dtype=bool)

    @property
    def bytes_per_configuration(self) -> int:
        return self.samples

    def start(self, configurations: int) -> None:
        self.found = np.zeros((configurations, self.samples), dtype=bool)

    def add(self, chunk: RowChunk, first: int, last: int, value: Value, numbers: np.ndarray[Any, Any]) -> None:
        hits = as_planes(value).argmax(0) == chunk.targets
        self.found[first:last, chunk.rows.numpy()] = hits.numpy()[numbers]

    def finish(self) -> Scores:
        return {}


@dataclass(frozen=True)
class Space:
    """A search space with all that measures its points."""

    instruments: Instruments

    @cached_property
    def codes(self) -> Codes:
        """All points, in order."""
        axes = self.instruments.subject.axes
        assert axes is not None
        return codes_of_range(0, self.instruments.subject.space.size, [len(axis) for axis in axes])

    @cached_property
    def bits(self) -> np.ndarray[Any, Any]:
        """The average bit width of every point."""
        (table,) = self.instruments.tables
        found: np.ndarray[Any, Any] = table.scores(self.codes)["average_bitwidth"]
        return found

    def samples(self, *parts: str) -> Batch:
        """All samples of some parts of the data as one batch."""
        data = self.instruments.subject.data_module
        found = [batch for part in parts for batch in data.batches(part)]
        return torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])

    def evaluator(self, batch: Batch) -> Evaluator:
        """The batched evaluator on these samples."""
        subject = self.instruments.subject
        assert subject.axes is not None
        return Evaluator(subject.graph, subject.axes, [batch])

    def scores(self, batch: Batch) -> Scores:
        """Accuracy and loss of every point on these samples."""
        evaluator = self.evaluator(batch)
        (scores,) = evaluator.run_sorted(self.codes, [Classification(evaluator.targets, int(batch[1].max()) + 1)])
        return scores

    def hits(self, batch: Batch) -> np.ndarray[Any, Any]:
        """Which samples every point classifies right, `(points, samples)`."""
        measure = Hits(len(batch[1]))
        self.evaluator(batch).run_sorted(self.codes, [measure])
        return measure.found


@cache
def space(name: str) -> Space:
    """The space of an example with the weights that ship, calibrated and checked as in a search."""
    file, narrowed = FILES[name]
    document = TomlDocument.read(EXAMPLES / file).data
    for table in document["search"]["search_space"]["seed"].values():
        table["config"].update({key: own for key, own in narrowed.items() if key in table["config"]})
    data = MaseDataModule(document["dataset"], batch_size=512)
    data.prepare_data()
    data.setup()
    model = get_model(document["model"], pretrained=True)
    job = checked_call(SearchJob, model, data, document["search"], Path("unused"), 0, "cpu")
    return Space(job.instruments())


def front(costs: np.ndarray[Any, Any], accuracy: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The networks on the front of accuracy against a cost, by rising cost."""
    order = np.lexsort((-accuracy, costs))
    best = np.maximum.accumulate(accuracy[order])
    is_new = np.append(True, best[1:] > best[:-1])
    return np.asarray(order[is_new])
