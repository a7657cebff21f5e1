"""Writes tests/circuits/hgq2_ebops.json: layers with known numbers, and the EBOPs that HGQ2 itself counts for them.

    pip install "HGQ2==0.2.0" keras torch     # in an environment of its own
    KERAS_BACKEND=torch python scripts/hgq2_ebops.py

HGQ2 is no dependency of chop. Input quantisers saturate (`SAT`), so that they count their sign, as chop's formats do.
Weights and biases have a width for each value, from its own highest to its own lowest bit: that is where HGQ2's
training ends, and what chop counts. Biases are left out where a convolution has another number of places than its
input: there HGQ2 0.2.0 counts one for each place of the input.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

OUTPUT = Path(__file__).resolve().parents[1] / "tests" / "circuits" / "hgq2_ebops.json"
WEIGHT_FRAC = 4
"""Weights and biases are whole numbers times 2^-4."""


def lowest_bits(codes: Any) -> Any:
    """The fraction width that each number needs: its own lowest bit that is set; any for 0."""
    zeros = np.where(codes == 0, WEIGHT_FRAC, 0)
    for step in range(1, 10):
        zeros = np.where((codes != 0) & (codes % (1 << step) == 0), step, zeros)
    return (WEIGHT_FRAC - zeros).astype(np.float32)


def quantiser(place: str, signed: bool = True, integers: int = 2, fraction: int = 3) -> Any:
    """The settings of a quantiser: of an input that saturates, or of weights with widths that follow their values."""
    from hgq.quantizer import QuantizerConfig

    if place == "datalane":
        more = {"k0": int(signed), "i0": integers, "f0": fraction, "overflow_mode": "SAT", "homogeneous_axis": None}
        return QuantizerConfig("kif", place, round_mode="RND_CONV", heterogeneous_axis=(), **more)
    return QuantizerConfig("kif", place, round_mode="RND_CONV", overflow_mode="WRAP", i0=6, f0=WEIGHT_FRAC)


def counted(layer: Any, shapes: list[tuple[int, ...]], codes: dict[str, Any]) -> float:
    """The EBOPs that HGQ2 counts for a layer with these weights, channels last."""
    import keras
    from hgq.utils import trace_minmax

    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))
    for name, own in codes.items():
        tensor, used = (layer._kernel, layer.kq) if name == "weight" else (layer.bias, layer.bq)
        tensor.assign(own * 2.0**-WEIGHT_FRAC)
        used.quantizer._f.assign(lowest_bits(own))
    data = [np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32) for shape in shapes]
    trace_minmax(model, data if len(data) > 1 else data[0], reset=True)
    return float(keras.ops.convert_to_numpy(layer._compute_ebops(*((1, *shape) for shape in shapes))))


def drawn(seed: int, *shape: int) -> Any:
    """Codes of 5 bits, a third of them 0."""
    random = np.random.default_rng(seed)
    return random.integers(-16, 16, shape) * (random.random(shape) > 1 / 3)


def cases() -> list[dict[str, Any]]:
    """All cases; weights channels last, as HGQ2 has them."""
    from hgq.layers import QAdd, QConv1D, QConv2D, QDense, QMaxPooling2D, QSubtract

    def weighted(
        make: Callable[..., Any], kind: str, seed: int, shape: tuple[int, ...], kernel: tuple[int, ...], **more: Any
    ) -> dict[str, Any]:
        signed, has_bias = more.pop("signed", True), more.pop("has_bias", True)
        codes = {"weight": drawn(seed, *kernel)} | ({"bias": drawn(seed + 1, kernel[-1])} if has_bias else {})
        quantisers = {
            "iq_conf": quantiser("datalane", signed),
            "kq_conf": quantiser("weight"),
            "bq_conf": quantiser("bias"),
        }
        layer = make(kernel[-1], use_bias=has_bias, enable_ebops=True, **quantisers, **more)
        listed = {name: own.tolist() for name, own in codes.items()}
        return {
            "kind": kind,
            "shape": shape,
            "signed": signed,
            **more,
            **listed,
            "ebops": counted(layer, [shape], codes),
        }

    def merged(make: Any, kind: str) -> dict[str, Any]:
        layer = make(iq_confs=[quantiser("datalane"), quantiser("datalane", True, 3, 4)], enable_ebops=True)
        return {"kind": kind, "shape": (6,), "ebops": counted(layer, [(6,), (6,)], {})}

    pool = QMaxPooling2D(2, iq_conf=quantiser("datalane"), enable_ebops=True)
    return [
        weighted(QDense, "dense", 1, (7,), (7, 5)),
        weighted(QDense, "dense", 3, (7,), (7, 5), signed=False),
        weighted(QConv2D, "conv2d", 5, (5, 4, 2), (3, 3, 2, 3), kernel_size=3, padding="same"),
        weighted(QConv2D, "conv2d", 7, (5, 4, 2), (3, 3, 2, 3), kernel_size=3, padding="valid", has_bias=False),
        weighted(QConv1D, "conv1d", 9, (9, 2), (3, 2, 4), kernel_size=3, strides=2, padding="valid", has_bias=False),
        merged(QAdd, "add"),
        merged(QSubtract, "subtract"),
        {"kind": "max_pool2d", "shape": (4, 4, 2), "ebops": counted(pool, [(4, 4, 2)], {})},
    ]


def main() -> None:
    """Write the file."""
    versions = {name: version(name) for name in ("HGQ2", "keras", "quantizers")}
    OUTPUT.write_text(
        json.dumps({"versions": versions, "weight_frac": WEIGHT_FRAC, "cases": cases()}) + "\n", encoding="utf-8"
    )
    print(OUTPUT)


if __name__ == "__main__":
    main()
