"""NVIDIA ModelOpt: `auto_quantize` scores each format of each layer alone and solves for a budget of effective bits.

It searches for one budget at a time; scores are kept, so a front costs one network for each further budget.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import modelopt.torch.quantization as mtq
import torch
from instead.answer import Answer, Stopwatch
from instead.problem import PAIRS, WIDTHS, Choice, Problem, accuracy
from instead.rival import answer_from_command_line, layer_names
from torch import nn

BUDGETS = 40
BATCH = 32


def recipe(input_bits: int, weight_bits: int, unsigned: bool = False, cost: float | None = None) -> dict[str, Any]:
    """A format of a layer: one scale for the input, one for each output channel of the weight."""
    entries = [
        {"quantizer_name": "*", "enable": False},
        {"quantizer_name": "*weight_quantizer", "cfg": {"num_bits": weight_bits, "axis": 0}},
        {"quantizer_name": "*input_quantizer", "cfg": {"num_bits": input_bits, "axis": None, "unsigned": unsigned}},
    ]
    own = {} if cost is None else {"effective_bits": cost}
    return {"quant_cfg": entries, "algorithm": "max", **own}


def spaces(problem: Problem, careful: bool) -> list[dict[str, Any]]:
    """The formats of each layer; `careful`: all pairs of widths, unsigned behind a ReLU, and BitOPs as their cost."""
    found = []
    largest = max(mac_share(problem))
    for place, (name, share) in enumerate(zip(layer_names(problem), mac_share(problem), strict=True)):
        if careful:
            recipes = [recipe(a, w, place > 0, a * w / 8 * share / largest) for a, w in PAIRS]
        else:
            recipes = [recipe(width, width) for width in WIDTHS]
        found.append({"module_name_patterns": [name], "quantization_formats": recipes, "allow_no_quant": False})
    return found


def mac_share(problem: Problem) -> list[float]:
    """How often each weight of a layer is used for a sample."""
    return [macs / layer.weight.numel() for macs, layer in zip(problem.macs, problem.layers(), strict=True)]


def budgets(problem: Problem, careful: bool) -> list[float]:
    """Effective bits from the narrowest network to the widest."""
    least, most = (WIDTHS[0] ** 2 / 8, 8.0) if careful else (float(WIDTHS[0]), float(WIDTHS[-1]))
    weights = sum(layer.weight.numel() for layer in problem.layers())
    unit = sum(problem.macs) / weights / max(mac_share(problem)) if careful else 1.0
    return [unit * (least + (most - least) * step / BUDGETS) for step in range(BUDGETS + 1)]


def scored(problem: Problem, careful: bool) -> dict[str, Any]:
    """The scores of all formats of all layers, from the calibration samples."""
    part, given = problem.calibration, spaces(problem, careful)
    batches = [(part.x[at : at + BATCH], part.y[at : at + BATCH]) for at in range(0, len(part.y), BATCH)]
    _, state = mtq.auto_quantize(
        problem.model(),
        {"effective_bits": budgets(problem, careful)[-1]},
        given[0]["quantization_formats"],
        batches,
        lambda model, batch: model(batch[0]),
        lambda scores, batch: nn.functional.cross_entropy(scores, batch[1]),
        num_calib_steps=len(batches),
        num_score_steps=len(batches),
        method="kl_div" if careful else "gradient",
        module_search_spaces=given,
    )
    return dict(state)


def choice_of(config: dict[str, Any], problem: Problem) -> Choice:
    """The widths of a configuration."""
    bits = {entry["quantizer_name"]: entry["cfg"]["num_bits"] for entry in config["quant_cfg"] if "cfg" in entry}
    names = layer_names(problem)
    return tuple((bits[f"{name}.input_quantizer"], bits[f"{name}.weight_quantizer"]) for name in names)


def quantised(problem: Problem, config: dict[str, Any]) -> nn.Module:
    """The network in a configuration."""
    model: nn.Module = mtq.quantize(problem.model(), config, lambda own: own(problem.calibration.x))
    return model


def search(problem: Problem, careful: bool) -> Answer:
    """The networks of all budgets."""
    watch = Stopwatch()
    configs: dict[Choice, dict[str, Any]] = {}
    found: list[tuple[Choice, float]] = []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        state = scored(problem, careful)
        for budget in budgets(problem, careful):
            config = mtq.get_auto_quantize_config(state, {"effective_bits": budget})
            choice = choice_of(config, problem)
            if choice not in configs:
                configs[choice] = config
                found.append((choice, accuracy(quantised(problem, config), problem.validation)))
                watch.lap()
        setting = "careful" if careful else "defaults"
        tested = lambda choice: accuracy(quantised(problem, configs[choice]), problem.test)  # noqa: E731
        return Answer.of(problem, "modelopt", setting, 0, watch, found, tested, len(found), "nvidia-modelopt")


if __name__ == "__main__":
    torch.manual_seed(0)
    answer_from_command_line(search)
