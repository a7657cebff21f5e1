"""Equal checksums mean equal behaviour: of tensors, and of functions with all that they use."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from chop.tools.value_digest import code_digest, value_digest


def defined(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "mine", "torch": torch, "logging": logging}
    exec(source, found)
    return found


METRIC = """
SCALE = 2
LOG = logging.getLogger("mine")
KNOWN = {}

def helper(x):
    return SCALE * x

class Weighted:
    weight = 1.0
    def __call__(self, p, y):
        return self.weight * helper(p - y).abs().mean()

def metric(p, y):
    LOG.debug("called")
    KNOWN["last"] = KNOWN.get("last", 0) + 1
    return max(helper(row) for row in p - y)
"""


@pytest.mark.parametrize("name", ["metric", "Weighted"])
def test_a_function_is_what_it_uses(name: str) -> None:
    def digest(old: str = "", new: str = "") -> str:
        return value_digest(defined(METRIC.replace(old, new))[name])

    assert digest() == digest() == digest("def helper", "# a remark\n\ndef helper")
    assert digest("SCALE = 2", "SCALE = 3") != digest()
    assert digest("SCALE * x", "SCALE + x") != digest()
    assert digest("weight = 1.0", "weight = 2.0") == digest() or name == "Weighted"


def test_what_a_function_keeps_while_it_is_used_does_not_change_it() -> None:
    one, other = defined(METRIC), defined(METRIC)
    before = code_digest(one["metric"])
    one["metric"](torch.ones(2), torch.zeros(2))
    assert one["KNOWN"]
    assert code_digest(one["metric"]) == before == code_digest(other["metric"])


class Loss(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.own = nn.CrossEntropyLoss(torch.full((5,), weight))


@pytest.mark.parametrize(
    "of", [Loss, lambda x: functools.partial(min, x), lambda x: [{"a": torch.tensor(x)}], lambda x: lambda y: x * y]
)
def test_objects_are_how_they_are_set(of: Callable[[float], Any]) -> None:
    assert value_digest(of(1.0)) == value_digest(of(1.0))
    assert value_digest(of(1.0)) != value_digest(of(2.0))


def test_tensors_are_their_values_shape_and_type() -> None:
    x = torch.arange(6.0)
    others = [x.view(2, 3), x.double(), x + 1, x.bool(), x[:5], x.bfloat16(), x[:0]]
    assert len({value_digest(one) for one in [x, *others]}) == 1 + len(others)
    assert value_digest(torch.arange(12.0)[::2] / 2) == value_digest(x)


def test_what_is_installed_counts_by_its_name() -> None:
    assert value_digest(nn.functional.mse_loss) == value_digest(nn.functional.mse_loss)
    assert value_digest(nn.functional.mse_loss) != value_digest(nn.functional.l1_loss)


@pytest.mark.parametrize(
    "source",
    [
        "metric = staticmethod(lambda p: VALUE * p)",
        "metric = property(lambda p: VALUE * p)",
        "import functools\n@functools.lru_cache\ndef metric(p): return VALUE * p",
        "import types\nmetric = types.SimpleNamespace(weight=VALUE)",
        "class A:\n    __slots__ = ('x',)\nmetric = A()\nmetric.x = VALUE",
        "import collections\nmetric = collections.deque([VALUE])",
        "import fractions\nmetric = fractions.Fraction(VALUE, 7)",
        "import numpy\nmetric = numpy.float32(VALUE)",
        "import operator\nmetric = operator.itemgetter(VALUE)",
        "metric = torch.distributions.Normal(0.0, VALUE).log_prob",
        "metric = {(VALUE, 1), (5, 6)}",
        "metric = range(VALUE)",
        "metric = getattr(torch, {1: 'float32', 2: 'float64'}[VALUE])",
        "import functools\n@functools.singledispatch\ndef metric(p): return p\n"
        "@metric.register\ndef _(p: int): return VALUE * p",
        "import functools\nclass A:\n    @functools.singledispatchmethod\n    def f(self, p): return p\n"
        "    @f.register\n    def _(self, p: int): return VALUE * p\nmetric = A()",
        "def metric(p): return metric.weight * p\nmetric.weight = VALUE",
        "def metric(p): return globals()['VALUE'] * p",
        "def metric(p): return [vars()['p'] * globals().get('VALUE') for _ in range(3)]",
        "import threading\nLOCK = threading.Lock()\ndef metric(p):\n    with LOCK: return VALUE * p",
    ],
)
def test_whatever_holds_a_value_counts(source: str) -> None:
    one, other, again = (value_digest(defined(f"VALUE = {value}\n{source}")["metric"]) for value in (1, 2, 1))
    assert one == again
    assert one != other


def test_docstrings_and_cells_that_are_empty_do_not_count() -> None:
    one, other = (value_digest(defined(f"def metric(p):\n    '{text}'\n    return p")["metric"]) for text in ("a", "b"))
    assert one == other

    def outer() -> Callable[[], Any]:
        def inner() -> Any:
            return later

        if not outer:
            later = 1
        return inner

    assert value_digest(outer()) == value_digest(outer())


def test_which_object_comes_again_counts() -> None:
    a, b = [1], [2]
    assert value_digest([a, b, a]) != value_digest([a, b, b])


class Chain:
    """Points to another, or to itself."""

    def __init__(self, other: Any = None) -> None:
        self.other = other
        self.others = {self}


class Evasive:
    """Has any attribute that it is asked for."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise RuntimeError(name)
        return Evasive(0)


def test_what_is_deep_or_points_to_itself_ends() -> None:
    chain = Chain()
    chain.other = chain
    for _ in range(500):
        chain = Chain(chain)
    assert value_digest(chain) == value_digest(chain)
    assert value_digest(Evasive(1)) != value_digest(Evasive(2))


class OwnTensor(torch.Tensor):
    """A tensor of the user's own kind."""


@pytest.mark.parametrize(
    "of",
    [
        lambda x: torch.full((3,), x).as_subclass(OwnTensor),
        lambda x: torch.diag(torch.full((3,), x)).to_sparse(),
        lambda x: torch.full((3,), complex(x, 1.0)).conj(),
        lambda x: np.array([x, "a", None], dtype=object),
        lambda x: np.full(3, x),
    ],
)
def test_tensors_and_arrays_of_any_kind_are_their_values(of: Callable[[float], Any]) -> None:
    assert value_digest(of(1.0)) == value_digest(of(1.0))
    assert value_digest(of(1.0)) != value_digest(of(2.0))


def test_a_tensor_without_values_is_its_shape() -> None:
    assert value_digest(torch.empty(2, device="meta")) != value_digest(torch.empty(3, device="meta"))


def test_other_processes_find_the_same() -> None:
    source = (
        "import torch; from torch import nn\n"
        "from chop.actions.search.run.input_fingerprint import _state_digest as digest\n"
        "model = nn.Sequential(nn.Linear(2, 2)); model[0].names = {'a', 'b', 'c', ('d', 1)}\n"
        "for name in 'xyzuvw': model[0].register_buffer(name, torch.ones(2), persistent=False)\n"
        "print(digest(model))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", source], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "12"
    }
    assert len(found) == 1
    assert found != {b"None\n"}
