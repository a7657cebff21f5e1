"""Trains ever cheaper networks, each from the one before it, by rounds of slow training and descents on codes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import torch

from chop.dataset.data import Data
from chop.ir import MaseGraph
from chop.ir.calibration import Slot
from chop.training.learned_widths import Snapshot, WidthRun, WidthTraining


def train_line(
    graph: MaseGraph,
    data: Data,
    options: WidthTraining,
    start: Snapshot,
    factors: Sequence[float],
    *,
    tries: int = 5000,
    rounds: int = 2,
    restart_epochs: int = 0,
    slots: Collection[Slot] | None = None,
) -> Iterator[Snapshot]:
    """Yield a network for each factor of the cost, from a snapshot of `train_widths` or of another line.

    A network is trained for `restart_epochs` epochs at the full learning rates, which fall, and descends by at most
    `tries` changes of its codes. Then `rounds` times the best one so far is trained for `descent_epochs` epochs at a
    tenth of the rates, and descends as before. Weights and widths before rounding go on from factor to factor, so that
    many small steps add up. The best network has the least loss of the training samples plus factor times what descents
    count (`descent_cost`); where nothing lowers that, it is the one before. Restarts suit large networks: small ones
    forget more than they gain.
    `options` are those of the training, `start.state` is where it goes on: a line that is cut goes on from its last
    network with the factors that are left. `slots` as there.

    Raises GraphError for a graph that is no chain of linear layers.
    """
    run = WidthRun(graph, data, options, slots)
    engine = run.require_chain()
    engine.load_state(start.state)
    for epoch, factor in enumerate(factors, int(start.state["epoch"]) + 1):
        seed = (options.seed * 1_000_003 + epoch) * rounds * (options.descent_epochs + 1)
        engine.measure_ranges()
        least, best = engine.descend(factor, 0 if restart_epochs else tries, seed), engine.state()
        if restart_epochs:
            run.train_aside(factor, seed, restart_epochs, rate=1.0)
            reached = engine.descend(factor, tries, seed)
            if reached < least:
                least, best = reached, engine.state()
            engine.load_state(best)
        for number in range(rounds):
            turn = seed + number * (options.descent_epochs + 1)
            run.train_aside(factor, turn, options.descent_epochs)
            reached = engine.descend(factor, tries, turn)
            if reached < least:
                least, best = reached, engine.state()
            engine.load_state(best)
        found = run.snapshot(epoch, factor)
        yield replace(found, state={**engine.state(), "epoch": torch.tensor(epoch)})
