"""Gradient search: fraction widths are trained by gradient descent, and snapshots along the run are the trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from chop.actions.search.search_space.base import Point
from chop.actions.search.search_space.codes import Alternative, index_of
from chop.actions.search.strategies.base import STRATEGIES, SearchStrategyBase, StrategyContext, Training
from chop.config.keys import documented
from chop.errors import SearchError
from chop.formats import FLOAT_BITS, Format
from chop.formats.learned import LearnedGranularity
from chop.ir import QuantPlan
from chop.tools.logger import get_logger
from chop.tools.whole_numbers import readable
from chop.training.code_costs import DescentCost
from chop.training.front_descent import DESCENTS

logger = get_logger(__name__)

Cost = Literal["ebops", "average_bitwidth"]

POINT_FACTORS: Mapping[Cost, tuple[float, float]] = {"ebops": (1e-6, 1e-2), "average_bitwidth": (1e-3, 3.0)}
NETWORK_FACTORS: Mapping[Cost, tuple[float, float]] = {"ebops": (1e-6, 1e-4), "average_bitwidth": (1e-3, 1.0)}
"""The first and the last factor of the cost, where the options state none: for points, and for trained networks."""

MISSING, SPARE = 2.0, 0.1
"""A bit above the point that is missing, and saturates values, or to spare, in bits after the point."""

FLOAT_FRACTION = 23.0
"""What a float stands for, where a layer may be left in float: its mantissa below one."""

NETWORK_EPOCHS = 200
"""Epochs of a training of networks, where the options state none."""

AS_POINTS = 'give "tensor" for weight_granularity and activation_granularity, without train_weights'
"""How trials become points of the space."""

POINT_SAMPLES = 4096
"""Training samples, where the options state none and the weights stay as they are: few widths need few."""

LATER_KEYS = (
    *("teacher_share", "teachers"),
    *("line_networks", "line_growth"),
    *("descent_passes", "descent_networks", "descent_growth", "descent_below", "descent_cost"),
)
"""Options that are handed on where they are not the defaults, so that searches before there were any can be resumed."""

BELONGS_TO = {
    "teachers": ("teacher_share",),
    "line_growth": ("line_networks",),
    "descent_networks": ("descent_passes",),
    "descent_growth": ("descent_passes",),
    "descent_below": DESCENTS,
    "descent_cost": DESCENTS,
}
"""Keys that say how something is done, and those of which one must ask for it."""


@dataclass(frozen=True)
class GradientOptions:
    """Options of the training.

    With "tensor" for both granularities, and without `train_weights`, the weights stay as they are, and a trial is the
    point of the space that is nearest to a snapshot. In all other cases a trial is the snapshot itself, with its
    weights. The defaults of what is None depend on that.
    """

    epochs: Annotated[int, Ge(1)] | None = documented(
        None, "Epochs of the run; without it one for each snapshot, and for networks 200 at the least."
    )
    snapshots: Annotated[int, Ge(1), Le(100_000)] = documented(
        60, "Networks that are taken, evenly along the run, as trials."
    )
    weight_granularity: LearnedGranularity = documented(
        "tensor", "What has a fraction width of its own among weights and biases."
    )
    activation_granularity: LearnedGranularity = documented(
        "tensor", "What has a fraction width of its own in the input of a layer."
    )
    train_weights: bool | None = documented(
        None, "Whether weights are trained too and trials keep them; always with channel and element."
    )
    cost: Cost = documented(
        "ebops",
        "What the loss counts beside that of the task: bits of each input times bits of each weight that reads it, or "
        "the average width.",
    )
    first_factor: Annotated[float, Gt(0)] | None = documented(
        None,
        "The factor of the cost at the beginning of the run, along which it grows; without it 1e-6 (average_bitwidth: "
        "1e-3).",
    )
    last_factor: Annotated[float, Gt(0)] | None = documented(
        None,
        "The factor of the cost at the end of the run; without it 1e-2 for points and 1e-4 for networks "
        "(average_bitwidth: 3 and 1).",
    )
    learning_rate: Annotated[float, Gt(0), Le(10)] | None = documented(
        None, "The learning rate of weights, where they are trained; without it 3e-3."
    )
    width_learning_rate: Annotated[float, Gt(0), Le(10)] | None = documented(
        None, "The learning rate of fraction widths; without it 0.1 for points and 3e-3 for networks."
    )
    batch_size: Annotated[int, Ge(1)] | None = documented(
        None, "Samples of a step; without it 256 for points and 1,024 for networks."
    )
    train_samples: Annotated[int, Ge(1)] | None = documented(
        None, "Training samples that are used, from the first; without it 4,096 for points and all for networks."
    )
    error_share: Annotated[float, Ge(0), Le(1)] = documented(
        0.0,
        "The share of a loss by classes that is the expected error in place of the cross entropy. With 0.5 to 0.9 "
        "networks of few bits sort more samples correctly, but their outputs are too sure: leave it at 0 where "
        "probabilities matter.",
    )
    teacher_share: Annotated[float, Ge(0), Le(1)] = documented(
        0.5,
        "The share of a loss by classes that is on a teacher's outputs; the rest is on the labels. The teacher is the "
        "float network itself, or the mean of `teachers`.",
    )
    teachers: list[str] | None = documented(
        None,
        "Checkpoints of the same network in float, each trained with another seed: the mean of their probabilities "
        "teaches. With teacher_share = 1 networks then overfit less.",
    )
    descent_tries: Annotated[int, Ge(0)] = documented(
        0,
        "Each network of the run is settled by descents on its codes, each of which tries so many changes of one "
        "weight, bias or fraction width; 0: none is. For chains of linear layers, element for both granularities, "
        "and ebops.",
    )
    line_networks: Annotated[int, Ge(0), Le(1000)] = documented(
        0,
        "Networks behind the run, each made from the one before it at a greater factor of the cost, by rounds of slow "
        "training and descents on codes: the way to the best networks of few bits. Let the run end at some thousands "
        "of EBOPs. For the same networks as descent_tries.",
    )
    line_growth: Annotated[float, Ge(1), Le(10)] = documented(
        1.2, "What the factor of the cost is multiplied by from one network of the line to the next."
    )
    descent_passes: Annotated[int, Ge(0), Le(100)] = documented(
        0,
        "Passes behind the run and its line, each of which makes one more trial of each network near the front by a "
        "longer descent: the first to its end, the second with rounds of training, later ones at a factor that grows. "
        "For the same networks as descent_tries.",
    )
    descent_networks: Annotated[int, Ge(1), Le(1000)] = documented(
        10, "Networks that each pass starts from, at the most: those nearest to the front of EBOPs and training loss."
    )
    descent_growth: Annotated[float, Ge(1), Le(10)] = documented(
        1.3, "What the factor of the cost is multiplied by in each pass from the third on."
    )
    descent_below: Annotated[float, Gt(0)] = documented(
        4000.0, "Networks of more EBOPs are neither settled nor descended further: it would take too long."
    )
    descent_cost: DescentCost = documented(
        "ebops",
        "What descents, and the training between them, count: EBOPs, or an estimate of LUTs, with fewer LUTs at equal "
        "accuracy.",
    )

    @property
    def own_networks(self) -> bool:
        """Whether a trial has weights and widths of its own."""
        return bool(self.train_weights) or {self.weight_granularity, self.activation_granularity} != {"tensor"}

    @property
    def networks(self) -> int:
        """How many networks the training has at the most: those of the run, of the line and of the passes."""
        before = self.snapshots + self.line_networks
        return before + self.descent_passes * min(self.descent_networks, before)

    @property
    def descent_key(self) -> str:
        """The key that asks for descents on codes; empty if none does."""
        return next((key for key in DESCENTS if getattr(self, key)), "")

    @property
    def is_fine(self) -> bool:
        """Whether each element has a width of its own, and EBOPs are counted."""
        return self.weight_granularity == self.activation_granularity == "element" and self.cost == "ebops"

    @property
    def weights_problem(self) -> str | None:
        """What is wrong with the options of weights and teachers, and the cure."""
        if self.train_weights is False and self.own_networks:
            return (
                'train_weights = false has no effect: with "channel" or "element" weights are always trained; remove '
                'it, or give weight_granularity = "tensor" and activation_granularity = "tensor"'
            )
        if self.learning_rate is not None and not self.own_networks:
            return "learning_rate has no effect: no weights are trained; remove it, or give train_weights = true"
        if self.teachers == []:
            return "teachers is empty: name checkpoints of the network, or remove it to be taught by the float network"
        return None

    @property
    def descent_problem(self) -> str | None:
        """What is wrong with the options of descents, and the cure."""
        if (key := self.descent_key) and not self.is_fine:
            return (
                f'{key} needs weight_granularity = "element", activation_granularity = "element" and '
                'cost = "ebops": give them, or remove it'
            )
        for key, wanted in BELONGS_TO.items():
            is_given = getattr(self, key) != getattr(type(self), key)
            if is_given and not any(getattr(self, own) for own in wanted):
                return f"{key} has no effect without {' or '.join(wanted)}: give that too, or remove {key}"
        return None


@STRATEGIES.register("gradient")
class Gradient(SearchStrategyBase):
    """Trains fraction widths together with a cost whose factor grows: the run passes from accurate to cheap networks.

    The gradient of a fraction width is that of the rounding error's size (arXiv:2405.00645). Each snapshot is a trial;
    points that a snapshot before has led to are proposed once. It ends with its training, and learns from no trial.
    """

    Options = GradientOptions
    needs_budget = False
    constraints = True
    purpose = "fixed point: a front in one training, with a width for each weight and activation if wanted"

    @classmethod
    def problem(cls, options: GradientOptions, objectives: int) -> str | None:
        if problem := options.weights_problem or options.descent_problem:
            return problem
        first, last = factors_of(options)
        if first > last:
            return (
                f"first_factor ({first:g}) must not be above last_factor ({last:g}): the factor grows along the run; "
                "exchange them"
            )
        if options.epochs is not None and options.epochs < options.snapshots:
            return (
                f"{options.snapshots} snapshots need as many epochs, and there are {options.epochs}: raise epochs, or "
                "lower snapshots"
            )
        return super().problem(options, objectives)

    @classmethod
    def training(cls, options: GradientOptions) -> Training:
        first, last = factors_of(options)
        own = options.own_networks
        values = {
            "epochs": options.epochs or max(options.snapshots, NETWORK_EPOCHS if own else 1),
            "snapshots": options.snapshots,
            "num_samples": options.train_samples or (None if own else POINT_SAMPLES),
            "batch_size": options.batch_size or (1024 if own else 256),
            "learning_rate": (options.learning_rate or 3e-3) if own else 0.0,
            "width_learning_rate": options.width_learning_rate or (3e-3 if own else 0.1),
            "cost": options.cost,
            "first_factor": first,
            "last_factor": last,
            "weight_granularity": options.weight_granularity,
            "activation_granularity": options.activation_granularity,
            "error_share": options.error_share,
            "descent_tries": options.descent_tries,
        }
        values |= {key: own for key in LATER_KEYS if (own := getattr(options, key)) != getattr(GradientOptions, key)}
        return Training("learned_widths", values, options.networks, options.own_networks, AS_POINTS)

    def __init__(self, context: StrategyContext, options: GradientOptions | None = None) -> None:
        super().__init__(context, options)
        self._axes = None if self.options.own_networks else context.space.axes()
        if self._axes is None and not self.options.own_networks:
            raise SearchError(
                "gradient: the space is no product of choices of nodes (a node with more than 100,000 choices, "
                "perhaps): give shorter lists, or train_weights = true"
            )
        if self._axes is not None and context.space.size == 1:
            logger.warning(
                "gradient: the space has one point, so there are no widths to choose between: give several widths, or, "
                "to learn widths that the space does not list, train_weights = true"
            )
        if self.options.own_networks:
            logger.info(
                "the widths of the space say which operands have formats, and are no bounds: widths are learned"
            )
        self._number = 0
        self._asked: set[tuple[int, ...]] = set()

    def ask(self, n: int) -> list[Point]:
        if self.context.trainer is None:
            raise SearchError("gradient: needs a trainer, which a search hands to it")
        found: list[Point] = []
        while len(found) < n and (plan := self.context.trainer.plan(self._number)) is not None:
            point = self._point(plan)
            key = self.space.key(point)
            if key not in self._asked:
                found.append(point)
            self._asked.add(key)
            self._number += 1
        return found

    def why_done(self) -> str:
        if self._axes is None:  # descents lead to fewer networks than `options.networks` where few are near the front
            return "the training has ended, and all its snapshots have been measured"
        return (
            f"the training has ended: its {self._number} snapshots led to {len(self._asked)} of the "
            f"{readable(self.space.size)} networks of the space. More snapshots, or factors further apart "
            "(first_factor, last_factor), may lead to others; another strategy goes on from these with --init-from"
        )

    def _point(self, plan: QuantPlan) -> Point:
        """The point of a snapshot: its own, or the nearest of the space."""
        if self._axes is None:
            return self.space.point(self._number)
        learned = {(node, operand): own for node in plan for operand, own in plan[node].items()}
        code = [_nearest(axis, learned) for axis in self._axes]
        return self.space.point(index_of(code, [len(axis) for axis in self._axes]))


def factors_of(options: GradientOptions) -> tuple[float, float]:
    """The first and the last factor of the cost."""
    first, last = (NETWORK_FACTORS if options.own_networks else POINT_FACTORS)[options.cost]
    return options.first_factor or first, options.last_factor or last


def _nearest(axis: Sequence[Alternative], learned: Mapping[tuple[str, str], Format]) -> int:
    """The alternative of an axis whose formats are nearest to the learned ones; of equal ones the first."""
    slots = {(node, operand) for own in axis for node, formats in own.items() for operand in formats} & learned.keys()
    distances = [
        sum(_distance(own.get(node, {}).get(operand), learned[node, operand]) for node, operand in sorted(slots))
        for own in axis
    ]
    return distances.index(min(distances))


def _distance(chosen: Format | None, learned: Format) -> float:
    """Bits after the point that differ, twice the bits above it that are missing, and a little for those to spare."""
    fraction, width = _bits(chosen)
    own_fraction, own_width = _bits(learned)
    spare = (width - fraction) - (own_width - own_fraction)
    return abs(fraction - own_fraction) + (MISSING * -spare if spare < 0 else SPARE * spare)


def _bits(chosen: Any) -> tuple[float, float]:
    """Fraction width and width of a fixed-point format; means over its channels. None is float32."""
    if chosen is None:
        return FLOAT_FRACTION, FLOAT_BITS
    if chosen.is_learned:
        return float(chosen.frac_width.values.float().mean()), float(chosen.element_width.values.float().mean())
    return sum(chosen.fractions) / len(chosen.fractions), float(chosen.width)
