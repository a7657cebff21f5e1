"""Masked places stay masked in every format, however they are marked and whatever spells the mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import ChopError
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import WholePredictions
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import MXFP, BlockFP, BlockLog, BlockMinifloat, Format, MXInt, ScaleInteger, Ternary
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph import calibrate_analysis_pass, quantize_transform_pass

INF = float("inf")
LOWEST = torch.finfo(torch.float32).min
FILLS = (-INF, LOWEST, torch.finfo(torch.float16).min, -1e9, -1e4)
FORMATS: tuple[dict[str, Any], ...] = (
    {"name": "integer", "width": 8, "frac_width": 3},
    {"name": "integer", "width": 8, "frac_width": "auto"},
    {"name": "integer", "width": 8, "frac_width": "auto", "range_rule": "quantile"},
    {"name": "integer", "width": 8, "frac_width": "auto", "range_rule": "mse"},
    {"name": "scale_integer", "width": 8},
    {"name": "scale_integer", "width": 8, "symmetric": False},
    {"name": "mxint", "element_bits": 8, "block_size": [1, 8]},
    {"name": "block_fp", "width": 8, "exponent_width": 8, "block_size": [1, 8]},
    {"name": "mxfp", "element_exp_bits": 4, "element_frac_bits": 3, "block_size": [1, 8]},
    {"name": "minifloat_ieee", "width": 8, "exponent_width": 4},
    {"name": "log", "width": 8},
)
CAUSAL = torch.ones(6, 6).tril().bool()


def config_of(keys: dict[str, Any], *operands: str) -> dict[str, Any]:
    own = {key: value for key, value in keys.items() if key != "name"}
    return {"name": keys["name"], **{f"{operand}_{key}": value for operand in operands for key, value in own.items()}}


class Attention(nn.Module):
    """Causal attention; `mask` makes scores masked, `weigh` makes weights of them."""

    def __init__(self, mask: Callable[[Tensor, Tensor], Tensor], weigh: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.register_buffer("keep", CAUSAL)
        self.mask = mask
        self.weigh = weigh

    def forward(self, x: Tensor) -> Tensor:
        return self.weigh(self.mask(x @ x.transpose(1, 2) * 0.5, self.keep)) @ x


def masked_fill(fill: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda scores, keep: scores.masked_fill(~keep, fill)


SPELLINGS: dict[str, Callable[[float], Callable[[Tensor, Tensor], Tensor]]] = {
    "masked_fill": masked_fill,
    "where": lambda fill: lambda scores, keep: torch.where(keep, scores, fill),
    "added": lambda fill: (
        lambda scores, keep: scores + torch.zeros(6, 6).masked_fill(~CAUSAL, fill) * keep.sum().clamp(1, 1)
    ),
    "added and scaled": lambda fill: lambda scores, keep: torch.where(keep, 0.0, fill).unsqueeze(0) + scores,
}


def softmax(scores: Tensor) -> Tensor:
    return F.softmax(scores, -1)


def quantised(model: nn.Module, x: Tensor, config: dict[str, Any], *ops: str) -> MaseGraph:
    graph, _ = calibrate_analysis_pass(MaseGraph(model), {"input_generator": [{"x": x}], "num_samples": len(x)})
    graph, _ = quantize_transform_pass(graph, {"by": "type", **{op: {"config": config} for op in ops}})
    return graph


@pytest.mark.parametrize("keys", FORMATS, ids=lambda keys: "-".join(map(str, keys.values())))
@pytest.mark.parametrize("fill", FILLS)
def test_masked_scores_have_no_weight_and_do_not_change_the_others(keys: dict[str, Any], fill: float) -> None:
    torch.manual_seed(0)
    model, x = Attention(masked_fill(fill), softmax).eval(), torch.randn(16, 6, 8)
    graph = quantised(model, x, config_of(keys, "data_in"), "softmax")
    later = x.clone()
    later[:, 3:] *= -2
    assert torch.equal(graph.model(x)[:, :3], graph.model(later)[:, :3])
    # Rounding scores by hand, the mask put on afterwards: with a range that the scores alone have.
    chosen = graph.plan["softmax"]["data_in"]
    scores = x @ x.transpose(1, 2) * 0.5
    wanted = torch.softmax(chosen.quantize(scores.masked_fill(~CAUSAL, 0.0)).masked_fill(~CAUSAL, -INF), -1) @ x
    torch.testing.assert_close(graph.model(x), wanted, rtol=1e-5, atol=1e-6)
    assert (graph.model(x) - model(x)).norm() < 0.3 * model(x).norm()


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("keys", [FORMATS[0], FORMATS[4], FORMATS[6]], ids=lambda keys: str(keys["name"]))
def test_masks_that_are_added_stay_masks(keys: dict[str, Any], spelling: str, fill: float) -> None:
    torch.manual_seed(0)
    model, x = Attention(SPELLINGS[spelling](fill), softmax).eval(), torch.randn(16, 6, 8)
    graph = quantised(model, x, config_of(keys, "data_in", "data_out"), "add", "softmax", "mul")
    later = x.clone()
    later[:, 3:] *= -2
    if keys["name"] != "mxint":  # scores share exponents before they are masked
        assert torch.equal(graph.model(x)[:, :3], graph.model(later)[:, :3])
    assert (graph.model(x) - model(x)).norm() < 0.3 * model(x).norm()
    runner = PlanRunner(MaseGraph(model), [(x, torch.zeros(16))])
    assert torch.equal(runner.predictions(graph.plan), graph.model(x))


def test_masks_made_by_arithmetic_stay_masks() -> None:
    class Extended(nn.Module):
        """As encoders have it: (1 - keep) times the least number, added to the scores."""

        def forward(self, x: Tensor, keep: Tensor) -> Tensor:
            bias = (1.0 - keep[:, None, :]) * -1e4
            return torch.softmax(x @ x.transpose(1, 2) + bias, dim=-1) @ x

    torch.manual_seed(0)
    x, keep = torch.randn(16, 6, 8), (torch.arange(6) < 4).float().expand(16, 6)
    config = config_of(FORMATS[0], "data_in", "data_out")
    graph, _ = quantize_transform_pass(
        MaseGraph(Extended()), {"by": "type", **{op: {"config": config} for op in ("add", "sub", "mul", "softmax")}}
    )
    later = x.clone()
    later[:, 4:] *= -3
    assert torch.equal(graph.model(x, keep)[:, :4], graph.model(later, keep)[:, :4])


@pytest.mark.parametrize("fill", FILLS)
def test_gates_that_are_masked_stay_closed(fill: float) -> None:
    class Gated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(x.masked_fill(x < 0, fill)) * x

    x = torch.randn(16, 6)
    graph = quantised(Gated(), x, config_of(FORMATS[0], "data_in"), "sigmoid")
    assert torch.equal(graph.model(x)[x < 0], torch.zeros(int((x < 0).sum())))


@pytest.mark.parametrize("fill", [-INF, LOWEST])
@pytest.mark.parametrize("keys", FORMATS[1:8:2], ids=lambda keys: str(keys["name"]))
def test_padding_of_a_maximum_has_no_part_in_ranges(keys: dict[str, Any], fill: float) -> None:
    class Padded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=fill), 2)

    x = torch.randn(16, 3, 6, 6)
    graph = quantised(Padded(), x, config_of(keys, "data_in"), "max_pool2d")
    assert (graph.model(x) - Padded()(x)).norm() < 0.1 * Padded()(x).norm()


@pytest.mark.parametrize("dim", [1, -2])
def test_rows_of_a_softmax_may_lie_along_any_dimension(dim: int) -> None:
    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            scores = x.mean(2, keepdim=True).masked_fill(torch.arange(6).view(6, 1) > 3, -100.0)
            return (torch.softmax(scores, dim) * x).sum(1)

    x = torch.randn(16, 6, 8)
    graph = quantised(Pooled(), x, config_of(FORMATS[4], "data_in"), "softmax")
    torch.testing.assert_close(graph.model(x), Pooled()(x), rtol=0.02, atol=0.02)


def test_the_evaluator_keeps_masks_as_the_reference_does() -> None:
    torch.manual_seed(0)
    model, x, y = Attention(masked_fill(-1e4), softmax).eval(), torch.randn(16, 6, 8), torch.zeros(16).long()
    graphs = [quantised(model, x, config_of(keys, "data_in"), "softmax") for keys in FORMATS]
    axis = [{"softmax": graph.plan["softmax"]} for graph in graphs]
    evaluator = Evaluator(MaseGraph(model), [axis], [(x, y)])
    codes = torch.arange(len(axis)).unsqueeze(1).numpy()
    measure = WholePredictions(y, lambda predictions, targets: {}, evaluator.program.example, ())
    evaluator.run(codes, [measure])
    for got, graph in zip(measure.predictions, graphs, strict=True):
        torch.testing.assert_close(got, graph.model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("numerator", [0.0, 1.0])
def test_values_that_are_no_masks_are_refused_with_node_and_operand(numerator: float) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(numerator / (x - x))

    with pytest.raises(ChopError, match=r"relu.*data_in.*NaN or infinity"):
        quantised(Broken(), torch.ones(4, 3), config_of(FORMATS[4], "data_in"), "relu")


BLOCKS: tuple[Format, ...] = (
    MXInt(block_size=(4,)),
    MXFP(element_exp_bits=4, element_frac_bits=3, block_size=(4,)),
    BlockFP(width=8, exponent_width=8, block_size=(4,)),
    BlockMinifloat(width=8, exponent_width=4, exponent_bias_width=8, block_size=(4,)),
    BlockLog(width=4, exponent_bias_width=8, block_size=(4,)),
)


@pytest.mark.parametrize("number_format", BLOCKS, ids=str)
@pytest.mark.parametrize("infinite", [-INF, INF])
def test_an_infinity_in_a_block_leaves_the_others_alone(number_format: Format, infinite: float) -> None:
    x = torch.tensor([1.0, 2.0, infinite, -3.0])
    found, wanted = number_format.quantize(x), number_format.quantize(torch.tensor([1.0, 2.0, 0.0, -3.0]))
    assert found[2] == infinite
    assert torch.equal(found[[0, 1, 3]], wanted[[0, 1, 3]])


@pytest.mark.parametrize("number_format", [ScaleInteger(width=8), Ternary(scaling_factor=True)], ids=str)
def test_what_is_measured_is_measured_on_finite_values(number_format: Format) -> None:
    values = torch.tensor([0.5, -0.25, 0.75, 0.125])
    assert number_format.calibrated(torch.cat([values, torch.tensor([-INF])])) == number_format.calibrated(values)


def test_an_ordinary_sum_has_no_masks() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            h = x + self.layer(x)
            return h * torch.sigmoid(h)

    graph = MaseGraph(Residual())
    ops = graph.quantizable_nodes()
    assert ops["add"].result_masks is None
    assert all(arg.masks is None for slots in ops["add"].args.values() for arg in slots)
    x = 1e6 * torch.ones(2, 8)
    graph, _ = quantize_transform_pass(graph, {"by": "type", "add": {"config": config_of(FORMATS[0], "data_out")}})
    assert graph.model(x).max() < 16
    assert QuantPlan() != graph.plan
