"""What is said of a search before its first trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from chop.actions.search import STRATEGIES, SearchStrategyBase, search
from chop.actions.search.search_space import Point
from chop.dataset import MaseDataModule


class Backwards(SearchStrategyBase):
    """An exhaustive strategy of a plug-in, with no options at all."""

    needs_budget = False
    exhaustive = True

    def __init__(self, context: Any, options: Any = None) -> None:
        super().__init__(context, options)
        self.left = self.space.size

    def ask(self, n: int) -> Sequence[Point]:  # type: ignore[override]
        self.left -= n
        return [self.space.point(self.left)]


def test_an_exhaustive_strategy_of_a_plug_in_may_have_a_budget_below_the_space(
    tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    STRATEGIES.register("backwards")(Backwards)
    lab["strategy"] |= {"name": "backwards", "setup": {"n_trials": 2}}
    result = search(jsc_tiny, jets, lab, tmp_path)
    assert len(result.trials) == 2
    assert "only the first 2 of 18 points are measured" in caplog.text
    assert "landscape" not in caplog.text
