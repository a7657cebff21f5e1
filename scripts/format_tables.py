"""Write docs/reference/formats.md: the formats, which oracle proves each, how each does on every op. `make tables`."""

from __future__ import annotations

from pathlib import Path

import torch

from chop.formats import FORMATS
from chop.nn import Quantized
from chop.nn.node_config import node_formats
from chop.nn.ops import OPERANDS, OPS, QUANTIZABLE_OPS
from chop.testing.op_cases import FORMAT_KEYS, node_config, op_cases
from chop.tools.files import write_whole

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "formats.md"
ENUMERATED = "enumerated value set"
ORACLES = {
    "integer": "golden vectors (72 cases, bit for bit), apytypes, " + ENUMERATED,
    "integer_floor": "golden vectors, apytypes, " + ENUMERATED,
    "minifloat_ieee": "gfloat, ml_dtypes, " + ENUMERATED,
    "minifloat_denorm": ENUMERATED,
    "log": ENUMERATED,
    "block_fp": ENUMERATED + " of each block",
    "block_minifloat": "gfloat with each block's bias, " + ENUMERATED,
    "block_log": ENUMERATED + " of each block",
    "mxint": "gfloat (OCP MXINT8), " + ENUMERATED,
    "mxfp": "gfloat and ml_dtypes (OCP E4M3, E5M2, E3M2, E2M3, E2M1), " + ENUMERATED,
    "binary": "closed form: " + ENUMERATED,
    "ternary": "closed form: " + ENUMERATED,
    "scale_integer": "ONNX Runtime (QuantizeLinear, DequantizeLinear), " + ENUMERATED,
}
HEAD = """# Number formats

This page is written by `make tables`. `ch formats` prints the same list in the terminal. The docstring of each format
under [machop/chop/formats](../../machop/chop/formats) has its definition, its source, and the laws that it does not
keep, each with a counter-example. The values, errors and uses of each format are drawn in
[concepts/number_formats.md](../concepts/number_formats.md).

Keys follow `data_in_`, `other_`, `weight_`, `key_`, `value_`, `bias_` or `data_out_`. All formats are simulated in
float32 (other types are converted and back) and round half to even unless stated. Every finite input becomes one of
the finite set of values of the format. Gradients are straight-through.

Blocks: `block_size` is right-aligned to the shape of the tensor. A missing leading dimension, -1, or a size above the
dimension means the whole dimension. Incomplete blocks are padded with zeros, which count for storage. The first
dimension of activations, the batch, is never part of a block.

Measured ranges (`frac_width = "auto"`, `scaled`, `scaling_factor`, all of `ternary` and `scale_integer`): ranges of
weights are measured on the weights. Ranges of activations are measured once, on the first training samples
(`setup.calibration_rows`, 512) of the FP32 baseline, and then fixed: the result for a sample never depends on its
batch.
"""
MATRIX_HEAD = """
## Every format on every op

Each cell is the relative error |y - float| / |float| on random numbers, the largest over the spellings of the op
(module, function, method). All operands have a common eight-bit configuration of the format (binary: one bit,
ternary: two).
"""
DISAGREEMENTS = """
## Known differences from the references

- A minifloat or MXFP element without mantissa bits has no even code to choose at a tie: chop takes the larger
  magnitude, gfloat the code with an even exponent.
- A negative number that a minifloat or block format rounds to zero becomes +0 (gfloat keeps -0): the two are equal.
- Exponents of shared scales range from -126 to 127, as in float32; the E8M0 scale of OCP MX starts at -127.
- The golden vectors y038, y041 and y042 were computed without `floor` and `data_out_*`, which apply here to every op
  ([decision 0002](../decisions/0002-floor-and-data-out-hold-for-every-op.md)).
"""


def formats_table() -> list[str]:
    """Name, keys, laws and oracle of each format."""
    rows = ["| format | keys | laws that it keeps | tested against |", "|---|---|---|---|"]
    for name in FORMATS:
        cls = FORMATS[name]
        aliases = "".join(f", `{alias}`" for alias in FORMATS.aliases_of(name))
        keys = ", ".join(f"`{key}`" for key in cls.keys())  # noqa: SIM118 - no mapping
        laws = ", ".join(sorted(cls.from_keys(FORMAT_KEYS[name]).laws))
        rows.append(f"| `{name}`{aliases} | {keys} | {laws} | {ORACLES[name]} |")
    return rows


def operands_table() -> list[str]:
    """The operands of each op."""
    rows = ["| op | operands |", "|---|---|"]
    for op in OPS:
        if op.quantizable:
            operands = [name for name in OPERANDS if name in op.possible_operands and name != "data_out"]
            rows.append(f"| `{op.name}` | {', '.join(f'`{name}_*`' for name in operands)} |")
    return rows


def cell(op: str, name: str) -> str:
    """The relative error of an op's result, the greatest over its spellings, with all operands in a format."""
    torch.manual_seed(0)
    errors = []
    for case in op_cases(op):
        layer = Quantized(case.inner, case.op, node_formats(node_config(name), case.op))
        with torch.no_grad():
            exact = case.inner(*case.args, **case.kwargs)
            errors.append(float((layer(*case.args, **case.kwargs) - exact).norm() / exact.norm()))
    return f"{max(errors):.1%}"


def support_matrix() -> list[str]:
    """Ops by formats: every cell is run."""
    names = list(FORMATS)
    rows = [f"| op | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    return rows + [f"| {op} | {' | '.join(cell(op, name) for name in names)} |" for op in QUANTIZABLE_OPS]


def main() -> None:
    """Write the page."""
    parts = [
        HEAD,
        *formats_table(),
        "\n## Ops\n\nEvery op takes `data_out_*` for its result as well.\n",
        *operands_table(),
        MATRIX_HEAD,
        *support_matrix(),
        DISAGREEMENTS,
    ]
    write_whole(TARGET, "\n".join(parts))


if __name__ == "__main__":
    main()
