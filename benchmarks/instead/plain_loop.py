"""What most people write: Optuna around a network whose layers are quantised by torch's own functions.

Weights have a symmetric scale for each output channel, inputs an affine one for the tensor, biases stay in float: the
usual arithmetic of integer networks, and that of chop's `scale_integer`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import torch
from instead.answer import Answer, Stopwatch
from instead.problem import WIDTHS, Choice, Problem, accuracy, layers_of
from torch import Tensor, nn


def input_ranges(problem: Problem) -> list[tuple[float, float]]:
    """The least and the greatest input of each layer on the calibration samples, zero included."""
    found, x = [], problem.calibration.x
    for layer in problem.float_model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            found.append((min(x.min().item(), 0.0), max(x.max().item(), 0.0)))
        x = layer(x)
    return found


def rounded_weight(weight: Tensor, bits: int) -> Tensor:
    """The weight with a symmetric scale for each output channel."""
    last = 2 ** (bits - 1) - 1
    scale = weight.abs().flatten(1).amax(1) / last
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -last - 1, last)


def rounding(low: float, high: float, bits: int) -> Callable[..., Any]:
    """A hook that rounds the input of a layer to the codes of a range."""
    last = 2**bits - 1
    scale = (high - low) / last
    zero = round(-low / scale)
    return lambda _, inputs: (torch.fake_quantize_per_tensor_affine(inputs[0], scale, zero, 0, last),)


class Quantiser:
    """Quantises a network by a choice; the rounded weights of each width are made once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.ranges = input_ranges(problem)
        self.weights = [
            {bits: rounded_weight(own.weight.detach(), bits) for bits in WIDTHS} for own in problem.layers()
        ]

    def __call__(self, choice: Choice) -> nn.Sequential:
        """A network with rounded weights that rounds the input of each layer."""
        model = self.problem.model()
        for place, (layer, (input_bits, weight_bits)) in enumerate(zip(layers_of(model), choice, strict=True)):
            layer.weight.data = self.weights[place][weight_bits]
            layer.register_forward_pre_hook(rounding(*self.ranges[place], input_bits))
        return model


def as_categories(trial: optuna.trial.Trial, layers: int) -> Choice:
    """The widths that a trial proposes, each one of a list."""
    bits = [[trial.suggest_categorical(f"{kind}{place}", WIDTHS) for kind in "aw"] for place in range(layers)]
    return tuple((int(a), int(w)) for a, w in bits)


def in_order(trial: optuna.trial.Trial, layers: int) -> Choice:
    """The widths that a trial proposes, each a place in an ordered list."""
    last = len(WIDTHS) - 1
    at = [[trial.suggest_int(f"{kind}{place}", 0, last) for kind in "aw"] for place in range(layers)]
    return tuple((WIDTHS[a], WIDTHS[w]) for a, w in at)


def search(problem: Problem, seed: int, trials: int, careful: bool) -> Answer:
    """The answer of TPE; `careful`: widths in order, all of them modelled jointly, uniform networks first."""
    watch = Stopwatch()
    found: list[tuple[Choice, float]] = []
    quantised = Quantiser(problem)
    layers, choose = len(problem.macs), in_order if careful else as_categories

    def objective(trial: optuna.trial.Trial) -> tuple[float, float]:
        choice = choose(trial, layers)
        found.append((choice, accuracy(quantised(choice), problem.validation)))
        watch.lap()
        return found[-1][1], problem.bitops(choice)

    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=careful)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for place in range(len(WIDTHS) if careful else 0):
        study.enqueue_trial({f"{kind}{layer}": place for kind in "aw" for layer in range(layers)})
    study.optimize(objective, n_trials=trials)
    setting = "careful" if careful else "defaults"
    tested = lambda choice: accuracy(quantised(choice), problem.test)  # noqa: E731
    return Answer.of(problem, "optuna", setting, seed, watch, found, tested, trials)
