"""The same question for all: a float network, its data, and the widths to choose from; needs torch alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WIDTHS = (2, 3, 4, 6, 8)
"""Bits to choose from for the weights and for the input of each layer."""

PAIRS = tuple((a, w) for a in WIDTHS for w in WIDTHS)
"""All choices of a layer."""

MOST_LOST = 0.02
"""Whoever needs one network takes the one of fewest BitOPs that loses no more accuracy on the validation samples."""

Choice = tuple[tuple[int, int], ...]
"""The bits of (input, weights) of each layer."""


@dataclass(frozen=True)
class Part:
    """Samples and their classes."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Problem:
    """A network with parts of its data; widths are chosen on `validation`, ranges measured on `calibration`."""

    name: str
    float_model: nn.Sequential
    calibration: Part
    validation: Part
    test: Part
    macs: tuple[int, ...]

    def model(self) -> nn.Sequential:
        """A copy of the float network."""
        return copy.deepcopy(self.float_model).eval()

    def layers(self) -> list[nn.Linear | nn.Conv2d]:
        """The layers that have widths, in order."""
        return layers_of(self.float_model)

    def bitops(self, choice: Choice) -> int:
        """MACs times the bits of both factors, over all layers."""
        return sum(macs * a * w for macs, (a, w) in zip(self.macs, choice, strict=True))

    def fewest_bitops(self, networks: Sequence[tuple[Choice, float]]) -> int | None:
        """The place of the network that one would take by its accuracy on the validation samples, if there is one."""
        least = accuracy(self.float_model, self.validation) - MOST_LOST
        enough = [place for place, (_, reached) in enumerate(networks) if reached >= least]
        return min(enough, key=lambda place: self.bitops(networks[place][0]), default=None)

    def save(self, path: Path) -> None:
        """Write all of it as one file of tensors."""
        parts = {name: {"x": part.x, "y": part.y} for name, part in self.parts().items()}
        torch.save({"name": self.name, "weights": self.float_model.state_dict(), **parts}, path)

    def parts(self) -> dict[str, Part]:
        """The samples by name."""
        return {"calibration": self.calibration, "validation": self.validation, "test": self.test}

    @classmethod
    def load(cls, path: Path) -> Problem:
        """Read what `save` wrote."""
        file: dict[str, Any] = torch.load(path, weights_only=True)
        parts = {name: Part(**file[name]) for name in ("calibration", "validation", "test")}
        return problem_of(file["name"], list(file["weights"].values()), **parts)


def problem_of(name: str, weights: Sequence[Tensor], **parts: Part) -> Problem:
    """The problem of a bundled network from its weights and biases in the order of its layers."""
    model = NETWORKS[name]()
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))
    return Problem(name, model.eval(), **parts, macs=macs_of(model, parts["calibration"].x[:1]))


def layers_of(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The linear and convolutional layers of a network, in order."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def macs_of(model: nn.Sequential, x: Tensor) -> tuple[int, ...]:
    """Multiplications of each layer that multiplies, for one sample."""
    found = []
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.Linear | nn.Conv2d):
            positions = x.numel() // layer.weight.shape[0]
            found.append(layer.weight.numel() * positions)
    return tuple(found)


def accuracy(model: Callable[[Tensor], Tensor], part: Part) -> float:
    """The share of correct samples."""
    with torch.no_grad():
        return float((model(part.x).argmax(1) == part.y).float().mean())


def jets() -> nn.Sequential:
    """jsc-mlp: 16-64-32-32-5."""
    return nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5)
    )


def images() -> nn.Sequential:
    """shapes-cnn: two convolutions and two linear layers."""
    return nn.Sequential(
        *[nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Flatten(), nn.Linear(108, 24), nn.ReLU(), nn.Linear(24, 5)],
    )


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {"jsc-mlp": jets, "shapes-cnn": images}
