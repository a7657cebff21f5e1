"""The interface of what trains widths: steps on some samples, exact costs, and what is left in full shape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from chop.ir.calibration import Slot
from chop.training.width_samples import Samples


class Widths(NamedTuple):
    """Width (its sign bit counted) and fraction width of each value of an operand, int8; whether values are signed.

    A width of zero is an exact zero. The shapes broadcast to a parameter, or to a sample of an activation.
    `rounds_down`: lower bits are cut off (format `integer_floor`).
    """

    width: Tensor
    frac_width: Tensor
    is_signed: bool
    rounds_down: bool = False


class WidthEngine(ABC):
    """A network under training, with Adam's moments; `train` are its samples."""

    train: Samples

    @abstractmethod
    def start_epoch(self, order: Tensor) -> None:
        """Take the training samples in this order from now on, and start ranges anew."""

    @abstractmethod
    def step(self, first: int, last: int, factor: float, rates: tuple[float, float]) -> None:
        """One step of Adam on the samples from `first` to `last` of the order.

        `factor` is that of the cost in the loss; `rates` are the learning rates of the weights and of the widths.
        """

    def end_epoch(self) -> None:
        """Do what is to be done once an epoch."""
        return

    @abstractmethod
    def measure_ranges(self) -> None:
        """Measure the ranges on all training samples."""

    @abstractmethod
    def loss(self, samples: Samples) -> float:
        """The loss, as trained, on the targets themselves, under the ranges as they are."""

    @abstractmethod
    def cost(self) -> float:
        """The exact cost of the network as it stands, under the ranges as they are."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The state dict of the float graph's model, with the weights as trained."""

    @abstractmethod
    def widths(self) -> dict[Slot, Widths]:
        """The widths of each operand that learns."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All that a resume needs, by name."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
