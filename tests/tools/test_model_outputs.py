"""Which output of a model is scored."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from chop.errors import ChopError
from chop.tools.model_outputs import OutputName, predictions_of

H, S = torch.zeros(4, 16), torch.zeros(4, 3)


class Pair(NamedTuple):
    features: torch.Tensor
    scores: torch.Tensor


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        (S, None),
        (S, 1),
        ((S,), None),
        ({"scores": S}, None),
        ({"h": H, "logits": S}, None),
        ((torch.tensor(0.5), S), None),
        ((None, [S]), None),
        ((H, S), 1),
        ((H, S), -1),
        ({"features": H, "scores": S}, "scores"),
        ({"features": H, "scores": S}, 1),
        (Pair(H, S), "scores"),
        ((H, {"out": S, "h": H}), (1, "out")),
    ],
)
def test_the_only_one_or_the_named_one_is_scored(output: Any, wanted: OutputName) -> None:
    assert predictions_of(output, wanted) is S


@pytest.mark.parametrize(
    ("output", "wanted", "message"),
    [
        ((H, S), None, r"0 \(4, 16\), 1 \(4, 3\); name the one .*output = 1"),
        ({"features": H, "scores": S}, None, r"'features' \(4, 16\), .*output = 'scores'"),
        ((H, (S, S)), None, r"output = \(1, 1\)"),
        ({"features": H, "scores": S}, "score", "no output 'score'"),
        ((H, S), 2, "no output 2"),
        ({"nothing": 1}, None, "no tensor"),
    ],
)
def test_a_choice_is_refused_with_all_outputs(output: Any, wanted: OutputName, message: str) -> None:
    with pytest.raises(ChopError, match=message):
        predictions_of(output, wanted)
