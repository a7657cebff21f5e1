"""The conformance suite of weight transforms, with every number format."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from chop.errors import FormatError
from chop.formats import FORMATS, Format, Integer, MeasuredTensor
from chop.testing.formats import FLOAT_TYPES
from chop.testing.op_cases import FORMAT_KEYS
from chop.weight_transforms import Chain, LayerInputs, Storage, WeightTransform, chained, transform_name

SHAPES = ((8, 12), (6, 7), (4, 3, 3, 3), (1, 5), (2, 1))


def built_in_formats() -> list[Format]:
    """A usual choice of every number format that has one."""
    return [FORMATS[name].from_keys(keys) for name, keys in FORMAT_KEYS.items()]


class WeightTransformConformance:
    """Subclass it in a test module and list `transforms`; pytest then checks each of them.

    They are used on weights `(outputs, inputs, …)`: set the fields that the operation decides accordingly. A transform
    that needs inputs gets those of a linear layer.
    """

    transforms: ClassVar[Sequence[WeightTransform]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each transform."""
        if "transform" in metafunc.fixturenames:
            metafunc.parametrize("transform", self.transforms, ids=str)

    def test_its_keys_build_it_again(self, transform: WeightTransform) -> None:
        """A transform is what its keys say, so that a file can hold it."""
        cls = type(transform)
        values = {key: getattr(transform, key) for key in cls.keys()}  # noqa: SIM118 - no mapping
        context = {key: getattr(transform, key) for key in transform.context_fields}
        assert cls.from_keys(values, **context) == transform
        assert hash(transform) == hash(dataclasses.replace(transform))
        assert str(transform)
        with pytest.raises(FormatError, match="unknown key"):
            cls.from_keys({**values, "no_such_key": 1})

    def test_its_keys_begin_with_its_name(self, transform: WeightTransform) -> None:
        """So a key tells the transform without loading any package; no number format has such a key."""
        name = transform_name(type(transform))
        taken = {key for own in FORMATS for key in FORMATS[own].keys()}  # noqa: SIM118 - no mapping
        for key in type(transform).keys():  # noqa: SIM118 - no mapping
            assert key == name or key.startswith(f"{name}_"), key
            assert key not in taken

    def test_types_and_shapes_are_kept(self, transform: WeightTransform) -> None:
        """Every floating type, and weights of every layer."""
        for weights in _weights():
            for dtype in FLOAT_TYPES:
                changed = _measured(transform, weights).apply(weights.to(dtype))
                assert changed.shape == weights.shape
                assert changed.dtype == dtype
                assert changed.isfinite().all()

    def test_the_weights_are_left_as_they_were(self, transform: WeightTransform) -> None:
        """`apply` is pure, and returns the same twice; so does a transform that is equal to it."""
        for weights in _weights():
            before, measured = weights.clone(), _measured(transform, weights)
            first = measured.apply(weights)
            assert torch.equal(weights, before)
            assert torch.equal(dataclasses.replace(measured).apply(weights), first)

    def test_what_is_dropped_is_zero_in_every_format(self, transform: WeightTransform) -> None:
        """The places are the same in each format, and there are as many values left as `storage` says."""
        if not transform.drops:
            return
        for weights in _weights():
            measured = _measured(transform, weights)
            kept = measured.apply(weights) != 0
            assert int(kept.sum()) == measured.storage(Storage.dense(weights.shape)).values
            for then in [None, *built_in_formats()]:
                rounded = _chain(transform, weights, then).quantize(weights)
                assert not rounded[~kept].any(), then

    def test_a_chain_is_the_transform_and_then_the_format(self, transform: WeightTransform) -> None:
        """Each part is measured on what the part before it leaves; all results are values of the format, or zero."""
        for weights in _weights():
            changed = _measured(transform, weights).apply(weights)
            for then in built_in_formats():
                chain = _chain(transform, weights, then)
                assert not chain.is_measured and not chain.needs_inputs
                assert chain.then is not None
                found = chain.quantize(weights)
                if transform.drops:
                    assert torch.equal(found, torch.where(changed == 0, 0.0, chain.then.quantize(changed)))
                elif "idempotent" in chain.then.laws:
                    assert torch.equal(chain.then.quantize(found), found), then
                assert torch.equal(found, _chain(transform, weights, then).quantize(weights))
                assert chain == _chain(transform, weights, then)

    def test_what_is_measured_is_kept_in_files_and_other_processes(self, transform: WeightTransform) -> None:
        """What `calibrated` and `fitted` freeze is in the fields, of types that a saved graph holds."""
        plain = (str, int, float, bool, tuple, MeasuredTensor, type(None))
        for weights in _weights():
            for own in _chain(transform, weights, Integer(4, "auto")).transforms:
                assert pickle.loads(pickle.dumps(own)) == own
                for field in dataclasses.fields(own):
                    assert isinstance(getattr(own, field.name), plain), field.name

    def test_what_needs_inputs_says_so(self, transform: WeightTransform) -> None:
        """Without inputs, a transform that needs them is refused, and none is made up."""
        if transform.is_measured and transform.needs_inputs:
            for weights in _weights():
                with pytest.raises(FormatError, match="calibrate the graph first"):
                    Chain((transform,), Integer(4, 2)).quantize(weights)

    def test_storage_is_no_more_than_dense(self, transform: WeightTransform) -> None:
        """Values and index are whole numbers; an empty tensor has no values."""
        for shape in (*SHAPES, (0, 4)):
            stored = transform.storage(Storage.dense(shape))
            assert 0 <= stored.values <= Storage.dense(shape).values
            assert isinstance(stored.index_bits, int) and stored.index_bits >= 0
            chain = chained([transform], None)
            assert chain is None or isinstance(chain.bits(shape), int)

    def test_gradients_pass(self, transform: WeightTransform) -> None:
        """The gradient is finite; what is dropped has none."""
        for weights in _weights():
            own = weights.clone().requires_grad_()
            chain = _chain(transform, weights, None)
            rounded = chain.quantize(own)
            rounded.sum().backward()  # type: ignore[no-untyped-call]
            assert own.grad is not None and own.grad.isfinite().all()
            if transform.drops:
                assert not own.grad[rounded == 0].any()


def _weights() -> Iterator[Tensor]:
    """Weights without zeros, and without two magnitudes that are equal."""
    generator = torch.Generator().manual_seed(0)
    for shape in SHAPES:
        yield torch.randn(shape, generator=generator)


def _chain(transform: WeightTransform, weights: Tensor, then: Format | None) -> Chain:
    """The transform and a format, measured on weights and on inputs of a layer that has them."""
    columns = weights[0].numel()
    rows = torch.randn(4 * columns, columns, generator=torch.Generator().manual_seed(1))
    return Chain((transform,), then).calibrated(weights, LayerInputs.of_linear(rows))


def _measured(transform: WeightTransform, weights: Tensor) -> WeightTransform:
    return _chain(transform, weights, None).transforms[0]
