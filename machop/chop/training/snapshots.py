"""Defines a training whose snapshots are networks, each with weights and formats of its own, and the registry of these.

A search runs such a training for a strategy that declares one (`SearchStrategyBase.training`), and keeps each snapshot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from chop.dataset.data import Data, first_batch
from chop.errors import ChopError, first_line
from chop.formats import Format
from chop.ir import MaseGraph
from chop.ir.graph.inputs import to_device
from chop.registry import Registry, subclass_problem
from chop.tools.get_input import call_model

OnStep = Callable[[int, int], None]
"""Called with the steps that are done and all steps of the training."""

Formats = Mapping[tuple[str, str], Sequence[Format]]
"""The formats that the search space knows for each operand of each node, `{(node, operand): [format, …]}`."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A snapshot: the network with its weights and formats, and the tensors from which its training goes on.

    `notes` are numbers about it, such as the step.
    """

    graph: MaseGraph
    state: Mapping[str, Tensor]
    notes: Mapping[str, float] = field(default_factory=dict)


class SnapshotTraining(ABC):
    """Trains a network and yields snapshots along the run. `Options` is a dataclass.

    A training must be deterministic: the same seed gives the same snapshots to the bit, and a run that goes on from the
    state of a snapshot equals an unbroken one. Draw from a generator of your own, which the state holds.
    """

    Options: ClassVar[type[Any]]

    purpose: ClassVar[str] = ""
    """What it trains, in a line."""

    scope: ClassVar[str] = ""
    """The operands that it finds formats for, in words that follow "finds formats for"; empty: for all."""

    @classmethod
    def problem(cls, options: Any, formats: Formats | None) -> str | None:
        """The reason why it cannot train in a space with these formats (None: unknown), with the cure; or None."""
        return None

    @classmethod
    def name_problem(cls, names: Collection[str]) -> str | None:
        """The same, as far as the names of the formats tell it: asked too where the space has other problems."""
        return None

    @classmethod
    def data_problem(cls, options: Any, graph: MaseGraph, data: Data) -> str | None:
        """The reason why it cannot train this network on these data, with the cure; or None. Nothing is trained."""
        return None

    @classmethod
    def files(cls, options: Any) -> Sequence[str]:
        """The files that it reads beside model and data: a search is resumed only where they are as they were."""
        return ()

    @classmethod
    def left_in_float(cls, graph: MaseGraph, formats: Formats) -> Sequence[tuple[str, str]]:
        """The operands among these that no network of this training has a format for, whatever layer they belong to."""
        return ()

    def __init__(
        self, graph: MaseGraph, data: Data, formats: Formats | None, options: Any, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.graph = graph
        self.data = data
        self.formats = formats
        self.options = options
        self.seed = seed
        self.device = device

    @abstractmethod
    def networks(self, state: Mapping[str, Tensor] | None, on_step: OnStep) -> Iterator[TrainedNetwork]:
        """The snapshots behind the one with this `state` (None: from the first); `graph` is left as it is."""


def loss_problem(graph: MaseGraph, data: Data, device: str = "cpu") -> str | None:
    """The reason why nothing can be trained on this data, or None: a few samples are run, and nothing is changed."""
    x, y = first_batch(data, "train", 4)
    model = graph.model.to(device)
    try:
        loss = data.task.loss(call_model(model, to_device(x, device), data.output), y.to(device))
    except ChopError as error:
        return str(error)
    except Exception as error:  # of a task or loss of the user's own
        return f"the task has no loss that training could descend ({type(error).__name__}: {first_line(error)})"
    return None if loss is not None else "the first training samples have no label, so the loss cannot be checked"


TRAININGS: Registry[type[SnapshotTraining]] = Registry(
    "chop.trainings",
    "training",
    ("chop.training.width_snapshots",),
    subclass_problem(SnapshotTraining, "Options"),
)
