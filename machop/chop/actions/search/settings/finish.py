"""The table `[search.finish]`: how the best networks are tuned when the search is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from chop.actions.search.settings.tables import RunnerChoice, parse_below
from chop.actions.search.strategies.runners.base import RUNNERS, RunnerBase
from chop.config.typed import Problem
from chop.training.fine_tuning import FineTuning


@dataclass(frozen=True)
class Finish(FineTuning):
    """The options of the tuning, as `basic_train` has them, and which networks are tuned.

    `rows` networks nearest the front are tuned (absent: the front). With `ladder = [1, 2]` they are tuned for 1 epoch
    first, the better half for 2, and the better half of those for `max_epochs`, from the search's weights each time.
    """

    max_epochs: Annotated[int, Ge(1)] = 3
    lr_scheduler: Literal["constant", "linear", "cosine"] = "cosine"
    rows: Annotated[int, Ge(1)] | None = None
    ladder: list[Annotated[int, Ge(1)]] = field(default_factory=list)

    @property
    def rungs(self) -> list[int]:
        """The epochs of each round."""
        return [*self.ladder, self.max_epochs]

    def tuning(self, epochs: int) -> FineTuning:
        """The options of a tuning for so many epochs."""
        own = {key: value for key, value in asdict(self).items() if key not in ("rows", "ladder", "max_epochs")}
        return FineTuning(max_epochs=epochs, **own)


def parse_finish(
    table: Mapping[str, Any] | None, runners: Iterable[RunnerChoice]
) -> tuple[Finish | None, list[Problem]]:
    """The options of a table, None without one, and its problems."""
    if table is None:
        return None, []
    finish, problems = parse_below(Finish, table, "finish")
    if finish is not None and finish.rungs != sorted(set(finish.rungs)):
        message = f"must ascend and stay below max_epochs = {finish.max_epochs}, got {finish.ladder}"
        problems.append(Problem(("finish", "ladder"), message, beside=("finish", "max_epochs")))
    if table.get("ladder") == []:
        problems.append(
            Problem(("finish", "ladder"), "is empty: name the epochs of rounds before, or leave the key out")
        )
    for runner in runners:
        if RUNNERS[runner.name].adapt is not RunnerBase.adapt:
            message = (
                f"'{runner.name}' changes each network before it measures, as tuning does: measure with "
                "basic_evaluation, or remove [search.finish]"
            )
            problems.append(Problem(("finish",), message))
    return finish, problems
