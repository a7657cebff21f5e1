"""The dimensions of samples and channels in the tensor of an operand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Dimensions are counted from the end (-1 is the last), so that they also hold for operands that are broadcast.

    `samples` are the dimensions that grow with the batch, `channels` is the dimension of the channels; None where it
    cannot be told. A tensor that is not `is_floating` holds indexes, a mask or the like: it has no format.
    """

    ndim: int
    is_floating: bool = True
    samples: tuple[int, ...] | None = ()
    channels: int | None = None

    @property
    def has_samples_first(self) -> bool:
        """Whether dimension 0, and no other, grows with the batch (or none does)."""
        return not self.samples or (self.ndim > 1 and self.samples == (-self.ndim,))
