"""`MaseGraph`: a model as a graph whose nodes know their op, their module and the results of passes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from chop.errors import ChopError, GraphError
from chop.formats.integer import FixedPoint
from chop.formats.layout import Layout
from chop.ir.calibration import Calibration, Slot
from chop.ir.choice_offsets import ChoiceOffsets
from chop.ir.choice_ranges import ChoiceRanges
from chop.ir.graph.bias_correction import with_shifts
from chop.ir.graph.calls import of_call, ops_with_operands, row_of_module, with_layouts
from chop.ir.graph.export_trace import ExampleInputs
from chop.ir.graph.fitting import fitted, has_values
from chop.ir.graph.float_statistics import beside_float
from chop.ir.graph.inputs import placeholder_values
from chop.ir.graph.layer_inputs import layer_inputs
from chop.ir.graph.layouts import FirstBatch, find_layouts
from chop.ir.graph.made_tensors import MadeTensors
from chop.ir.graph.mask_readers import with_masks
from chop.ir.graph.metadata import MaseMetadata
from chop.ir.graph.noted_weights import take_notes
from chop.ir.graph.own_copy import own_copy
from chop.ir.graph.plan_statistics import (
    measured_anew,
    measured_in_place,
    without_statistics,
    write_statistics,
)
from chop.ir.graph.trace import trace
from chop.ir.graph.wrapped_nodes import WrappedNodes
from chop.ir.learned import learned_in, with_learned
from chop.ir.plan import QuantPlan
from chop.models.weight_notes import hand_on_notes
from chop.nn.copying import copied_module
from chop.nn.ops import Op, op_of_function, op_of_method
from chop.nn.quantized import Quantized, TensorMethod
from chop.tools.get_input import call_model

MOST_DRAWN = 80
"""Nodes of a graph that a notebook shows as a picture."""


class MaseGraph:
    """A graph of its own copy of `model`, in eval mode; the caller's module is never changed.

    `cf_args` are concrete values for arguments of `forward` (as in `torch.fx`). `custom_ops` may list module classes
    to keep whole under `"modules"`. A model that `torch.fx` cannot trace (those of Hugging Face) goes through
    `torch.export`, which needs `example_inputs`: a tensor, a tuple or a dictionary of keyword arguments, the batch
    first; such a graph computes as in eval mode also while it is trained.

    Weights that were trained for a search space bring their offsets (`choice_offsets`) and ranges (`choice_ranges`)
    with them.

    Raises GraphError for a model whose control flow depends on its data, CheckpointError for offsets that do not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        cf_args: dict[str, Any] | None = None,
        custom_ops: Mapping[str, Any] | None = None,
        example_inputs: ExampleInputs | None = None,
    ) -> None:
        if any(isinstance(module, Quantized) for module in model.modules()):
            raise GraphError(
                "the model is that of a quantised graph; use that graph, or copy.deepcopy(graph), or quantise it with "
                '{"by": "type", "default": {"config": {"name": "NA"}}} first'
            )
        leaves = tuple((custom_ops or {}).get("modules", ()))
        example = None if example_inputs is None else partial(call_model, x=example_inputs)
        self.model: fx.GraphModule = trace(own_copy(model, example), cf_args, leaves, example_inputs)
        self.meta: dict[str, MaseMetadata] = {"mase": MaseMetadata()}
        self.plan = QuantPlan()
        self._requested = QuantPlan()
        self._wrapped = WrappedNodes()
        self._made = MadeTensors()
        self.layouts: dict[str, dict[str, Layout]] | None = None
        self.calibration = Calibration(self._parameters())
        self.learned: Mapping[Slot, FixedPoint] = {}
        """Formats with widths that a training has found: what a plan means by "learned"."""

        self.choice_offsets = ChoiceOffsets()
        """Offsets of parameters by format, which a training for a search space has found."""

        self.choice_ranges = ChoiceRanges()
        """Ranges of activations by format, which it has chosen."""

        self.folded: tuple[str, ...] = ()
        self.about: Mapping[str, Any] = {}
        take_notes(self, model)
        if example_inputs is not None:
            with suppress(ChopError):  # where it does not run on them: what it runs on later is observed
                self.observe(example_inputs)

    @classmethod
    def from_module(
        cls,
        model: nn.Module,
        cf_args: dict[str, Any] | None = None,
        custom_ops: Mapping[str, Any] | None = None,
        example_inputs: ExampleInputs | None = None,
    ) -> MaseGraph:
        """The same as calling the class; reads better where a checkpoint would be the other choice."""
        return cls(model, cf_args, custom_ops, example_inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> MaseGraph:
        """A graph that shares nothing with this one; `torch.fx` alone would share the metadata of nodes."""
        twin = object.__new__(MaseGraph)
        twin.model = copied_module(self.model, memo)
        hand_on_notes(self.model, twin.model)
        twin.meta = copy.deepcopy(self.meta, memo)
        twin._made = MadeTensors()
        twin.plan = self.plan
        twin.layouts = self.layouts
        twin.calibration = self.calibration.with_parameters(twin._parameters())
        twin._requested = self._requested
        twin.learned = self.learned
        twin.choice_offsets = self.choice_offsets
        twin.choice_ranges = self.choice_ranges
        twin.folded = self.folded
        twin.about = self.about
        twin._wrapped = self._wrapped.copy()
        for node, own in zip(self.nodes, twin.nodes, strict=True):
            own.meta = {key: copy.deepcopy(value) if key == "mase" else value for key, value in node.meta.items()}
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """For another process: the graph with its formats and calibration, without what passes noted of its nodes."""
        from chop.ir.graph.pickled import as_plain

        return {**self.__dict__, "model": as_plain(self.model), "_made": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from chop.ir.graph.pickled import from_plain

        self.__dict__.update(state)
        self.model = from_plain(state["model"])
        self._made = MadeTensors()
        self.calibration = self.calibration.with_parameters(self._parameters())

    @classmethod
    def from_checkpoint(
        cls, path: Path | str, model: nn.Module | None = None, example_inputs: ExampleInputs | None = None
    ) -> MaseGraph:
        """The graph that `export` wrote; `model` is what it was made from, with any weights.

        It may be left out for models that ship with the package: the file holds their name. Code is never taken from a
        file. Raises CheckpointError for a file that is no saved graph, does not fit, or whose model must be passed.
        """
        from chop.ir.graph.graph_file import load_graph

        return load_graph(path, model, example_inputs)

    def export(self, path: Path | str, about: Mapping[str, Any] | None = None) -> Path:
        """Write weights and formats to one safetensors file, which `from_checkpoint` loads; returns its path.

        `about` may name the model that ships with the package, `{"model": "jsc-tiny"}`; a loaded graph remembers it.
        Raises OSError where the file cannot be written.
        """
        from chop.ir.graph.graph_file import save_graph

        return save_graph(self, path, about)

    def draw(self, path: Path | str = "mase_graph.svg") -> Path:
        """Write a picture of the graph as SVG, each node with its op and formats; returns its path.

        Raises OSError where the file cannot be written.
        """
        from chop.ir.graph.draw import draw_graph

        return draw_graph(self, path)

    def __repr__(self) -> str:
        """How many nodes there are, and how many have formats."""
        quantised = sum(bool(self.plan[node.name]) for node in self.nodes)
        return f"MaseGraph({len(self.nodes)} nodes, {quantised} with formats)"

    def _repr_svg_(self) -> str | None:
        """The picture that a notebook shows; of a graph with very many nodes None."""
        from chop.ir.graph.draw import graph_svg

        return graph_svg(self) if len(self.nodes) <= MOST_DRAWN else None

    @property
    def fx_graph(self) -> fx.Graph:
        """The `torch.fx` graph."""
        return self.model.graph

    @property
    def nodes(self) -> list[fx.Node]:
        """The nodes in the order of execution."""
        return list(self.model.graph.nodes)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Every module by its path."""
        return dict(self.model.named_modules())

    @property
    def requested_plan(self) -> QuantPlan:
        """The plan as it was asked for: what its formats measure is measured anew where it is applied again."""
        return self._requested

    def node(self, name: str) -> fx.Node:
        """The node of that name; raises GraphError where there is none."""
        for node in self.model.graph.nodes:
            if node.name == name:
                found: fx.Node = node
                return found
        raise GraphError(f"the graph has no node '{name}' (nodes: {', '.join(node.name for node in self.nodes)})")

    def op(self, node: fx.Node) -> Op | None:
        """The op table's row for a node, quantised or not; None for an operation that the table does not hold."""
        inner = self.model.get_submodule(str(node.target)) if node.op == "call_module" else None
        return inner.op if isinstance(inner, Quantized) else with_masks(self, node, of_call(self.table_row(node), node))

    def table_row(self, node: fx.Node) -> Op | None:
        """The op table's row for all calls like a node's."""
        if node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            return module.op if isinstance(module, Quantized) else row_of_module(module)
        if node.op == "call_function":
            return op_of_function(node.target)  # type: ignore[arg-type]
        return op_of_method(str(node.target)) if node.op == "call_method" else None

    def inner(self, node: fx.Node) -> Any:
        """What a node calls in float: the module with the pristine weights, the function or the tensor's method."""
        if node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            return module.inner if isinstance(module, Quantized) else module
        return TensorMethod(str(node.target)) if node.op == "call_method" else node.target

    def quantizable_nodes(self) -> dict[str, Op]:
        """The nodes that formats can be chosen for, in the order of execution, with their ops."""
        layouts, ops = self.layouts, ops_with_operands(self)
        if layouts is None:
            return ops
        known = {name: layouts.get(name, {}) for name in ops}
        return {name: with_layouts(op, known[name]) for name, op in ops.items() if has_values(known[name])}

    def observe(self, x: Any) -> None:
        """Learn from the first batch which nodes compute with values, and where their samples and channels lie.

        Raises GraphError for a batch that the model does not run on, and where formats in place do not fit.
        """
        if self.layouts is not None:
            return
        ops = ops_with_operands(self)
        modules = {name for name in ops if isinstance(self.inner(self.node(name)), nn.Module)}
        self.layouts = find_layouts(copied_module(self.model), ops, modules, placeholder_values(self, x))
        try:
            self.apply_plan(self._requested)
        except GraphError:
            self.layouts = None  # so that nothing runs in formats that do not fit
            raise

    def apply_plan(self, plan: QuantPlan) -> None:
        """Make the model compute with exactly the formats of `plan`: earlier ones are replaced, never added to.

        What formats measure is taken from `calibration` and frozen; what follows from the formats of everything before
        (statistics of batch norms) is measured in one run of the calibration samples.
        """
        known = ops_with_operands(self)
        self.calibration = self.calibration.with_parameters(self._parameters())
        for name in plan:
            if name not in known:
                raise GraphError(f"the plan names '{name}', which is no quantisable node ({', '.join(known)})")
        requested, plan = plan, self.freeze(plan)
        self._wrapped.restore_all(self.model)
        known = self.quantizable_nodes()
        for name in plan:
            node, op, formats = self.node(name), known[name], plan[name]
            self.calibration.require_finite(name, formats, op.params)
            self._wrapped.wrap(self.model, node, Quantized(self.inner(node), op, formats))
        self.plan, self._requested = plan, requested
        self.learned = {**self.learned, **learned_in(plan)}
        self.model.recompile()
        if plan.is_open:
            self.plan = measured_in_place(self, plan)
        if self.layouts is None and any(chosen.needs_layout for _, formats in plan.choices for _, chosen in formats):
            FirstBatch(self).wait()

    def freeze(self, plan: QuantPlan) -> QuantPlan:
        """The plan with all that its formats measure taken from `calibration`, learned widths from `learned`.

        Trained offsets of parameters are taken from `choice_offsets`, ranges that a training has chosen from
        `choice_ranges`. What follows from the formats of other nodes is left open: see `measured`.

        Raises GraphError for a node whose activations are not known.
        """
        plan = beside_float(self, self.choice_ranges.put_into(self.choice_offsets.added_to(plan)))
        is_measured = plan.is_measured
        plan = with_learned(plan, self.learned) if is_measured else plan
        placed = plan if self.layouts is None else fitted(plan, self.layouts)
        if not is_measured:
            return placed
        return with_shifts(self, self.calibration.freeze(placed, partial(layer_inputs, self)))

    def measured(self, plan: QuantPlan) -> QuantPlan:
        """The plan with everything measured, also what follows from other nodes; the graph stays as it is.

        Raises GraphError where calibration samples are needed, and there are none.
        """
        plan = self.freeze(plan)
        if not plan.is_open:
            return plan
        twin = copy.deepcopy(self)
        twin.apply_plan(plan)
        return twin.plan

    def measure_under_plan(self) -> None:
        """Measure anew what follows from the whole plan (statistics of batch norms), with the weights as they are now.

        For a network that was trained. Nothing changes where the plan holds nothing of the kind. Raises GraphError
        where there are no calibration samples.
        """
        self.plan = measured_anew(self)

    def settle_statistics(self) -> None:
        """Make measured statistics of batch norms the network's own, to the bit; the plan then holds none.

        For what reads the network's modules: folding, exports. Raises GraphError for norms that share their statistics.
        """
        plan, requested = self.plan, self._requested
        if without_statistics(plan) != plan:
            self.apply_plan(QuantPlan())
            write_statistics(self, plan)
            self.apply_plan(without_statistics(requested))

    def calibrate(self, activations: Mapping[Slot, Tensor], inputs: Any = None) -> None:
        """Let formats be measured on `activations` of the float model, by node and operand, beside the weights.

        `inputs` are the samples, one batch as the model takes it (None: those of an earlier call). Formats that were
        measured on earlier ones are measured anew.
        """
        tensors, inputs = {**activations, **self._parameters()}, self.calibration.inputs if inputs is None else inputs
        self.calibration = Calibration(tensors, has_activations=True, inputs=inputs)
        self.apply_plan(self._requested)

    def keep_activations(self, folded: Mapping[str, str]) -> None:
        """Read the parameters anew, which folding `{norm: layer}` has changed; activations stay what they were."""
        seen = {slot: tensor for slot, tensor in self.calibration.tensors.items() if slot[0] not in folded}
        for norm, layer in folded.items():
            seen.pop((layer, "data_out"), None)
            if (norm, "data_out") in self.calibration.tensors:
                seen[layer, "data_out"] = self.calibration.tensors[norm, "data_out"]
        known = self.calibration
        self.calibration = Calibration({**seen, **self._parameters()}, known.has_activations, known.inputs)

    def forget_calibration(self) -> None:
        """Read the parameters anew, which a pass has changed; activations of the old model are dropped."""
        self.calibration = Calibration(self._parameters(), inputs=self.calibration.inputs)

    @torch.no_grad()
    def _parameters(self) -> dict[Slot, Tensor]:
        """The parameters of all nodes that can be quantised."""
        found: dict[Slot, Tensor] = {}
        for name, op in self.quantizable_nodes().items():
            for operand in op.params:
                value = self.parameter(self.node(name), op, operand)
                if value is not None:
                    found[name, operand] = value.detach()
        return found

    def parameter(self, node: fx.Node, op: Op, operand: str) -> Tensor | None:
        """The tensor of a node's parameter: its module's own as it reads it, or what its function takes of the model.

        None where it has none, and where it follows from the data.
        """
        inner = self.inner(node)
        if isinstance(inner, nn.Module):
            return self._made.of_module(node.name, inner, operand)
        given = op.params[operand].of(node.args, node.kwargs)
        return self._made.of_node(self, given) if isinstance(given, fx.Node) else None
