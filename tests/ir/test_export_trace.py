"""Models of Hugging Face, which torch.fx cannot trace, through torch.export: tiny, random, never downloaded."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

from chop.errors import GraphError
from chop.evaluation.plan_runner import PlanRunner
from chop.ir import MaseGraph, QuantPlan
from chop.ir.graph.node_costs import node_costs
from chop.passes.graph import calibrate_analysis_pass, quantize_transform_pass

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT: dict[str, Any] = {**SMALL, "vocab_size": 50, "max_position_embeddings": 32}
NO_CACHE = {"use_cache": False}


def bert() -> nn.Module:
    return BertForSequenceClassification(BertConfig(**TEXT, intermediate_size=32))


def llama() -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(**TEXT, **NO_CACHE, num_key_value_heads=1, intermediate_size=32))


def opt() -> nn.Module:
    return OPTForCausalLM(OPTConfig(**TEXT, **NO_CACHE, ffn_dim=32, word_embed_proj_dim=16))


def vit() -> nn.Module:
    return ViTForImageClassification(
        ViTConfig(**SMALL, image_size=16, patch_size=4, intermediate_size=32, num_labels=3)
    )


MODELS: list[tuple[Callable[[], nn.Module], str, str]] = [
    (bert, "input_ids", "bert_encoder_layer_0_attention_self_query"),
    (llama, "input_ids", "model_layers_0_self_attn_q_proj"),
    (opt, "input_ids", "model_decoder_layers_0_self_attn_q_proj"),
    (vit, "pixel_values", "vit_layers_0_attention_q_proj"),
]
EIGHT = {"name": "integer"} | {
    f"{operand}_{key}": value
    for operand in ("data_in", "weight", "bias")
    for key, value in (("width", 12), ("frac_width", "auto"))
}

WEIGHTS = {"name": "integer", "weight_width": 8, "weight_frac_width": "auto"}


def inputs(name: str, rows: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randint(50, (rows, 7)) if name == "input_ids" else torch.randn(rows, 3, 16, 16)}


def built(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


@pytest.mark.parametrize(("build", "name", "query"), MODELS)
def test_a_model_of_transformers_is_quantised_by_type_and_by_name(
    build: Callable[[], nn.Module], name: str, query: str
) -> None:
    model = built(build)
    graph = MaseGraph(model, example_inputs=inputs(name, 2))
    x = inputs(name, 5)
    with torch.no_grad():
        exact = model(**x).logits
        assert torch.equal(graph.model(**x).logits, exact)
        graph, _ = calibrate_analysis_pass(graph, {"input_generator": [x], "num_samples": 5})
        outputs = {}
        kinds = {op.name for op in graph.quantizable_nodes().values()}
        for config in (
            {"by": "type", **{kind: {"config": EIGHT} for kind in kinds & {"linear", "add", "layer_norm", "matmul"}}},
            {"by": "name", query: {"config": EIGHT}},
        ):
            graph, _ = quantize_transform_pass(graph, config)
            outputs[config["by"]] = graph.model(**x).logits
            assert 0 < (outputs[config["by"]] - exact).norm() < 0.1 * exact.norm()
            assert torch.equal(copy.deepcopy(graph).model(**x).logits, outputs[config["by"]])
        assert list(graph.plan) == [query]
        graph, _ = quantize_transform_pass(graph, {"by": "type", "default": {"config": {"name": "NA"}}})
        assert torch.equal(graph.model(**x).logits, exact)
        one = inputs(name, 1)
        torch.testing.assert_close(graph.model(**one).logits, model(**one).logits)


@pytest.mark.parametrize(("build", "name", "query"), MODELS)
def test_the_evaluator_takes_such_graphs(build: Callable[[], nn.Module], name: str, query: str) -> None:
    graph = MaseGraph(built(build), example_inputs=inputs(name, 2))
    x = inputs(name, 4)
    graph, _ = calibrate_analysis_pass(graph, {"input_generator": [x], "num_samples": 4})
    runner = PlanRunner(graph, [(x, torch.zeros(4))])
    quantised, info = quantize_transform_pass(copy.deepcopy(graph), {"by": "type", "linear": {"config": EIGHT}})
    with torch.no_grad():
        assert torch.equal(runner.predictions(info["plan"]), quantised.model(**x).logits)
        assert torch.equal(runner.predictions(QuantPlan()), graph.model(**x).logits)
    costs = node_costs(graph, x)
    assert costs[query].macs == 16 * 16 * {"input_ids": 7, "pixel_values": 17}[name]


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_such_a_graph_for_another_process_is_the_same() -> None:
    x = inputs("input_ids", 3)
    graph = MaseGraph(built(bert), example_inputs=x)
    twin = pickle.loads(pickle.dumps(graph))
    assert list(twin.quantizable_nodes()) == list(graph.quantizable_nodes())
    for one in (graph, twin):
        quantised, _ = quantize_transform_pass(one, {"by": "type", "linear": {"config": WEIGHTS}})
        with torch.no_grad():
            assert torch.equal(quantised.model(**x).logits, graph.model(**x).logits)


def test_decoders_with_their_default_cache_are_traced_without_it() -> None:
    sizes = GPT2Config(vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2, num_labels=3, pad_token_id=0)
    model = built(lambda: GPT2ForSequenceClassification(sizes))
    assert model.config.use_cache
    x = {"input_ids": torch.randint(3, 20, (4, 6), generator=torch.Generator().manual_seed(0))}
    graph = MaseGraph(model, example_inputs=x)
    assert model.config.use_cache, "the user's own model is not touched"
    rows = {"input_ids": x["input_ids"][:3].flip(0)}
    with torch.no_grad():
        torch.testing.assert_close(graph.model(**rows).logits, model(**rows).logits)
    assert "past_key_values" not in graph.model(**rows)


def test_the_layers_of_gpt2_have_formats() -> None:
    sizes = {"vocab_size": 20, "n_positions": 8, "n_embd": 16, "n_layer": 1, "n_head": 2, "pad_token_id": 0}
    model = GPT2ForSequenceClassification(GPT2Config(**sizes)).eval()
    x = {"input_ids": torch.randint(3, 20, (2, 6))}
    graph, _ = calibrate_analysis_pass(MaseGraph(model, example_inputs=x), {"input_generator": [x]})
    four = {"name": "scale_integer", "weight_width": 4, "weight_granularity": "channel", "bias_width": 8}
    graph, _ = quantize_transform_pass(graph, {"by": "type", "addmm": {"config": four}})
    assert len([*graph.plan]) == 4
    costs = node_costs(graph, x)
    assert all(cost.op.name != "addmm" or not cost.uncounted for cost in costs.values())
    query = graph.plan["transformer_h_0_attn_c_attn_addmm"]["weight"]
    assert query.scale == pytest.approx((model.transformer.h[0].attn.c_attn.weight.abs().amax(0) / 7).tolist())


def test_warnings_of_torch_about_its_own_inside_are_not_shown() -> None:
    x = {"input_ids": torch.randint(3, 50, (2, 6))}
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        graph = copy.deepcopy(MaseGraph(bert(), example_inputs=x))
        graph.model(**x)


def test_a_saved_graph_comes_back(tmp_path: Path) -> None:
    x = inputs("input_ids", 3)
    graph = MaseGraph(built(bert), example_inputs=x)
    graph, _ = calibrate_analysis_pass(graph, {"input_generator": [x], "num_samples": 3})
    graph, _ = quantize_transform_pass(graph, {"by": "type", "linear": {"config": EIGHT}})
    path = graph.export(tmp_path / "graph.safetensors")
    loaded = MaseGraph.from_checkpoint(path, bert(), x)
    with torch.no_grad():
        assert torch.equal(loaded.model(**x).logits, graph.model(**x).logits)


def test_gradients_reach_the_weights_of_a_quantised_graph() -> None:
    graph = MaseGraph(built(bert), example_inputs=inputs("input_ids", 2))
    graph, _ = quantize_transform_pass(graph, {"by": "type", "linear": {"config": WEIGHTS}})
    graph.model.train()
    graph.model(**inputs("input_ids", 3)).logits.sum().backward()
    assert graph.model.classifier.weight.grad.abs().sum() > 0


def test_without_example_inputs_the_error_asks_for_them() -> None:
    with pytest.raises(GraphError, match="example_inputs"):
        MaseGraph(built(bert))


def test_a_model_that_neither_takes_is_told_with_both_reasons() -> None:
    class Hopeless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > len(str(x.tolist())) else -x

    with pytest.raises(GraphError, match=r"neither by torch\.fx .* nor by torch\.export"):
        MaseGraph(Hopeless(), example_inputs=torch.ones(2, 3))


def test_an_exported_model_is_saved_by_torch_and_gives_the_same(tmp_path: Path) -> None:
    x = {"input_ids": torch.randint(50, (3, 7))}
    torch.manual_seed(0)
    graph, _ = quantize_transform_pass(
        MaseGraph(bert().eval(), example_inputs=x),
        {"by": "type", "linear": {"config": {"name": "integer", "weight_width": 8, "data_in_width": 8}}},
    )
    torch.save(graph.model, tmp_path / "net.pt")
    loaded = torch.load(tmp_path / "net.pt", weights_only=False)
    assert torch.equal(loaded(**x)["logits"], graph.model(**x)["logits"])
    assert [node.name for node in loaded.graph.nodes] == [node.name for node in graph.nodes]
