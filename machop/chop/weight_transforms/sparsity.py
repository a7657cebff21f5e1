"""Pruning: sets the smallest weights to zero, one by one, within groups of inputs, or by channel; or random ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats.base import count, require_int
from chop.formats.measured import by_channel, channels, spread
from chop.weight_transforms.base import WEIGHT_TRANSFORMS, Storage, WeightTransform

UNSTRUCTURED, CHANNEL, RANDOM = "unstructured", "channel", "random"
PATTERNS = f'"{UNSTRUCTURED}", "{CHANNEL}", "{RANDOM}" or N of M consecutive inputs, such as "2:4"'
STATED_WITHIN = 0.005
"""How near a stated sparsity must be to that of N:M: 0.67 will do for 1:3."""

MOST_DIMENSIONS, MOST_GROUPS, MOST_SEED = 8, 2**24, 2**32 - 1

_N_OF_M = re.compile(r"([1-9]\d*):([1-9]\d*)")


@WEIGHT_TRANSFORMS.register("sparsity")
@dataclass(frozen=True)
class Sparsity(WeightTransform):
    """Pruning: sets the share `sparsity` of the weights to zero, by default those of least magnitude.

    `sparsity_pattern`: `unstructured` takes single weights of the layer; `channel` whole output channels by Euclidean
    norm; `N:M` keeps the N greatest of each M consecutive inputs of an output (the last group of an output may be
    shorter, and keeps N too), so that sparsity is 1 - N/M; `random` takes weights that are drawn from `sparsity_seed`,
    the baseline for all others: those of a greater sparsity include those of a smaller one. With `N:M`, leave
    `sparsity` out, or write that number; 0 means dense with any pattern. Of equal magnitudes, the earlier are kept; so
    is at least one weight, or channel. Counts are rounded half to even.

    Han et al., NeurIPS 2015 (magnitudes); Mishra et al., arXiv:2104.08378 (2:4).

    >>> Sparsity(0.5).apply(torch.tensor([[3.0, -1.0, 2.0, -4.0]]))
    tensor([[ 3.,  0.,  0., -4.]])
    >>> Sparsity(sparsity_pattern="1:2", inputs_axis=-1).apply(torch.tensor([[3.0, -1.0, 2.0, -4.0]]))
    tensor([[ 3.,  0.,  0., -4.]])
    """

    context_fields: ClassVar[frozenset[str]] = frozenset({"channel_axis", "inputs_axis", "channel_groups"})

    sparsity: float | None = None
    sparsity_pattern: str = UNSTRUCTURED
    sparsity_seed: int = 0
    channel_axis: int | None = None
    inputs_axis: int | None = None
    channel_groups: int = 1

    def __post_init__(self) -> None:
        share = self.sparsity
        if share is not None and (isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1):
            raise FormatError(f"0 <= sparsity < 1 must hold, got {share!r}")
        self._require_pattern()
        require_int("sparsity_seed", self.sparsity_seed, 0, MOST_SEED)
        self._require_context()
        if share is None and not self.group:
            raise FormatError(f"sparsity is missing, the share of zeros of the pattern '{self.sparsity_pattern}'")
        if self.group and share != 0:
            object.__setattr__(self, "sparsity", self._share_of(self.group, share))
        self._forget_what_has_no_effect()

    def _share_of(self, group: tuple[int, int], stated: float | None) -> float:
        """The sparsity of N:M; raises FormatError where another one is stated."""
        share = 1 - group[0] / group[1]
        if stated is not None and abs(stated - share) > STATED_WITHIN:
            raise FormatError(
                f"sparsity {stated} contradicts the sparsity_pattern '{self.sparsity_pattern}', whose sparsity is "
                f"{share:.4g}: write that, or leave sparsity out (0 means dense)"
            )
        return share

    def _require_pattern(self) -> None:
        pattern: Any = self.sparsity_pattern
        is_known = pattern in (UNSTRUCTURED, CHANNEL, RANDOM) or (
            isinstance(pattern, str) and _N_OF_M.fullmatch(pattern)
        )
        if not is_known:
            raise FormatError(f"sparsity_pattern must be {PATTERNS}, got {pattern!r}")
        if self.group and self.group[0] >= self.group[1]:
            raise FormatError(f"sparsity_pattern N:M keeps N of M, so N < M must hold, got {pattern!r}")

    def _require_context(self) -> None:
        """A saved file may hold anything."""
        for name in ("channel_axis", "inputs_axis"):
            if getattr(self, name) is not None:
                require_int(name, getattr(self, name), -MOST_DIMENSIONS, MOST_DIMENSIONS)
        require_int("channel_groups", self.channel_groups, 1, MOST_GROUPS)

    def _forget_what_has_no_effect(self) -> None:
        """Transforms that change all weights alike are equal: what is not used is set back to its default."""
        if not self.sparsity:
            object.__setattr__(self, "sparsity", 0.0)
            object.__setattr__(self, "sparsity_pattern", UNSTRUCTURED)
        if self.sparsity_pattern != CHANNEL:
            object.__setattr__(self, "channel_axis", None)
        if not self.group:
            object.__setattr__(self, "inputs_axis", None)
        if self.sparsity_pattern in (UNSTRUCTURED, RANDOM):
            object.__setattr__(self, "channel_groups", 1)
        if self.sparsity_pattern != RANDOM:
            object.__setattr__(self, "sparsity_seed", 0)

    @classmethod
    def meant(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Out of lists, any sparsity above 0 stands for that of the pattern N:M, whose own it is."""
        named = {key: value for key, value in values.items() if value not in (None, "NA")}
        share, pattern = named.get("sparsity"), named.get("sparsity_pattern", UNSTRUCTURED)
        group = _group_of(pattern)
        is_above = isinstance(share, (int, float)) and not isinstance(share, bool) and 0 < share < 1
        if is_above and group and group[0] < group[1]:  # else the pattern is at fault, and no sparsity is to be blamed
            return {**values, "sparsity": 1 - group[0] / group[1]}
        return values

    @classmethod
    def idle(cls, values: Mapping[str, Any]) -> Mapping[str, str]:
        """The seed of a draw beside a pattern that draws nothing.

        >>> Sparsity.idle({"sparsity": 0.5, "sparsity_seed": 3})
        {'sparsity_seed': 'has no effect without sparsity_pattern = "random"'}
        """
        named = {key: value for key, value in values.items() if value not in (None, "NA")}
        if "sparsity_seed" not in named or named.get("sparsity_pattern") == RANDOM:
            return {}
        return {"sparsity_seed": f'has no effect without sparsity_pattern = "{RANDOM}"'}

    def __str__(self) -> str:
        if self.group:
            return self.sparsity_pattern
        kinds = {CHANNEL: "channels", RANDOM: f"sparse at random ({self.sparsity_seed})"}
        return f"{100 * (self.sparsity or 0):.4g}% {kinds.get(self.sparsity_pattern, 'sparse')}"

    @property
    def group(self) -> tuple[int, int] | None:
        """N and M of a pattern N:M."""
        return _group_of(self.sparsity_pattern)

    @property
    def is_identity(self) -> bool:
        return not self.sparsity or (self.group is not None and self.inputs_axis is None)

    @property
    def drops(self) -> bool:
        return True

    def apply(self, weights: Tensor) -> Tensor:
        return torch.where(self.mask(weights), weights, torch.zeros_like(weights))

    @torch.no_grad()
    def mask(self, weights: Tensor) -> Tensor:
        """Which weights `(*shape)` are kept: true for these."""
        if self.is_identity or not weights.numel():
            return torch.ones_like(weights, dtype=torch.bool)
        if self.sparsity_pattern == RANDOM:
            return self._drawn(weights)
        sizes = weights.detach().abs()
        sizes = sizes if sizes.dtype == torch.float64 else sizes.float()
        if self.group:
            return self._greatest_of_groups(sizes)
        if self._is_by_channel(weights.shape):
            return self._greatest_channels(weights)
        return _greatest(sizes.flatten(), self._kept(sizes.numel())).view_as(weights)

    def _drawn(self, weights: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.sparsity_seed)
        order = torch.rand(weights.numel(), generator=generator)
        return _greatest(order, self._kept(weights.numel())).view(weights.shape).to(weights.device)

    def _kept(self, total: int) -> int:
        return max(total - round((self.sparsity or 0.0) * total), 1)

    def _is_by_channel(self, shape: tuple[int, ...]) -> bool:
        return self.sparsity_pattern == CHANNEL and self.channel_axis is not None and len(shape) > 1

    def _greatest_channels(self, weights: Tensor) -> Tensor:
        axis = self.channel_axis or 0
        norms = by_channel(weights, "channel", axis, self.channel_groups).square().sum(1)
        kept = _greatest(norms, self._kept(len(norms)))
        numbers = spread(kept.double().tolist(), weights, axis, self.channel_groups)
        return torch.as_tensor(numbers, device=weights.device).bool().expand(weights.shape)

    def _greatest_of_groups(self, sizes: Tensor) -> Tensor:
        assert self.group is not None and self.inputs_axis is not None
        most, length = self.group
        axis = max(self.inputs_axis, -sizes.ndim)
        rows = sizes.movedim(axis, -1)
        inputs = rows.reshape(*rows.shape[:-1], self._groups_along_inputs, -1)
        padded = torch.nn.functional.pad(inputs, (0, -inputs.shape[-1] % length), value=-1.0)
        grouped = padded.reshape(*padded.shape[:-1], -1, length)
        own = _greatest(grouped, most).reshape(padded.shape)[..., : inputs.shape[-1]]
        return own.reshape(rows.shape).movedim(-1, axis)

    @property
    def _groups_along_inputs(self) -> int:
        """In a transposed convolution with groups, the inputs of each group are next to each other."""
        return self.channel_groups if self.inputs_axis == 0 else 1

    def storage(self, stored: Storage) -> Storage:
        """What is left to be stored: the weights that are kept, and the index that says which.

        Unstructured: one bit for each weight of the layer. N:M: for each kept weight its place in the group (2 bits
        for 2:4). Channel: the kept channels, and one bit for each channel.
        """
        total = count(stored.shape)
        if self.is_identity or not total:
            return stored
        if self.group:
            kept = self._kept_of_groups(stored.shape)
            return stored.with_values(kept, kept * (self.group[1] - 1).bit_length())
        if self._is_by_channel(stored.shape):
            return self._stored_channels(stored)
        return stored.with_values(self._kept(total), total)

    def _kept_of_groups(self, shape: tuple[int, ...]) -> int:
        assert self.group is not None and self.inputs_axis is not None
        most, length = self.group
        inputs = max(shape[max(self.inputs_axis, -len(shape))] // self._groups_along_inputs, 1)
        own = inputs // length * most + min(most, inputs % length)
        return count(shape) // inputs * own

    def _stored_channels(self, stored: Storage) -> Storage:
        axis = self.channel_axis or 0
        total = channels(stored.shape, "channel", axis, self.channel_groups)
        kept = self._kept(total)
        left = stored.with_values(count(stored.shape) // total * kept, total)
        if self.channel_groups > 1 or stored.values < count(stored.shape):
            return left
        shape = [kept if place == axis % len(stored.shape) else own for place, own in enumerate(stored.shape)]
        return Storage(tuple(shape), count(shape), left.index_bits)


def _group_of(pattern: Any) -> tuple[int, int] | None:
    found = _N_OF_M.fullmatch(pattern) if isinstance(pattern, str) else None
    return (int(found[1]), int(found[2])) if found else None


def _greatest(sizes: Tensor, kept: int) -> Tensor:
    """A mask of the `kept` greatest of each row of `sizes` `(…, values)`; of equal ones the earlier."""
    if kept >= sizes.shape[-1]:
        return torch.ones_like(sizes, dtype=torch.bool)
    least = sizes.kthvalue(sizes.shape[-1] - kept + 1, dim=-1, keepdim=True).values
    above = sizes > least
    equal = sizes == least
    return above | (equal & (equal.cumsum(-1) <= kept - above.sum(-1, keepdim=True)))
