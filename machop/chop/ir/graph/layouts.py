"""Finds the dimensions of samples and channels in all tensors of a graph, by running two and three samples.

A dimension that grows with the batch holds samples. Channels are followed from the layers that make them: one channel
of a call's input is changed, and the dimension along which the result then differs in part is that of its channels.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from chop.errors import GraphError, first_line
from chop.formats.layout import Layout
from chop.ir.graph.channels import channels_read, channels_written, input_channels
from chop.nn.ops import Op
from chop.tools.get_input import hint_on

if TYPE_CHECKING:
    from chop.ir.graph.mase_graph import MaseGraph

SEED = 40_961
"""Of the values that samples are changed to: data that were drawn with a usual seed are not among them."""

FEW, MORE = 2, 3
"""Two batch sizes: what differs between them belongs to a sample."""

Shapes = dict[fx.Node, Any]
"""For every node the shape of its value, or nested shapes."""


@dataclass(frozen=True)
class Seen:
    """A tensor on three samples: its layout, with dimensions counted from the first."""

    shape: tuple[int, ...]
    is_floating: bool
    samples: tuple[int, ...] | None
    channels: int | None

    @property
    def layout(self) -> Layout:
        """The same, counted from the end."""
        ndim = len(self.shape)
        samples = None if self.samples is None else tuple(dim - ndim for dim in self.samples)
        return Layout(ndim, self.is_floating, samples, None if self.channels is None else self.channels - ndim)


def find_layouts(
    model: fx.GraphModule, ops: Mapping[str, Op], modules: set[str], inputs: Sequence[Any]
) -> dict[str, dict[str, Layout]]:
    """The layout of every operand of `ops`, `{node: {operand: layout}}`; `modules` are the nodes that call modules.

    `inputs` are the values of the placeholders, with the batch as dimension 0. A model that takes no batches of two and
    three samples is run on `inputs` alone: then samples lie where a change of the first one is seen in part.

    Raises GraphError for a model that does not run at all.
    """
    with _undisturbed(model):
        try:
            shapes, own = _shapes(model, _samples(inputs, FEW)), _samples(inputs, MORE)
            return _surveyed(_Survey(model, ops, modules, shapes, None), own)
        except Exception:  # of a model's own code, on a batch that is not its own
            own = list(inputs)
        try:
            dims = _sample_dims_seen(model, own)
            return _surveyed(_Survey(model, ops, modules, _shapes(model, own), dims), own)
        except Exception as error:
            raise GraphError(f"the graph does not run on these inputs: {first_line(error)}{hint_on(error)}") from error


def _surveyed(survey: _Survey, inputs: Sequence[Any]) -> dict[str, dict[str, Layout]]:
    survey.run(*inputs)
    return survey.layouts


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, and the same random numbers each time; modes and random numbers are put back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _rows(inputs: Sequence[Any]) -> int:
    tensors = [value for value in pytree.tree_leaves(inputs) if isinstance(value, Tensor) and value.ndim]
    return len(tensors[0]) if tensors else 0


def _samples(inputs: Sequence[Any], count: int) -> list[Any]:
    """So many samples of a batch, over again where it has fewer; what is no batch stays as it is."""
    rows = _rows(inputs)
    places = torch.arange(count) % max(rows, 1)

    def chosen(value: Any) -> Any:
        is_batch = isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows
        return value[places.to(value.device)] if is_batch else value

    return [pytree.tree_map(chosen, value) for value in inputs]


class FirstBatch:
    """Lets a graph observe the first batch that its model is called on, where formats wait to learn their layouts."""

    def __init__(self, graph: MaseGraph) -> None:
        self._graph = weakref.ref(graph)

    def wait(self) -> None:
        """Wait for the call."""
        graph = self._graph()
        if graph is not None and not graph.model._forward_pre_hooks:
            self._handle = graph.model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let the graph observe the arguments of a call of its model; a copy of the model is left alone."""
        graph = self._graph()
        if graph is not None and graph.model is model:
            names = [str(node.target) for node in graph.nodes if node.op == "placeholder"]
            graph.observe({**dict(zip(names, args, strict=False)), **kwargs})
        self._handle.remove()


class _Recorder(fx.Interpreter):
    def __init__(self, model: fx.GraphModule) -> None:
        super().__init__(model)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.values[n] = pytree.tree_map(lambda v: v.clone() if isinstance(v, Tensor) else None, result)
        return result


def _values(model: fx.GraphModule, inputs: Sequence[Any]) -> dict[fx.Node, Any]:
    recorder = _Recorder(model)
    recorder.run(*pytree.tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, list(inputs)))
    return recorder.values


def _shapes(model: fx.GraphModule, inputs: Sequence[Any]) -> Shapes:
    return {n: pytree.tree_map(_shape, value) for n, value in _values(model, inputs).items()}


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _sample_dims_seen(model: fx.GraphModule, inputs: Sequence[Any]) -> Shapes:
    """For every node the dimensions along which a part alone follows from the first sample."""
    rows = _rows(inputs)
    changed = pytree.tree_map(lambda v: _with_another_first(v, rows), list(inputs))
    one, other = _values(model, inputs), _values(model, changed)
    return {n: pytree.tree_map(lambda a, b: _dims_changed(a, b, rows), one[n], other[n]) for n in one}


def _with_another_first(value: Any, rows: int) -> Any:
    if not isinstance(value, Tensor) or not value.ndim or len(value) != rows:
        return value
    first = torch.rand(value[:1].shape).to(value) - value[:1] if value.is_floating_point() else value[-1:]
    return torch.cat([first, value[1:]])


def _dims_changed(one: Any, other: Any, rows: int) -> Any:
    if not isinstance(one, Tensor):
        return None
    mask = one != other
    along = [mask.movedim(dim, 0).flatten(1).any(1) if mask.ndim > 1 else mask for dim in range(mask.ndim)]
    return tuple(
        dim for dim, part in enumerate(along) if part.any() and not part.all() and rows and len(part) % rows == 0
    )


class _Survey(fx.Interpreter):
    """Runs the graph on three samples and notes the layout of each tensor on the way."""

    def __init__(
        self,
        model: fx.GraphModule,
        ops: Mapping[str, Op],
        modules: set[str],
        shapes: Shapes,
        dims: Shapes | None,
    ) -> None:
        super().__init__(model)
        self.ops = ops
        self.modules = modules
        self.shapes = shapes
        self.dims = dims
        self.seen: dict[fx.Node, Any] = {}
        self.layouts: dict[str, dict[str, Layout]] = {}

    def run_node(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        values, structure = pytree.tree_flatten((args, dict(kwargs)))
        known = pytree.tree_leaves(fx.node.map_arg((n.args, dict(n.kwargs)), self.seen.__getitem__))
        call = _Call(lambda *a, **k: getattr(self, n.op)(n.target, a, k), values, structure, known)
        result = super().run_node(n)
        if n.op == "output":
            return result
        results, shape = pytree.tree_flatten(result)
        found = self._channels(n, call, results)
        others = pytree.tree_leaves((self.dims or self.shapes)[n], is_leaf=lambda v: v is None or _is_shape(v))
        facts = [self._fact(*row) for row in zip(results, found, others, strict=True)]
        self.seen[n] = pytree.tree_unflatten(facts, shape)
        if n.name in self.ops:
            self._note(n, facts)
        return result

    def _channels(self, node: fx.Node, call: _Call, results: list[Any]) -> list[int | None]:
        """The dimension of the channels of each tensor that a node results in."""
        if node.op == "get_attr":
            return [None for _ in results]
        if node.op == "placeholder":
            return [input_channels(node, self.shapes, self.ops) if isinstance(v, Tensor) else None for v in results]
        op = self.ops.get(node.name)
        made = [channels_written(op, value.ndim, call.known) for value in results if isinstance(value, Tensor)]
        if len(made) == len(results) == 1 and made[0] is not None:
            return made
        return call.channels_followed(results, is_mixing=op is not None and op.multiplies)

    def _fact(self, value: Any, channels: int | None, other: Any) -> Seen | None:
        if not isinstance(value, Tensor):
            return None
        shape = tuple(value.shape)
        return Seen(shape, value.is_floating_point(), self._sample_dims(shape, other), channels)

    def _sample_dims(self, shape: tuple[int, ...], other: Any) -> tuple[int, ...] | None:
        if self.dims is None:
            if other is None or len(other) != len(shape):
                return None
            return tuple(dim for dim, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b)
        return other if isinstance(other, tuple) else None

    def _note(self, node: fx.Node, results: list[Any]) -> None:
        """The layouts of a call's operands."""
        op = self.ops[node.name]
        result = next((fact for fact in results if fact is not None), None)
        found = {"data_out": result.layout} if result is not None else {}
        slots = {**op.args, **({} if node.name in self.modules else {name: (arg,) for name, arg in op.params.items()})}
        for operand, places in slots.items():
            sources = [place.of(node.args, node.kwargs) for place in places]
            facts = [self.seen[source] for source in sources if isinstance(source, fx.Node)]
            layouts = [fact for fact in facts if isinstance(fact, Seen)]
            if layouts:
                found[operand] = _joined([_read(op, operand, fact, result) for fact in layouts])
        self.layouts[node.name] = found


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(length, int) for length in value)


def _read(op: Op, operand: str, fact: Seen, result: Seen | None) -> Layout:
    """The layout of an operand as its op reads it."""
    own = fact.layout
    channels = channels_read(op, operand, own, result.layout if result is not None else None)
    return Layout(own.ndim, own.is_floating, own.samples, channels)


def _joined(layouts: Sequence[Layout]) -> Layout:
    """One layout for the two inputs of an addition, which are broadcast."""
    floating = [layout for layout in layouts if layout.is_floating] or list(layouts)
    widest = max(floating, key=lambda layout: layout.ndim)
    known = [layout.samples for layout in floating]
    samples = None if None in known else tuple(sorted({dim for dims in known for dim in dims or ()}))
    channels = next((layout.channels for layout in floating if layout.channels is not None), None)
    return Layout(widest.ndim, widest.is_floating, samples, channels)


class _Call:
    """A call that can be repeated with other values, to see what depends on what."""

    def __init__(self, function: Any, values: list[Any], structure: Any, known: list[Any]) -> None:
        self.function = function
        self.values = values
        self.structure = structure
        self.known = known

    def channels_followed(self, results: list[Any], is_mixing: bool) -> list[int | None]:
        """For each result the dimension that the channels of an input come to lie in.

        `is_mixing`: where every channel changes, there are no channels any more.
        """
        found: list[int | None] = [None for _ in results]
        sources = [i for i, fact in enumerate(self.known) if isinstance(fact, Seen) and fact.channels is not None]
        for place in sources:
            masks = self._changes(place, results)
            for number, mask in enumerate(masks):
                if found[number] is None and mask is not None:
                    found[number] = _partly_changed(mask)
        if is_mixing:
            return found
        return [
            next((d for i in sources if (d := _kept(self.known[i], v)) is not None), None) if dim is None else dim
            for dim, v in zip(found, results, strict=True)
        ]

    def _changes(self, place: int, results: list[Any]) -> list[Tensor | None]:
        """Where each result differs after the first channel of an input has been raised, or lowered."""
        fact = self.known[place]
        masks: list[Tensor | None] = [None for _ in results]
        if fact.shape[fact.channels] < 2 or not fact.is_floating:
            return masks
        for sign in (1, -1):
            values = [value.clone() if isinstance(value, Tensor) else value for value in self.values]
            part = values[place].narrow(fact.channels, 0, 1)
            step = torch.rand(part.shape).to(part) + 1 + part.abs().nan_to_num(0.0, 0.0, 0.0).amax()
            part += sign * step
            args, kwargs = pytree.tree_unflatten(values, self.structure)
            try:
                found = pytree.tree_leaves(self.function(*args, **kwargs))
            except Exception:  # of a model's own code, on values that are not its own
                return [None for _ in results]
            for number, (own, other) in enumerate(zip(results, found, strict=False)):
                if isinstance(own, Tensor) and own.shape == getattr(other, "shape", None):
                    differs = (own != other) & ~(own.isnan() & other.isnan())
                    known = masks[number]
                    masks[number] = differs if known is None else known | differs
        return masks


def _partly_changed(mask: Tensor) -> int | None:
    """The last dimension along which a part has changed and a part has not; None where all or nothing has."""
    for dim in reversed(range(mask.ndim)):
        along = mask.movedim(dim, 0).flatten(1).any(1) if mask.ndim > 1 else mask
        if along.any() and not along.all():
            return dim
    return None


def _kept(fact: Seen, value: Any) -> int | None:
    """The dimension of the channels after a call that mixes them, or leaves nothing to see: it is where it was."""
    if not isinstance(value, Tensor) or value.ndim != len(fact.shape) or fact.channels is None:
        return None
    is_last = fact.channels == value.ndim - 1
    return fact.channels if is_last or value.shape[fact.channels] == fact.shape[fact.channels] else None
