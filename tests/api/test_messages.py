"""Messages of calls from Python speak of arguments."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

import chop
from chop.errors import ChopError, ConfigError
from tests.api.conftest import few

Arrays = tuple[np.ndarray, np.ndarray]


def test_a_sampler_is_told_as_arguments(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match=r'write strategy="optuna", strategy_options=\{"sampler": "random"\}'):
        chop.search(mlp, arrays, **few(strategy="random"))


def test_a_finish_that_is_neither_a_number_nor_a_dictionary(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match=r"finish: expected a number of epochs or a dictionary of options, got 1\.5"):
        chop.search(mlp, arrays, **few(finish=1.5))


def test_a_training_for_no_space_names_the_argument(mlp: nn.Module, arrays: Arrays) -> None:
    with pytest.raises(ConfigError, match=r"space: give a chop\.Space, or the number formats"):
        chop.train_for_space(mlp, arrays, None)


def test_the_least_number_of_samples_is_the_one_that_runs(mlp: nn.Module, arrays: Arrays) -> None:
    x, y = arrays
    with pytest.raises(ChopError, match="has 3 samples, too few for three parts; give at least 4"):
        chop.search(mlp, (x[:3], y[:3]), **few())
    assert len(chop.search(mlp, (x[:4], y[:4]), **few(objectives=["loss", "average_bitwidth"])))
