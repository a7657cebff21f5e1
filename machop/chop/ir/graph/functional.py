"""Makes a traced graph functional: replaces in-place calls by calls that return their result."""

from __future__ import annotations

import torch.nn.functional as F
from torch import fx, nn

from chop.errors import GraphError
from chop.ir.graph.writes import (
    Write,
    argument,
    is_opaque,
    may_be_copy,
    view_as_function,
    view_source,
    works_in_place,
    write_of,
)
from chop.nn.on_copies import ThroughView, copied
from chop.nn.own_tensors import within_norm


def make_functional(model: fx.GraphModule) -> None:
    """Replace every call in `model` that writes on a value by one that returns what it would have written.

    Nodes keep their names. Where the value was a view of others, or others are views of it, these are computed anew for
    whoever reads them afterwards. Modules that work in place no longer do. Calls that cannot be looked into (modules
    that are kept whole, functions wrapped by torch.fx) get copies of their inputs, whether they write or not.

    Raises GraphError where only a run could tell whether two values share their memory, and for writes on parameters
    that a layer reads.
    """
    _Rewriting(model).run()
    for node in model.graph.nodes:
        if works_in_place(node, model):
            model.get_submodule(str(node.target)).inplace = False  # type: ignore[assignment]
    model.graph.lint()
    model.recompile()


class _Rewriting:
    """Goes through the nodes in order and knows, for every tensor, the node that holds its value by now.

    A tensor goes by the node that made it. `now` are those whose value has been written since, `stale` those that are
    views of what was written, and are made anew when something reads them.
    """

    def __init__(self, model: fx.GraphModule) -> None:
        self.model = model
        self.graph = model.graph
        self.tensor_of: dict[fx.Node, fx.Node] = {}
        self.source_of: dict[fx.Node, fx.Node] = {}
        self.now: dict[fx.Node, fx.Node] = {}
        self.stale: dict[fx.Node, fx.Node] = {}
        self.attributes: dict[str, fx.Node] = {}
        self.written_attributes: dict[int, str] = {}

    def run(self) -> None:
        for node in list(self.graph.nodes):
            if node.op == "get_attr":
                self.tensor_of[node] = self.attributes.setdefault(str(node.target), node)
                continue
            self._require_unwritten_parameters(node)
            with self.graph.inserting_before(node):
                node.args, node.kwargs = fx.node.map_arg((node.args, node.kwargs), self._value_of)
            self._limit_norm(node)
            write = write_of(node, self.model)
            if write is None and is_opaque(node, self.model):
                self._give_copies(node)
            elif write is None:
                self._note_view(node)
            else:
                self._replace(node, write)
        self._drop_unread()

    def _limit_norm(self, node: fx.Node) -> None:
        """Give an embedding with `max_norm` a scaled copy of its weight, in place of scaling the weight itself."""
        norm = argument(node, "max_norm", 3) if node.target in (F.embedding, F.embedding_bag) else None
        if norm is None:
            return
        weight, norm_type = argument(node, "weight", 1), argument(node, "norm_type", 4)
        with self.graph.inserting_before(node):
            limited = self.graph.call_function(within_norm, (weight, norm, 2.0 if norm_type is None else norm_type))
        for name, place, value in (("weight", 1, limited), ("max_norm", 3, None)):
            if place < len(node.args):
                node.update_arg(place, value)
            else:
                node.update_kwarg(name, value)

    def _give_copies(self, node: fx.Node) -> None:
        with self.graph.inserting_before(node):
            node.args, node.kwargs = fx.node.map_arg(
                (node.args, node.kwargs), lambda source: self.graph.call_function(copied, (source,))
            )

    def _tensor(self, node: fx.Node) -> fx.Node:
        return self.tensor_of.get(node, node)

    def _value_of(self, node: fx.Node) -> fx.Node:
        """The node that holds the value of the tensor of `node` by now."""
        tensor = self._tensor(node)
        if tensor in self.stale:
            self.now[tensor] = self._seen_anew(tensor, self.stale.pop(tensor))
        return self.now.get(tensor, node)

    def _seen_anew(self, view: fx.Node, write: fx.Node) -> fx.Node:
        if may_be_copy(view, self.model):
            raise GraphError(
                f"node '{write.name}' writes on a tensor of which '{view.name}' may be a view or a copy, and that is "
                "read afterwards: write h = h + y in place of h += y, and use the new name behind it"
            )
        found = self.graph.node_copy(view, self._value_of)
        self.tensor_of[found] = view
        return found

    def _note_view(self, node: fx.Node) -> None:
        source = view_source(node, self.model)
        if source is not None:
            self.source_of[node] = self._tensor(source)

    def _replace(self, node: fx.Node, write: Write) -> None:
        """Make `node` the value of what it wrote on, and of the tensors that this is a view of."""
        node.op, node.target, node.args, node.kwargs = write.op, write.target, write.args, write.kwargs
        if write.written is None:
            return
        if not isinstance(write.written, fx.Node):
            raise GraphError(f"node '{node.name}' writes on several tensors (out=): use what it returns instead")
        written = self._tensor(write.written)
        self.tensor_of[node] = written
        family = self._family(written)
        value = self.now[written] = node
        self.stale.pop(written, None)
        below, tensor = {written}, written
        with self.graph.inserting_before(node.next):
            while (source := self.source_of.get(tensor)) is not None:
                value = self.now[source] = self._through(tensor, source, value)
                tensor = source
                below.add(tensor)
        self.stale |= dict.fromkeys(family - below, node)
        if tensor.op == "get_attr":
            self._note_attribute(str(tensor.target))

    def _family(self, tensor: fx.Node) -> set[fx.Node]:
        """The views, and views of views, of the tensor that `tensor` is a view of, or is."""
        return {view for view in self.source_of if self._root(view) is self._root(tensor)}

    def _root(self, tensor: fx.Node) -> fx.Node:
        while tensor in self.source_of:
            tensor = self.source_of[tensor]
        return tensor

    def _through(self, view: fx.Node, source: fx.Node, value: fx.Node) -> fx.Node:
        """The value of `source` once `value` has been written on its `view`."""
        function = view_as_function(view, self.model)
        if function is None:
            return value
        base = self.now.get(source, source)
        args = fx.node.map_arg(function[1], self._value_of)
        kwargs = view.kwargs if view.op != "call_module" else {}
        made = self.graph.call_function(ThroughView(function[0]), (base, value, *args), kwargs)
        self.tensor_of[made] = source
        return made

    def _note_attribute(self, path: str) -> None:
        owner, _, name = path.rpartition(".")
        self.written_attributes[id(getattr(self.model.get_submodule(owner), name))] = path

    def _require_unwritten_parameters(self, node: fx.Node) -> None:
        """Raise GraphError for a layer whose own parameters the model has written before."""
        if node.op != "call_module" or not self.written_attributes:
            return
        layer: nn.Module = self.model.get_submodule(str(node.target))
        for tensor in (*layer.parameters(), *layer.buffers()):
            if id(tensor) in self.written_attributes:
                raise GraphError(
                    f"the model writes on '{self.written_attributes[id(tensor)]}' in forward, which the layer "
                    f"'{node.target}' reads: compute it with torch.nn.utils.parametrize, or write it once before"
                )

    def _drop_unread(self) -> None:
        """Take out the values that nothing reads after all."""
        for node in reversed(list(self.graph.nodes)):
            if node in self.tensor_of and node.op != "get_attr" and not node.users:
                self.graph.erase_node(node)
