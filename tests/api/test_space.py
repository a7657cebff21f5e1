"""`Space`: what it says is what the table of a TOML file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import chop
from chop.api.study import Study
from chop.errors import ConfigError
from chop.formats import FORMATS, Integer


def lists(space: chop.Space, layer: str = "linear") -> dict[str, list[object]]:
    found: dict[str, list[object]] = space.seed[layer]["config"]
    return found


def test_widths_are_for_inputs_weights_and_biases_and_the_point_is_measured() -> None:
    space = chop.Space("integer", range(4, 6))
    assert {key: lists(space)[f"{key}_width"] for key in ("data_in", "weight", "bias")} == {
        "data_in": [4, 5], "weight": [4, 5], "bias": [4, 5],
    }  # fmt: skip
    assert lists(space)["weight_frac_width"] == ["auto"]
    assert space.setup["tie_operands"] == ["weight", "bias"]
    assert {"linear", "conv2d", "matmul"} <= set(space.seed)
    assert "relu" not in space.seed


def test_choices_of_one_operand_go_before_those_of_all() -> None:
    space = chop.Space(["integer"], [4, 8], bias_width=[16], frac_width=2)
    assert lists(space)["bias_width"] == [16]
    assert lists(space)["data_in_frac_width"] == [2]
    assert space.setup["tie_operands"] == []


def test_formats_without_a_width_take_their_own_parameters() -> None:
    space = chop.Space(["mxfp", None], element_exp_bits=[2], element_frac_bits=[1], block_size=[[1, 16]])
    assert lists(space)["name"] == ["mxfp", "NA"]
    assert lists(space)["weight_block_size"] == [[1, 16]]
    assert lists(chop.Space("mxint", np.array([4, 8]), block_size=[[16]]))["weight_element_bits"] == [4, 8]


def test_layers_have_choices_of_their_own() -> None:
    space = chop.Space("integer", [8], by="name", layers={"fc1": {}, "fc2": {"widths": [2]}})
    assert (lists(space, "fc1")["weight_width"], lists(space, "fc2")["weight_width"]) == ([8], [2])
    with pytest.raises(ConfigError, match=r"layers\['fc1'\]\['formats'\]: name the number formats"):
        chop.Space(by="name", layers={"fc1": {"widths": [8]}})


def test_an_override_may_have_another_format(mlp: nn.Module, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    blocks = {"formats": ["mxint"], "block_size": [[1, 4]]}
    space = chop.Space("integer", [4, 8], overrides={"_0": blocks})
    study = chop.search(mlp, arrays, space, objectives=["accuracy"], strategy="brute_force")
    configs = [network.config["_0"]["config"] for network in study]
    assert {own["name"] for own in configs} == {"mxint"}
    assert {own["weight_element_bits"] for own in configs} == {4, 8}
    assert {network.config["_2"]["config"]["name"] for network in study} == {"integer"}
    other = {"formats": "mxfp", "element_exp_bits": 2, "element_frac_bits": 1, "block_size": [[1, 4]]}
    space = chop.Space("integer", [4, 8], overrides={"_0": other})
    assert len(chop.search(mlp, arrays, space, objectives=["accuracy"], strategy="brute_force")) == 4


def test_a_format_object_keeps_its_widths() -> None:
    eight = {"formats": [Integer(8, 4)]}
    layers = chop.Space("integer", [2, 4], layers={"linear": eight, "conv2d": {}})
    assert (lists(layers)["weight_width"], lists(layers)["weight_frac_width"]) == ([8], [4])
    assert lists(layers, "conv2d")["weight_width"] == [2, 4]
    override = chop.Space("integer", [2, 4], overrides={"stem": eight}).override["stem"]["config"]
    assert (override["weight_width"], override["weight_frac_width"]) == ([8], [4])
    with pytest.raises(ConfigError, match="widths: 'integer 8b/4f' has its own: give the name of the format"):
        chop.Space([Integer(8, 4)], [2])


def test_format_objects_that_differ_in_a_shared_key_are_refused() -> None:
    minifloat = FORMATS["minifloat_ieee"]
    space = chop.Space([Integer(8, 4), minifloat(width=8, exponent_width=4, exponent_bias=7)])
    assert lists(space)["weight_width"] == [8]
    with pytest.raises(ConfigError, match="formats: 'integer 4b/2f' and 'minifloat_ieee 8e4' differ in width"):
        chop.Space([Integer(4, 2), minifloat(width=8, exponent_width=4, exponent_bias=7)])


def test_one_pattern_may_stand_alone_and_groups_are_lists() -> None:
    assert chop.Space("integer", [4], exclude="head").setup["exclude"] == ["head"]
    with pytest.raises(ConfigError, match="ties: expected groups, each a list of patterns"):
        chop.Space("integer", [4], ties=["a", "b"])
    with pytest.raises(ConfigError, match="exclude: expected patterns of nodes"):
        chop.Space("integer", [4], exclude=[3])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="space: calibration_samples: expected greater than or equal to 1, got -1"):
        chop.Space("integer", [4], calibration_samples=-1)
    with pytest.raises(ConfigError, match="by: expected one of type, name, regex_name, got 'nam'"):
        chop.Space("integer", [4], by="nam", layers=["a"])  # type: ignore[arg-type]


def test_sparsity_is_a_choice_like_others() -> None:
    space = chop.Space("integer", [8], weight_sparsity=[0.0, 0.5], weight_sparsity_pattern=["2:4"])
    assert lists(space)["weight_sparsity"] == [0.0, 0.5]


def test_a_space_comes_back_from_its_table_and_from_toml(study: Study, tmp_path: Path) -> None:
    space = chop.Space("integer", [4, 8], layers=["linear"], exclude=["head"], overrides={"_0": {"widths": [8]}})
    assert chop.Space.from_table(space.table()) == space
    (tmp_path / "study.toml").write_text(study.to_toml(), encoding="utf-8")
    again = chop.Space.from_toml(tmp_path / "study.toml")
    assert list(again.seed) == ["linear"]
    assert lists(again) == lists(chop.Space("integer", [4, 8]))
    (tmp_path / "none.toml").write_text("seed = 1", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has no table \[search.search_space\]"):
        chop.Space.from_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="space: unknown key 'sed'; did you mean 'seed'"):
        chop.Space.from_table({"sed": {}})


def test_a_space_is_shown_in_one_line() -> None:
    space = chop.Space("mxint", [4], layers=["linear"], exclude=["head"], overrides={"stem": {"widths": [8]}})
    for said in (
        "by type; linear: name ['mxint']",
        "weight_element_bits [4]",
        "override stem: ",
        "weight_element_bits [8]",
        "exclude ['head']",
    ):
        assert said in repr(space), (said, repr(space))


def test_the_method_of_rounding_is_a_choice(mlp: nn.Module, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    methods = ["nearest", "gptq"]
    study = chop.search(
        mlp, arrays, formats="integer", widths=[3], weight_rounding=methods, objectives=["loss"], strategy="brute_force"
    )
    configs = [network.config["_0"]["config"] for network in study]
    assert {own.get("weight_rounding") for own in configs} == {None, "gptq"}
    with pytest.raises(ConfigError, match="weight_rounding: belongs in the space"):
        chop.search(mlp, arrays, chop.Space("integer", [3]), weight_rounding="gptq", objectives=["loss"])
    with pytest.raises(ConfigError, match=r"\nweight_rounding: .*must be one of nearest, gptq.*did you mean 'gptq'"):
        chop.search(mlp, arrays, formats="integer", widths=[3], weight_rounding="gptqq", objectives=["loss"])


class Attention(nn.Module):
    """Products with weights, and of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        key = self.key(x)
        found: Tensor = self.head((torch.softmax(key @ key.transpose(1, 2), -1) @ key).mean(1))
        return found


def test_weight_transforms_are_left_out_where_products_have_no_weights() -> None:
    x = torch.randn(64, 3, 4, generator=torch.Generator().manual_seed(0))
    data = x, (x[:, 0, 0] > 0).long()
    for more in ({"weight_rounding": ["nearest", "gptq"]}, {"weight_sparsity": [0.0, 0.5]}):
        space = chop.Space("integer", [3], **more)
        study = chop.search(Attention(), data, space, objectives=["loss"], strategy="brute_force")
        configs = [network.config for network in study]
        (key,) = more
        assert {own["key"]["config"].get(key) for own in configs} == {None, more[key][1]}
        assert not any(key in own[node]["config"] for own in configs for node in own if node.startswith("matmul"))
        named = chop.Space("integer", [3], layers=["matmul"], **more)
        with pytest.raises(ConfigError, match="matmul has no weights of its own to transform"):
            chop.search(Attention(), data, named, objectives=["loss"], strategy="brute_force")


def test_options_of_a_method_of_rounding_that_no_choice_has_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    base: dict[str, Any] = {"widths": [4], "weight_rounding_damping": [0.01, 0.1]}

    def searched(**more: Any) -> int:
        data, space = (x, (x[:, 0] > 0).long()), chop.Space("integer", **base, **more)
        return len(chop.search(model, data, space, objectives=["loss"], strategy="brute_force").trials)

    told = 'weight_rounding_damping.*: has no effect without rounding = "gptq"'
    with pytest.raises(ConfigError, match=told):
        searched(weight_rounding=["nearest"])
    with pytest.raises(ConfigError, match=told):
        searched(by="name", layers={"_0": {"weight_rounding": ["nearest"]}})
    assert searched(weight_rounding=["nearest", "gptq"]) == 9
    assert searched(weight_rounding=["gptq"], overrides={"_0": {"weight_rounding": ["nearest"]}}) == 2
    own = {"_0": {"weight_rounding": ["nearest"]}, "_2": {"weight_rounding": ["gptq"]}}
    assert searched(by="name", layers=own) == 2  # what was written for all layers is for those that read it


def test_a_seed_of_pruning_that_no_pattern_draws_by_is_refused() -> None:
    own: dict[str, Any] = {"widths": [4], "layers": ["linear"], "weight_sparsity": [0.5]}
    with pytest.raises(ConfigError, match=r"^space: weight_sparsity_seed: has no effect without sparsity_pattern"):
        of_relu(**own, weight_sparsity_seed=[0, 1])
    study = of_relu(**own, weight_sparsity_seed=[0, 1], weight_sparsity_pattern=["unstructured", "random"])
    assert len(study.trials) == 9
    seeds = {
        (node["config"]["weight_sparsity_pattern"], node["config"].get("weight_sparsity_seed"))
        for network in study
        for node in (network.config["_0"], network.config["_2"])
    }
    assert seeds == {("unstructured", None), ("random", 0), ("random", 1)}


def test_an_entry_that_is_read_as_another_kind_of_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^space: layers\['_0'\]: by=\"type\" reads types.*overrides=\{'_0': …\}"):
        of_relu(widths=[4], layers={"linear": {}, "_0": {"widths": [2]}})
    for by in ("name", "regex_name"):
        with pytest.raises(ConfigError, match=rf"^space: layers\['linear'\]: by=\"{by}\" reads names of nodes"):
            of_relu(widths=[4], layers=["linear", "_0"], by=by)
    assert not of_relu(widths=[4], layers=["linear", "conv2d"]).warnings  # a space may be for several models


def test_an_entry_for_a_node_that_the_model_lacks_is_told() -> None:
    (told,) = of_relu(widths=[4], by="name", layers=["_0", "_2", "far_away"]).warnings
    assert told == "'far_away' matches no node of this model with by = \"name\": it is left out"


def of_relu(**more: Any) -> Any:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    space = chop.Space("integer", **more)
    return chop.search(model, (x, (x[:, 0] > 0).long()), space, objectives=["loss"], strategy="brute_force")


@pytest.mark.parametrize("key", ["weight_rounding", "weight_sparsity", "weight_width"])
def test_keys_of_weights_for_layers_without_weights_are_refused(key: str) -> None:
    more = {key: {"weight_rounding": ["gptq"], "weight_sparsity": [0.0, 0.5]}.get(key, [4])}
    with pytest.raises(ConfigError, match=rf"{key}.*: relu has no operand 'weight'"):
        of_relu(widths=[4], layers=["relu"], **more)
    with pytest.raises(ConfigError, match="relu has no operand 'weight'"):
        of_relu(widths=[4], layers={"linear": {}, "relu": more})


def test_keys_that_other_layers_read_are_left_out_where_they_have_no_effect() -> None:
    study = of_relu(widths=[4, 8], layers=["linear", "relu"], weight_sparsity=[0.5], overrides={"_1": {"widths": [4]}})
    configs = [network.config for network in study]
    assert {own["_1"]["config"]["data_in_width"] for own in configs} == {4}
    assert all(own["_0"]["config"]["weight_sparsity"] == 0.5 for own in configs)
    assert not any(key.startswith("weight") for own in configs for key in own["_1"]["config"])


def test_a_misspelt_batch_norm_is_refused_by_the_space_itself() -> None:
    with pytest.raises(ConfigError, match=r"space: batch_norm: .*mesured"):
        chop.Space(["integer"], [8], batch_norm="mesured")
