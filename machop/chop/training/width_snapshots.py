"""The training of fraction widths as a training of snapshots, which a search runs and keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor

from chop.dataset.data import Data, first_batch
from chop.dataset.first_samples import FirstSamples
from chop.errors import CheckpointError
from chop.formats import Format, Integer
from chop.formats.output_shift import OutputShift
from chop.ir import MaseGraph
from chop.models import checkpoint
from chop.tools.logger import silenced
from chop.training.chain_network import chain_obstacle
from chop.training.front_descent import DESCENTS, Descended, FrontTraining, train_front
from chop.training.learned_widths import Snapshot, snapshot_graph
from chop.training.snapshots import TRAININGS, Formats, OnStep, SnapshotTraining, TrainedNetwork
from chop.training.width_engines import OPERANDS, teachers_of
from chop.training.width_network import LEARNED_LAYERS, learnable_layers
from chop.training.width_samples import Samples
from chop.weight_transforms import format_of, transforms_of
from chop.weight_transforms.rounding import WeightRounding
from chop.weight_transforms.sparsity import Sparsity

INTEGER = "integer"
AS_INTEGERS = f'name = ["{INTEGER}"]'
INTEGERS_ALONE = f"trains widths of the format {INTEGER} alone, and the space has others"


@dataclass(frozen=True)
class WidthSnapshots(FrontTraining):
    """The options of the training, and `num_samples`: on how many samples of each set, from the first; None: on all."""

    num_samples: Annotated[int, Ge(1)] | None = None


@TRAININGS.register("learned_widths")
class LearnedWidths(SnapshotTraining):
    """Trains the fraction widths of fixed-point formats together with a cost whose factor grows."""

    Options = WidthSnapshots
    purpose = "fraction widths by gradient descent, for each tensor, channel or element (format integer)"
    scope = f"inputs, weights and biases of layers: for {LEARNED_LAYERS}"

    @classmethod
    def problem(cls, options: WidthSnapshots, formats: Formats | None) -> str | None:
        if formats is None:
            return "trains the widths of a space of formats, and what this space chooses is unknown"
        if options.activation_rounding != "half_even":
            return (
                'trains the widths of the format integer, which rounds half to even: activation_rounding = "half_even"'
            )
        wrong = [f"{node}, {operand}: {own}" for (node, operand), all_of in formats.items() for own in _others(all_of)]
        if wrong:
            cures = dict.fromkeys(
                cure for all_of in formats.values() for own in _others(all_of) for cure in _cures(own)
            )
            return f"{INTEGERS_ALONE} ({wrong[0]}): {', and '.join(cures)}"
        if not any(operand in OPERANDS for _, operand in formats):
            return (
                "trains the widths of inputs, weights and biases of layers, and the space has formats for none: give "
                "data_in_width and weight_width"
            )
        return None

    @classmethod
    def name_problem(cls, names: Collection[str]) -> str | None:
        others = [name for name in names if name != INTEGER]
        return f"{INTEGERS_ALONE} ({', '.join(others)}): {AS_INTEGERS}" if others else None

    @classmethod
    def data_problem(cls, options: WidthSnapshots, graph: MaseGraph, data: Data) -> str | None:
        x, y = first_batch(data, "train", 4)
        descents = [key for key in DESCENTS if getattr(options, key)]
        wanting = [key for key in ("teachers", "error_share", *descents) if getattr(options, key)]
        if wanting and not Samples(x, y, data.task).has_classes:
            cure = "leave them out" if wanting[0] == "teachers" else "set it to 0"
            return f"needs the cross entropy of one class for each sample for its {wanting[0]}: {cure} for this task"
        try:
            with silenced(checkpoint.__name__):  # the training itself says what it loads
                teachers_of(graph, options.teachers)
        except CheckpointError as error:
            return f"has a teacher that is no checkpoint of the network as it is trained: {error}"
        if not descents:
            return None
        needed = f"needs a chain of linear layers and ReLUs on vectors for its {descents[0]}"
        if not (isinstance(x, Tensor) and x.ndim == 2):
            return f"{needed}, and these samples are no vectors: set it to 0"
        if (node := chain_obstacle(graph)) is not None:
            return (
                f"{needed}, and '{node.name}' is in the way: set it to 0 for this network; batch norms are taken out "
                'by setup.passes = ["fold_batch_norm", "absorb_batch_norm"]'
            )
        return None

    @classmethod
    def files(cls, options: WidthSnapshots) -> Sequence[str]:
        return [str(path) for path in options.teachers or ()]

    @classmethod
    def left_in_float(cls, graph: MaseGraph, formats: Formats) -> Sequence[tuple[str, str]]:
        learns = learnable_layers(graph)
        return [(node, operand) for node, operand in formats if operand not in OPERANDS or node not in learns]

    def networks(self, state: Mapping[str, Tensor] | None, on_step: OnStep) -> Iterator[TrainedNetwork]:
        options = replace(self.options, seed=self.seed)
        slots = None if self.formats is None else set(self.formats)
        start = None if state is None else Snapshot(0, 0, 0.0, 0.0, 0.0, {}, {}, state)
        data = FirstSamples(self.data, self.options.num_samples)
        for found in train_front(self.graph, data, options, start, slots=slots, on_step=on_step):
            notes = {"step": found.step, "factor": found.factor, "cost": found.cost}
            if isinstance(found, Descended):
                notes["start"] = found.start
            yield TrainedNetwork(snapshot_graph(self.graph, found), found.state, notes)


def _others(formats: Any) -> list[Any]:
    """The formats, without weight transforms, that are not integers; weights that are transformed as well."""
    return [own for own in formats if type(format_of(own)) is not Integer or format_of(own) is not own]


def _cures(own: Format) -> list[str]:
    """What to write in place of such a format, by its keys."""
    found = []
    for transform in transforms_of(own):
        if isinstance(transform, WeightRounding):
            found.append('weight_rounding = ["nearest"]')
        elif isinstance(transform, Sparsity):
            found.append("no weight_sparsity")
        else:
            found.append(f"no '{transform}'")
    rounds = format_of(own)
    if isinstance(rounds, OutputShift):
        found.append("bias_correction = [false]")
        rounds = rounds.then
    if rounds is not None and type(rounds) is not Integer:
        found.append(AS_INTEGERS)
    return found
