"""Decides which arguments of `forward` become inputs of a graph, and which are constants of the trace."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from chop.errors import GraphError
from chop.ir.graph.export_trace import ExampleInputs, positional_and_keyword

EMPTY = inspect.Parameter.empty


def require_constant(value: Any, traced_with: Any, name: str) -> None:
    """Raise GraphError if an argument has another value than in the trace."""
    if value is not traced_with and (isinstance(value, Tensor) or value != traced_with):
        raise GraphError(
            f"the graph was traced with {name} = {traced_with!r}, and computes nothing else: trace the model with "
            f"example_inputs={{..., '{name}': ...}}"
        )


class ArgumentTracer(fx.Tracer):
    """Makes inputs of the arguments that hold tensors in `example_inputs`; all others keep their values or defaults.

    `torch.fx` makes an input of every argument, for which `if mask is not None` is always true. Without
    `example_inputs` every argument is an input but those whose default is None, a flag or a name. The graph refuses
    other values for a constant.
    """

    example_inputs: ExampleInputs | None = None

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The function to trace, with proxies bound to it, and the module that it is called on."""
        signature = inspect.signature(root_fn)
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        if concrete_args or (self.example_inputs is None and inspect.Parameter.VAR_POSITIONAL in kinds):
            return super().create_args_for_root(root_fn, is_module, concrete_args)
        if self.example_inputs is None:
            bound = self._all_bound(signature)
        else:
            bound = _bound(signature, self.root, self.example_inputs)
            self._replace_by_proxies(bound)
        return (lambda root: root_fn(root, *bound.args[1:], **bound.kwargs)), [self.root]

    def _all_bound(self, signature: inspect.Signature) -> inspect.BoundArguments:
        _, *others = signature.parameters.values()
        bound = signature.bind_partial(self.root)
        for one in others:
            if one.kind is inspect.Parameter.VAR_KEYWORD:
                continue
            if one.default is None or isinstance(one.default, (bool, str)):
                bound.arguments[one.name] = self._constant(one.name, one.default)
            else:
                default = () if one.default is EMPTY else (one.default,)
                bound.arguments[one.name] = self._input(one.name, *default)
        return bound

    def _replace_by_proxies(self, bound: inspect.BoundArguments) -> None:
        kinds = {name: parameter.kind for name, parameter in bound.signature.parameters.items()}
        for name, value in list(bound.arguments.items())[1:]:
            if kinds[name] is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(self._replaced(f"{name}_{i}", part) for i, part in enumerate(value))
            elif kinds[name] is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: self._replaced(key, part) for key, part in value.items()}
            else:
                bound.arguments[name] = self._replaced(name, value)

    def _replaced(self, name: str, value: Any) -> Any:
        """The proxy of an input, or a value without tensors itself."""
        has_tensors = any(isinstance(leaf, Tensor) for leaf in tree_leaves(value))
        return self._input(name) if has_tensors else self._constant(name, value)

    def _constant(self, name: str, value: Any) -> Any:
        """The value itself, and an input that takes nothing else."""
        proxy = self._input(name, value)
        self.create_proxy("call_function", require_constant, (proxy, value, name), {})
        return value

    def _input(self, name: str, *default: Any) -> fx.Proxy:
        proxy: fx.Proxy = self.create_proxy("placeholder", name, default, {})
        return proxy


def _bound(signature: inspect.Signature, root: Any, example_inputs: ExampleInputs) -> inspect.BoundArguments:
    args, kwargs = positional_and_keyword(example_inputs)
    try:
        return signature.bind(root, *args, **kwargs)
    except TypeError as error:
        got = ", ".join(kwargs) if kwargs else f"{len(args)} inputs"
        raise GraphError(
            f"the model takes {_without_self(signature)}, but the data gives {got} ({error}): let the data give a "
            "dictionary {argument: tensor}"
        ) from error


def _without_self(signature: inspect.Signature) -> str:
    return str(signature.replace(parameters=list(signature.parameters.values())[1:], return_annotation=EMPTY))
