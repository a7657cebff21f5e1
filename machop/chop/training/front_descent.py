"""Trains widths, then goes on to cheaper networks in a line, and descends further from those nearest to the front."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from chop.dataset.data import Data
from chop.errors import ConfigError
from chop.ir import MaseGraph
from chop.ir.calibration import Slot
from chop.tools.logger import get_logger
from chop.training.learned_widths import Snapshot, WidthRun, WidthTraining, snapshot_graph, train_widths
from chop.training.width_engine import Widths
from chop.training.width_lines import train_line

logger = get_logger(__name__)

PASS_EPOCHS = 5
"""Epochs of training in each round of a descent."""

LINE_EPOCHS = 10
"""Epochs of training in each round of a line."""

DESCENTS = ("descent_tries", "line_networks", "descent_passes")
"""The options that ask for descents on codes."""

TO_THE_END = 2**62
"""Changes that a descent tries at the most: it ends where a whole sweep finds none that stays."""


@dataclass(frozen=True)
class FrontTraining(WidthTraining):
    """Options of a training of widths, of a line behind it, and of passes over the networks near the front of both.

    The line has `line_networks` (`train_line`): it goes on from the end of the run, the first at its last factor, each
    other at a factor that is `line_growth` times as large. Let the run end at some thousands of EBOPs for it.

    Each of `descent_passes` takes the `descent_networks` that are nearest to the front of EBOPs and loss on the
    training samples, but for those of more than `descent_below` EBOPs, and makes a network of each by a longer descent.
    In the first pass that is one on its codes, to its end. In the second `descent_rounds` rounds follow, each of 5
    epochs at a tenth of the learning rates and a descent. Each later pass is like the second, at a factor that is
    `descent_growth` times as large: it leads to cheaper networks. So as many networks as passes times
    `descent_networks` follow those of the run and of the line, or fewer where fewer are small enough.
    """

    line_networks: Annotated[int, Ge(0), Le(1000)] = 0
    line_growth: Annotated[float, Ge(1), Le(10)] = 1.2
    descent_passes: Annotated[int, Ge(0), Le(100)] = 0
    descent_networks: Annotated[int, Ge(1), Le(1000)] = 10
    descent_growth: Annotated[float, Ge(1), Le(10)] = 1.3

    def __post_init__(self) -> None:
        """Raise ConfigError with all values that cannot be."""
        super().__post_init__()
        key = next((key for key in ("line_networks", "descent_passes") if getattr(self, key)), None)
        if key and self.cost != "ebops":
            message = f'must be "ebops" where {key} is set, got "{self.cost}": a descent counts EBOPs'
            raise ConfigError([f"cost: {message}; set {key} = 0 for other costs"])

    @property
    def descends(self) -> bool:
        return super().descends or self.descent_passes > 0


@dataclass(frozen=True)
class Descended(Snapshot):
    """A network that a pass has found by a descent from network number `start` of the same training."""

    start: int = 0


@dataclass(frozen=True)
class FrontNetwork:
    """A network near the front: its number, its loss on the training samples and its cost are what it is chosen by."""

    number: int
    loss: float
    snapshot: Snapshot

    @property
    def cost(self) -> float:
        """Its EBOPs."""
        return self.snapshot.cost


def train_front(
    graph: MaseGraph,
    data: Data,
    options: FrontTraining,
    start: Snapshot | None = None,
    *,
    slots: Collection[Slot] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[Snapshot]:
    """Train widths as `train_widths` does, and yield its networks, then those of the line and of the passes behind it.

    With `start`, one of these networks, it goes on behind it and yields what it would have yielded unbroken.

    Raises GraphError for a graph whose widths cannot be trained, and, with a line or passes, for one that is no chain
    of linear layers: before anything is trained.
    """
    if not options.descent_passes and not options.line_networks:
        return train_widths(graph, data, options, start, slots=slots, on_step=on_step)
    return _FrontRun(graph, data, options, slots, on_step).networks(start)


def nearest_to_front(found: Iterable[FrontNetwork], most: int) -> list[FrontNetwork]:
    """At most so many networks, by their cost: those that are least behind the front, and of a front those well apart.

    A network is behind by what its loss is above the least one of networks that cost no more. The one that is furthest
    behind goes first; where none is behind, the one whose neighbours' costs differ by the least factor.
    """
    left = sorted(found, key=lambda own: (own.cost, own.loss, own.number))
    while len(left) > most:
        least, behind = math.inf, []
        for own in left:
            least = min(least, own.loss)
            behind.append(own.loss - least)
        worst = max(behind)
        left.pop(behind.index(worst) if worst > 0 else _most_crowded([own.cost for own in left]))
    return left


def _most_crowded(costs: Sequence[float]) -> int:
    """The place of the cost whose neighbours are nearest to each other by their ratio; an end only if there is no more.

    >>> _most_crowded([10, 100, 120, 400])
    2
    """
    logs = [math.log1p(cost) for cost in costs]
    inner = range(1, len(logs) - 1)
    return min(inner, key=lambda place: logs[place + 1] - logs[place - 1], default=len(logs) - 1)


class _FrontRun:
    """A training, its line and its passes.

    `front` are the networks that the next pass would start from, `starts` those of this one. Both are in the state of
    each network, so that nothing else is needed to go on.
    """

    def __init__(
        self,
        graph: MaseGraph,
        data: Data,
        options: FrontTraining,
        slots: Collection[Slot] | None,
        on_step: Callable[[int, int], None] | None,
    ) -> None:
        self.graph, self.data, self.options, self.slots = graph, data, options, slots
        self.run = WidthRun(graph, data, replace(options, descent_epochs=PASS_EPOCHS), slots)
        self.pristine = self.run.require_chain().state()
        self.front: list[FrontNetwork] = []
        self.starts: list[FrontNetwork] = []
        self.each = min(options.descent_networks, options.snapshots + options.line_networks)
        self.progress = _Progress(options, self.run.batches, self.each, on_step)

    def networks(self, start: Snapshot | None) -> Iterator[Snapshot]:
        """The networks behind `start`."""
        state = {} if start is None else start.state
        self.front, self.starts = (_networks_in(state, name) for name in ("front", "starts"))
        number, done, turn = (int(state[name]) if name in state else 0 for name in ("number", "line", "turn"))
        last = start
        if done == turn == 0:
            for found in train_widths(
                self.graph, self.data, self.options, start, slots=self.slots, on_step=self.progress.on_step
            ):
                self._consider(found, number)
                number += 1
                last = replace(found, state={**found.state, **self._state(number, 0, 0)})
                yield last
        if turn == 0 and last is not None:
            for line, found in enumerate(self._line(last, done), done + 1):
                self._consider(found, number)
                number += 1
                self.progress.end_of(line - 1)
                yield replace(found, state={**found.state, **self._state(number, line, 0)})
        if turn == 0 and self.options.descent_passes and not self.front:
            self._tell_none()
        for later in range(turn, self.options.descent_passes * self.each):
            stage, place = divmod(later, self.each)
            if place == 0:
                self.starts = self.front
            if place < len(self.starts):
                found = self._descended(self.starts[place], stage, later)
                self._consider(found, number)
                number += 1
                yield replace(found, state=self._state(number, self.options.line_networks, later + 1))

    def _line(self, start: Snapshot, done: int) -> Iterator[Snapshot]:
        """The networks of the line that are left behind the first `done`."""
        options = self.options
        factors = [options.last_factor * options.line_growth**number for number in range(options.line_networks)]
        own = replace(options, descent_epochs=LINE_EPOCHS)
        if factors[done:]:
            logger.info(
                "a line of %d networks goes on from %s EBOPs: each is made from the one before it, and takes longer "
                "the more EBOPs it has",
                len(factors[done:]),
                f"{start.cost:,.0f}",
            )
        return train_line(self.graph, self.data, own, start, factors[done:], slots=self.slots)

    def _tell_none(self) -> None:
        logger.warning(
            "no network has descent_below = %g EBOPs or fewer, so that no pass descends from any: raise descent_below, "
            "or last_factor",
            self.options.descent_below,
        )

    def _consider(self, found: Snapshot, number: int) -> None:
        """Take a network up into the front, if it is near enough."""
        if not self.options.descent_passes or found.cost > self.options.descent_below:
            return
        engine = self.run.require_chain()
        engine.load_state(self.pristine)
        engine.load_network(snapshot_graph(self.graph, found))
        new = FrontNetwork(number, engine.loss(engine.train), replace(found, state={}))
        others = [own for own in self.front if (own.cost, own.loss) != (new.cost, new.loss)]
        self.front = nearest_to_front([*others, new], self.each)

    def _descended(self, start: FrontNetwork, stage: int, turn: int) -> Descended:
        """The network that a descent from `start` leads to."""
        options = self.options
        factor = start.snapshot.factor * (options.descent_growth if stage > 1 else 1.0)
        rounds = options.descent_rounds if stage > 0 else 0
        self.run.require_chain().load_state(self.pristine)
        self.run.descend(
            snapshot_graph(self.graph, start.snapshot), factor, TO_THE_END, rounds, options.seed + 1 + turn
        )
        self.progress.end_of(options.line_networks + turn)
        found = self.run.snapshot(options.epochs - 1, factor)
        return Descended(**{**vars(found), "start": start.number})

    def _state(self, number: int, line: int, turn: int) -> dict[str, Tensor]:
        """What is needed to go on behind so many networks, of them so many of the line, and turns of the passes."""
        named = {"number": torch.tensor(number), "line": torch.tensor(line), "turn": torch.tensor(turn)}
        return {**named, **_tensors_of(self.front, "front"), **_tensors_of(self.starts if turn else [], "starts")}


class _Progress:
    """Tells steps of the run, and of what is behind it as if each network there took as long as one of the run."""

    def __init__(
        self, options: FrontTraining, batches: int, each: int, tell: Callable[[int, int], None] | None
    ) -> None:
        self.steps, self.snapshots, self.tell = options.epochs * batches, options.snapshots, tell
        self.of_all = self._steps_until(options.line_networks + options.descent_passes * each)

    def _steps_until(self, turns: int) -> int:
        return self.steps * (self.snapshots + turns) // self.snapshots

    def on_step(self, done: int, of_run: int) -> None:
        """A step of the run."""
        if self.tell is not None:
            self.tell(done, self.of_all)

    def end_of(self, turn: int) -> None:
        """A network of the line, or a descent of a pass."""
        if self.tell is not None:
            self.tell(self._steps_until(turn + 1), self.of_all)


def _tensors_of(networks: Sequence[FrontNetwork], name: str) -> dict[str, Tensor]:
    """Networks as tensors by name."""
    found: dict[str, Tensor] = {}
    for place, own in enumerate(networks):
        of = own.snapshot
        known = [own.number, own.loss, of.step, of.epoch, of.factor, of.cost, of.validation_loss]
        found[f"{name}.{place}.known"] = torch.tensor(known, dtype=torch.float64)
        found |= {f"{name}.{place}.weights.{path}": values for path, values in of.weights.items()}
        for (node, operand), widths in of.widths.items():
            slot = f"{name}.{place}.widths.{node}.{operand}"
            found |= {f"{slot}.width": widths.width, f"{slot}.frac_width": widths.frac_width}
            found[f"{slot}.kind"] = torch.tensor([widths.is_signed, widths.rounds_down])
    return found


def _networks_in(state: Mapping[str, Tensor], name: str) -> list[FrontNetwork]:
    """The networks that `_tensors_of` has put into a state."""
    found: list[FrontNetwork] = []
    while (key := f"{name}.{len(found)}") + ".known" in state:
        number, loss, step, epoch, factor, cost, validation_loss = state[f"{key}.known"].tolist()
        weights, kinds = _below(state, f"{key}.weights."), _below(state, f"{key}.widths.")
        widths: dict[Slot, Widths] = {}
        for slot in (path.removesuffix(".kind") for path in kinds if path.endswith(".kind")):
            node, _, operand = slot.rpartition(".")
            flags = kinds[f"{slot}.kind"].tolist()
            widths[node, operand] = Widths(kinds[f"{slot}.width"], kinds[f"{slot}.frac_width"], *flags)
        snapshot = Snapshot(int(step), int(epoch), factor, cost, validation_loss, weights, widths)
        found.append(FrontNetwork(int(number), loss, snapshot))
    return found


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What of a state has names with a prefix, by the rest of its name."""
    return {name.removeprefix(prefix): own for name, own in state.items() if name.startswith(prefix)}
