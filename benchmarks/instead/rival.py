"""How a rival is run in its own environment: `python -m instead.RIVAL PROBLEM FOLDER`; needs torch alone."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from instead.answer import Answer
from instead.problem import Problem
from torch import nn


def answer_from_command_line(search: Callable[[Problem, bool], Answer | None]) -> None:
    """Answer with the defaults of a rival, and with its best setting (None: the same), on one thread."""
    problem, folder = Problem.load(Path(sys.argv[1])), Path(sys.argv[2])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for careful in (False, True):
        answer = search(problem, careful)
        if answer is not None:
            answer.write(folder)


def layer_names(problem: Problem) -> list[str]:
    """The names of the modules that have widths."""
    named = problem.float_model.named_modules()
    return [name for name, layer in named if isinstance(layer, nn.Linear | nn.Conv2d)]


def stand_in(name: str, *classes: str) -> None:
    """Put empty classes where a package imports ones that no network of this comparison has.

    `name` is a module that would need torchvision, which is not installed.
    """
    module: Any = ModuleType(name)
    for own in classes:
        setattr(module, own, type(own, (nn.Module,), {}))
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
