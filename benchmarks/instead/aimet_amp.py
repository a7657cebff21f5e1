"""AIMET: `choose_mixed_precision` measures each choice of each group alone, then takes over one after the other."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from instead.answer import Answer, Stopwatch
from instead.problem import PAIRS, Choice, Problem, accuracy
from instead.rival import answer_from_command_line, stand_in
from torch import nn

for name, classes in (
    ("torchvision", ()),
    ("torchvision.datasets", ()),
    ("torchvision.transforms", ("Resize",)),
    ("torchvision.ops", ("RoIPool",)),
):
    stand_in(name, *classes)

from aimet_torch.common.amp.utils import AMPSearchAlgo  # noqa: E402
from aimet_torch.common.defs import CallbackFunc, QuantizationDataType  # noqa: E402
from aimet_torch.common.quantsim_config import quantsim_config  # noqa: E402
from aimet_torch.common.utils import AimetLogger  # noqa: E402
from aimet_torch.mixed_precision import choose_mixed_precision  # noqa: E402
from aimet_torch.quantsim import QuantizationSimModel  # noqa: E402

INT = QuantizationDataType.int
CONFIGS = Path(str(quantsim_config.__file__)).parent
DROPS = (0.01, 0.02, 0.05, 0.1)
"""Losses of accuracy that the default, a binary search for one network, is asked for, one after the other."""


class Run:
    """Calls for a problem, and the networks that they measured on the way."""

    def __init__(self, problem: Problem, careful: bool) -> None:
        self.problem, self.careful = problem, careful
        self.watch = Stopwatch()
        self.evaluations = 0
        self.found: list[tuple[Choice, float]] = []
        self.tests: dict[Choice, float] = {}

    def choose(self, drop: float | None) -> None:
        """Let AIMET lose at most `drop` of accuracy; None: let it measure its whole curve."""
        x = self.problem.calibration.x
        config = CONFIGS / ("default_config_per_channel.json" if self.careful else "default_config.json")
        sim = QuantizationSimModel(
            self.problem.model(), x[:1], default_param_bw=8, default_output_bw=8, config_file=str(config)
        )
        sim.compute_encodings(lambda model, _: model(x), None)
        candidates = [((a, INT), (w, INT)) for a, w in PAIRS]
        forward = CallbackFunc(lambda model, _: model(x), None)
        alone, together = CallbackFunc(self._alone, None), CallbackFunc(self._together, None)
        with tempfile.TemporaryDirectory() as folder:
            choose_mixed_precision(
                *(sim, x[:1], candidates, alone, together, drop, folder, True, forward),
                use_all_amp_candidates=True,
                amp_search_algo=AMPSearchAlgo.BruteForce if self.careful else AMPSearchAlgo.Binary,
            )

    def _alone(self, model: nn.Module, _: Any) -> float:
        """The accuracy of a network in which one group is quantised, or all are."""
        self.evaluations += 1
        return accuracy(model, self.problem.validation)

    def _together(self, model: nn.Module, _: Any) -> float:
        """The accuracy of a network of the curve; that on the test set is noted aside, and not timed."""
        reached, choice = self._alone(model, _), choice_of(model)
        if all(bits for bits, _ in choice):  # else it is the float network
            self.watch.lap()
            since = process_time()
            self.found.append((choice, reached))
            self.tests[choice] = accuracy(model, self.problem.test)
            self.watch.left_out(since)
        return reached


def choice_of(model: nn.Module) -> Choice:
    """The widths in a simulated network. An input has the widths of the layer that makes it."""
    found: list[tuple[int, int]] = []
    bits = 0
    for module in model.children():
        layer: Any = module
        bits = bits_of(layer.input_quantizers) or bits
        if "weight" in layer.param_quantizers:
            found.append((bits, int(layer.param_quantizers["weight"].bitwidth)))
        bits = bits_of(layer.output_quantizers) or bits
    return tuple(found)


def bits_of(quantisers: Iterable[Any]) -> int:
    """The bits of the values that these quantise; 0 where all are off."""
    return max((int(own.bitwidth) for own in quantisers if own is not None and own.enabled), default=0)


def search(problem: Problem, careful: bool) -> Answer:
    """The networks of its whole curve, scales by channel (`careful`), or of its way to one for each allowed loss."""
    AimetLogger.set_level_for_all_areas(logging.ERROR)
    run = Run(problem, careful)
    with contextlib.redirect_stdout(io.StringIO()):
        for drop in (None,) if careful else DROPS:
            run.choose(drop)
    setting = "careful" if careful else "defaults"
    about = ("aimet", setting, 0, run.watch, run.found, run.tests.__getitem__, run.evaluations)
    return Answer.of(problem, *about, "aimet-torch")


if __name__ == "__main__":
    torch.manual_seed(0)
    answer_from_command_line(search)
