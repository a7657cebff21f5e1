"""Collects the nodes and constants of an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from chop.exporters.onnx.stored import integer_tensor


class Pieces:
    """Nodes in the order of execution, and constants, each with a name of its own."""

    def __init__(self, taken: set[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._taken = taken

    def free(self, name: str) -> str:
        """A name that nothing has: `name`, or that with a number."""
        number, found = 1, name
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found

    def op(self, kind: str, inputs: list[str], output: str, is_final: bool = False, **attributes: Any) -> str:
        """Add a node; its output is called `output`, or where that is taken and not `is_final` like that."""
        name = output if is_final else self.free(output)
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{name}/{kind}", **given))
        return name

    def number(self, name: str, value: NDArray[Any] | np.generic | float) -> str:
        """Add a float constant, or an array as it is."""
        array = np.array(value, np.float32 if isinstance(value, float) else None, order="C")
        return self.tensor(numpy_helper.from_array(array, self.free(name)))

    def integer(self, name: str, value: Any, kind: int) -> str:
        """Add a constant of one of the small integer types."""
        return self.tensor(integer_tensor(self.free(name), np.asarray(value), kind))

    def tensor(self, own: onnx.TensorProto) -> str:
        """Add a constant that has a free name."""
        self.constants[own.name] = own
        return str(own.name)
