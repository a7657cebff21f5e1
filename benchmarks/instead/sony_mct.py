"""Sony's Model Compression Toolkit: scores each choice alone by the distance of activations, and solves for a budget.

Every budget is a run of its own. Its defaults choose among weights alone; a description of the target says what there
is to choose, and this one has all widths for weights and inputs.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from instead.answer import Answer, Stopwatch
from instead.problem import PAIRS, WIDTHS, Choice, Problem, accuracy
from instead.rival import answer_from_command_line, stand_in
from torch import Tensor, nn

stand_in("edgemdt_cl")
stand_in("edgemdt_cl.pytorch", "CustomLayer", "MulticlassNMS", "MulticlassNMSWithIndices", "MulticlassNMSOBB")

from mct_quantizers import QuantizationMethod  # noqa: E402
from model_compression_toolkit.core import (  # noqa: E402
    CoreConfig,
    MixedPrecisionQuantizationConfig,
    ResourceUtilization,
)
from model_compression_toolkit.ptq import pytorch_post_training_quantization  # noqa: E402
from model_compression_toolkit.target_platform_capabilities.schema import mct_current_schema as schema  # noqa: E402

BUDGETS = (0.2, 0.3, 0.4, 0.55)
"""BitOPs, as shares of those with eight bits throughout."""

REFUSAL = "cannot be quantized to meet the specified resource utilization"
"""In the message of a budget for which it finds no network."""

BATCH = 64


def weight_format(bits: int, enabled: bool) -> Any:
    """Symmetric, a scale for each output channel."""
    return schema.AttributeQuantizationConfig(
        weights_quantization_method=QuantizationMethod.SYMMETRIC,
        weights_n_bits=bits,
        weights_per_channel_threshold=True,
        enable_weights_quantization=enabled,
        lut_values_bitwidth=None,
    )


def op_format(activation_bits: int, weight_bits: int | None = None) -> Any:
    """Results with a scale and an offset, weights as above, biases in float."""
    off = weight_format(WIDTHS[-1], enabled=False)
    weights = {} if weight_bits is None else {"kernel_attr": weight_format(weight_bits, enabled=True), "bias_attr": off}
    return schema.OpQuantizationConfig(
        default_weight_attr_config=off,
        attr_weights_configs_mapping=weights,
        activation_quantization_method=QuantizationMethod.UNIFORM,
        activation_n_bits=activation_bits,
        supported_input_activation_n_bits=WIDTHS,
        enable_activation_quantization=True,
        quantization_preserving=False,
        fixed_scale=None,
        fixed_zero_point=None,
        simd_size=1,
        signedness=schema.Signedness.AUTO,
    )


def target() -> Any:
    """All pairs of widths for layers, all widths for ReLUs, which are fused with the layer before."""
    most = WIDTHS[-1]
    layer = [op_format(a, w) for a, w in reversed(PAIRS)]
    relu = [op_format(width) for width in reversed(WIDTHS)]
    choices = schema.QuantizationConfigOptions
    names = schema.OperatorSetNames
    for_layers = choices(quantization_configurations=tuple(layer), base_config=op_format(most, most))
    for_relus = choices(quantization_configurations=tuple(relu), base_config=op_format(most))
    usual = choices(quantization_configurations=(op_format(most),))
    none = usual.clone_and_edit(enable_activation_quantization=False)
    layers = [schema.OperatorsSet(name=name, qc_options=for_layers) for name in (names.CONV, names.FULLY_CONNECTED)]
    relus = schema.OperatorsSet(name=names.RELU, qc_options=for_relus)
    between = [schema.OperatorsSet(name=name, qc_options=none) for name in (names.MAXPOOL, names.FLATTEN)]
    return schema.TargetPlatformCapabilities(
        default_qco=usual,
        operator_set=(*layers, relus, *between),
        fusing_patterns=tuple(schema.Fusing(operator_groups=(own, relus)) for own in layers),
        add_metadata=False,
        name="widths",
    )


def quantised(problem: Problem, share: float) -> nn.Module:
    """The network that it makes for a share of the BitOPs of eight bits."""
    x = problem.calibration.x

    def batches() -> Iterator[list[Tensor]]:
        yield from ([x[at : at + BATCH]] for at in range(0, len(x), BATCH))

    model: nn.Module
    model, _ = pytorch_post_training_quantization(
        problem.model(),
        batches,
        ResourceUtilization(bops=share * WIDTHS[-1] ** 2 * sum(problem.macs)),
        CoreConfig(mixed_precision_config=MixedPrecisionQuantizationConfig()),
        target_platform_capabilities=target(),
    )
    return model


def choice_of(model: nn.Module) -> Choice:
    """The widths of a quantised network. An input has the widths of the layer that makes it."""
    found: list[tuple[int, int]] = []
    bits = 0
    for module in model.children():
        own: Any = module
        if hasattr(own, "activation_holder_quantizer"):
            bits = int(own.activation_holder_quantizer.num_bits)
        if hasattr(own, "weights_quantizers"):
            found.append((bits, int(own.weights_quantizers["weight"].num_bits)))
    return tuple(found)


def search(problem: Problem, careful: bool) -> Answer | None:
    """The networks of all budgets that it can meet, with its defaults; they are its best setting as well."""
    if not careful:
        return None
    logging.disable(logging.WARNING)
    watch = Stopwatch()
    found: list[tuple[Choice, float]] = []
    models: dict[Choice, nn.Module] = {}
    refused: list[float] = []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for share in BUDGETS:
            try:
                model = quantised(problem, share)
            except Exception as error:  # it has no class of its own for this
                if REFUSAL not in str(error):
                    raise
                refused.append(share)
                continue
            found.append((choice_of(model), accuracy(model, problem.validation)))
            models[found[-1][0]] = model
            watch.lap()
    tested = lambda choice: accuracy(models[choice], problem.test)  # noqa: E731
    answer = Answer.of(problem, "mct", "careful", 0, watch, found, tested, len(found), "model-compression-toolkit")
    return replace(answer, refused=tuple(refused))


if __name__ == "__main__":
    torch.manual_seed(0)
    answer_from_command_line(search)
