"""The zoo's register: each model with its structure, its data, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization

from tests.zoo import models as zoo
from tests.zoo.data import CLASSES
from tests.zoo.models import HEAD, Attention, Build, changed, conv, drawn, linear, net, parameter, sequential

LEAST = torch.finfo(torch.float32).min


@dataclass(frozen=True)
class Specimen:
    """A model of the zoo.

    `data` names a function of `data.py`. `refused` is a part of the message of one that must be refused; empty: it
    must be right. `mixes_samples`: the model itself lets a sample depend on its neighbours.
    """

    name: str
    structure: str
    build: Build
    data: str = "vectors"
    refused: str = ""
    mixes_samples: bool = False

    def model(self) -> nn.Module:
        """The model in eval mode, the same in every call."""
        torch.manual_seed(0)
        return self.build().eval()


LAYER = linear()


def mlp(layer: Callable[[], nn.Module] = LAYER) -> Build:
    return sequential(layer, nn.ReLU, HEAD)


def wrapped(build: Build, wrap: Callable[..., Any]) -> Build:
    return lambda: wrap(build())


TRACED = (
    # Vectors
    Specimen("mlp", "layers one after the other", mlp()),
    Specimen(
        "mlp_functions", "functions in place of modules", net(lambda m, x: m.b(F.silu(m.a(x))), a=linear(), b=HEAD)
    ),
    Specimen("mlp_methods", "tensor methods", net(lambda m, x: m.b(m.a(x).tanh().sigmoid()), a=linear(), b=HEAD)),
    Specimen("mlp_no_bias", "layers without bias", mlp(linear(bias=False))),
    Specimen(
        "mlp_batch_norm", "batch norm of vectors", sequential(linear(), drawn(lambda: nn.BatchNorm1d(8)), nn.ReLU, HEAD)
    ),
    Specimen(
        "norm_before",
        "batch norm before the layer",
        sequential(drawn(lambda: nn.BatchNorm1d(8)), linear(), nn.ReLU, HEAD),
    ),
    Specimen(
        "no_statistics",
        "batch norm without running statistics",
        sequential(linear(), lambda: nn.BatchNorm1d(8, track_running_stats=False), HEAD),
        mixes_samples=True,
    ),
    Specimen("layer_norm", "layer norm", sequential(linear(), drawn(lambda: nn.LayerNorm(8)), HEAD)),
    Specimen("rms_norm", "RMS norm", sequential(linear(), drawn(lambda: nn.RMSNorm(8)), HEAD)),
    Specimen(
        "activations",
        "activations of the table in a row",
        sequential(linear(), nn.GELU, nn.SELU, nn.Softplus, nn.SiLU, HEAD),
    ),
    Specimen("softsign", "activations that torch makes of others", sequential(linear(), nn.Softsign, nn.ReLU6, HEAD)),
    Specimen(
        "other_activations", "activations outside the table", sequential(linear(), nn.Hardswish, nn.ELU, nn.PReLU, HEAD)
    ),
    Specimen("dropout", "dropout, without effect in eval mode", sequential(linear(), nn.Dropout, nn.ReLU, HEAD)),
    Specimen("residual", "a residual branch", net(zoo.skip_behind(F.relu), a=linear(), b=linear(), head=HEAD)),
    Specimen(
        "in_place_relu",
        "ReLU in place before a skip connection",
        net(zoo.skip_behind(nn.ReLU(inplace=True)), a=linear(), b=linear(), head=HEAD),
    ),
    Specimen(
        "in_place_module",
        "a module in place before a skip connection",
        net(
            lambda m, x: m.head(m.b(m.act(h := m.a(x))) + h),
            a=linear(),
            act=lambda: nn.ReLU(inplace=True),
            b=linear(),
            head=HEAD,
        ),
    ),
    Specimen(
        "in_place_silu",
        "F.silu in place before a skip connection",
        net(zoo.skip_behind(lambda h: F.silu(h, inplace=True)), a=linear(), b=linear(), head=HEAD),
    ),
    Specimen(
        "in_place_add",
        "add_ before a skip connection",
        net(zoo.skip_behind(lambda h: h.add_(0.5)), a=linear(), b=linear(), head=HEAD),
    ),
    Specimen(
        "assigned_add",
        "+= before a skip connection",
        net(zoo.skip_behind(zoo.assigned), a=linear(), b=linear(), head=HEAD),
    ),
    Specimen(
        "layer_scale",
        "a small scale times a branch",
        net(lambda m, x: m.head(x + m.gamma * m.a(x)), a=linear(), gamma=parameter(8, scale=0.01), head=HEAD),
    ),
    Specimen(
        "gated",
        "a gated linear unit",
        net(lambda m, x: m.head(torch.mul(*m.a(x).chunk(2, -1))), a=linear(8, 16), head=HEAD),
    ),
    Specimen("experts", "a mixture of two experts", net(zoo.mixture, gate=linear(8, 2), a=HEAD, b=HEAD)),
    Specimen(
        "shared_layer",
        "a layer that is called twice",
        net(lambda m, x: m.head(F.relu(m.a(F.relu(m.a(x))))), a=linear(), head=HEAD),
    ),
    Specimen(
        "tied_weights",
        "a weight read by a function too",
        net(lambda m, x: m.head(F.linear(F.relu(m.a(x)), m.a.weight.t())), a=linear(), head=HEAD),
    ),
    Specimen(
        "subtraction",
        "numbers before and behind operators",
        net(lambda m, x: m.head((1 - m.a(x)) * 2 - x), a=linear(), head=HEAD),
    ),
    Specimen(
        "bilinear",
        "a bilinear layer, which stays in float32",
        net(lambda m, x: m.c(m.a(x), x), a=linear(), c=lambda: nn.Bilinear(8, 8, CLASSES)),
    ),
    Specimen(
        "addmm",
        "layers as addmm with transposed weights (GPT-2), scaled",
        net(
            lambda m, x: torch.addmm(m.d, F.relu(torch.addmm(m.b, x, m.a)), mat2=m.c, beta=0.5, alpha=2.0),
            a=parameter(8, 8),
            b=parameter(8),
            c=parameter(8, CLASSES),
            d=parameter(CLASSES),
        ),
    ),
    Specimen(
        "matrix_vector",
        "matrix times vector",
        net(
            lambda m, x: m.head(F.relu(m.a(x) + torch.mv(m.w, m.v))),
            a=linear(),
            w=parameter(8, 8),
            v=parameter(8),
            head=HEAD,
        ),
    ),
    Specimen(
        "scores_by_vector",
        "a product with a vector",
        net(lambda m, x: m.head(x * (m.a(x) @ m.v).unsqueeze(1)), a=linear(), v=parameter(8), head=HEAD),
    ),
    Specimen(
        "einsum",
        "einsum, which stays in float32",
        net(lambda m, x: m.head(torch.einsum("bi,oi->bo", m.a(x), m.w)), a=linear(), w=parameter(8, 8), head=HEAD),
    ),
    Specimen("two_inputs", "two inputs, as a tuple", zoo.TwoInputs, "pairs"),
    Specimen("mask_or_none", "an argument that may be None", zoo.MaskOrNone),
    Specimen(
        "regression", "outputs (N, 1) for targets (N,)", sequential(linear(), nn.ReLU, linear(8, 1)), "regression"
    ),
    Specimen(
        "squeezed",
        "outputs squeezed to (N,)",
        net(lambda m, x: m.b(F.relu(m.a(x))).squeeze(1), a=linear(), b=linear(8, 1)),
        "regression",
    ),
    # Weights that are made
    Specimen(
        "pruned",
        "prune.l1_unstructured",
        mlp(changed(linear(), lambda m: prune.l1_unstructured(m, "weight", amount=0.3))),
    ),
    Specimen(
        "pruned_rows",
        "prune.ln_structured and a pruned bias",
        mlp(
            changed(
                linear(),
                lambda m: prune.random_unstructured(prune.ln_structured(m, "weight", 0.4, n=2, dim=0), "bias", 0.3),
            )
        ),
    ),
    Specimen(
        "pruned_conv",
        "pruned convolution",
        sequential(
            changed(conv(), lambda m: prune.l1_unstructured(m, "weight", amount=0.5)),
            nn.ReLU,
            lambda: nn.AdaptiveAvgPool2d(1),
            nn.Flatten,
            linear(6, CLASSES),
        ),
        "images",
    ),
    Specimen("weight_norm_hook", "old weight_norm", mlp(changed(linear(), weight_norm))),
    Specimen("spectral_norm_hook", "old spectral_norm", mlp(changed(linear(), spectral_norm))),
    Specimen("own_hook", "a forward pre-hook that writes the weight", mlp(changed(linear(), zoo.with_own_hook))),
    Specimen(
        "result_hook",
        "a forward hook that changes the result",
        mlp(changed(linear(), lambda m: m.register_forward_hook(zoo.negated))),
    ),
    Specimen("weight_norm", "parametrizations.weight_norm", mlp(changed(linear(), parametrizations.weight_norm))),
    Specimen("spectral_norm", "parametrizations.spectral_norm", mlp(changed(linear(), parametrizations.spectral_norm))),
    Specimen("orthogonal", "parametrizations.orthogonal", mlp(changed(linear(), parametrizations.orthogonal))),
    Specimen(
        "symmetric",
        "a parametrization of the user's own",
        mlp(changed(linear(), lambda m: register_parametrization(m, "weight", zoo.Symmetric()))),
    ),
    Specimen(
        "low_rank",
        "LoRA: the weight is a sum",
        net(zoo.low_rank, base=parameter(8, 8), a=parameter(2, 8), b=parameter(8, 2), head=HEAD),
    ),
    Specimen(
        "masked_weight",
        "a weight times a mask",
        net(
            lambda m, x: m.head(F.relu(F.linear(x, m.w * m.mask))),
            w=parameter(8, 8),
            mask=lambda: torch.rand(8, 8).round(),
            head=HEAD,
        ),
    ),
    Specimen(
        "standardised",
        "weight standardisation",
        net(zoo.standardised, weight=parameter(8, 3, 3, 3), head=HEAD),
        "images",
    ),
    Specimen(
        "buffer_weight",
        "a buffer as weight",
        net(lambda m, x: m.head(F.relu(F.linear(x, m.w))), w=lambda: torch.randn(8, 8), head=HEAD),
    ),
    Specimen("lazy", "lazy layers", sequential(lambda: nn.LazyLinear(8), nn.ReLU, lambda: nn.LazyLinear(CLASSES))),
    Specimen("compiled", "a compiled model", wrapped(mlp(), partial(torch.compile, backend="eager"))),
    Specimen("data_parallel", "a model in DataParallel", wrapped(mlp(), nn.DataParallel)),
    # Images, signals, volumes
    Specimen(
        "cnn",
        "convolutions and pools",
        sequential(
            conv(),
            nn.ReLU,
            lambda: nn.MaxPool2d(2),
            conv(6, 8),
            nn.ReLU,
            lambda: nn.AvgPool2d(2),
            nn.Flatten,
            linear(32, CLASSES),
        ),
        "images",
    ),
    Specimen(
        "cnn_batch_norm",
        "batch norm of images",
        sequential(
            conv(),
            drawn(lambda: nn.BatchNorm2d(6)),
            nn.ReLU,
            lambda: nn.AdaptiveAvgPool2d(1),
            nn.Flatten,
            linear(6, CLASSES),
        ),
        "images",
    ),
    Specimen(
        "resnet",
        "a residual block with a strided shortcut",
        net(
            zoo.residual_block,
            c1=conv(3, 8, stride=2, bias=False),
            n1=drawn(lambda: nn.BatchNorm2d(8)),
            c2=conv(8, 8, bias=False),
            n2=drawn(lambda: nn.BatchNorm2d(8)),
            down=conv(3, 8, 1, stride=2),
            head=HEAD,
        ),
        "images",
    ),
    Specimen(
        "depthwise",
        "depthwise separable convolution",
        sequential(conv(3, 6, groups=3), conv(6, 8, 1), nn.ReLU6, lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten, HEAD),
        "images",
    ),
    Specimen(
        "grouped",
        "grouped convolutions and a channel shuffle",
        net(zoo.shuffled, a=conv(3, 6, groups=3), b=conv(6, 8, groups=2), head=HEAD),
        "images",
    ),
    Specimen(
        "dilated",
        "dilation, padding by reflection",
        sequential(
            conv(3, 8, padding=2, dilation=2, padding_mode="reflect"),
            nn.ReLU,
            lambda: nn.AdaptiveAvgPool2d(1),
            nn.Flatten,
            HEAD,
        ),
        "images",
    ),
    Specimen(
        "transposed",
        "transposed convolution",
        sequential(
            conv(),
            nn.ReLU,
            lambda: nn.ConvTranspose2d(6, 8, 2, stride=2),
            lambda: nn.AdaptiveAvgPool2d(1),
            nn.Flatten,
            HEAD,
        ),
        "images",
    ),
    Specimen(
        "u_net", "skip connections by concatenation", net(zoo.u_net, a=conv(3, 4), b=conv(4, 4), head=HEAD), "images"
    ),
    Specimen(
        "dense_net",
        "each layer reads all earlier ones",
        net(
            lambda m, x: m.head(torch.cat([x, h := F.relu(m.a(x)), F.relu(m.b(torch.cat([x, h], 1)))], 1).mean((2, 3))),
            a=conv(3, 2),
            b=conv(5, 3),
            head=HEAD,
        ),
        "images",
    ),
    Specimen(
        "squeeze_excite",
        "squeeze and excitation",
        net(zoo.squeeze_and_excite, conv=conv(3, 8), a=linear(8, 2), b=linear(2, 8), head=HEAD),
        "images",
    ),
    Specimen(
        "channel_scale",
        "a parameter (C, 1, 1) added and multiplied",
        net(
            lambda m, x: m.head(F.relu(m.a(x) * m.scale + m.shift).mean((2, 3))),
            a=conv(3, 8),
            scale=parameter(8, 1, 1, scale=0.05),
            shift=parameter(8, 1, 1),
            head=HEAD,
        ),
        "images",
    ),
    Specimen("convnext", "channels last, LayerScale", zoo.ConvNeXtBlock, "images"),
    Specimen(
        "group_norm",
        "group norm and instance norm",
        sequential(
            conv(3, 8),
            drawn(lambda: nn.GroupNorm(2, 8)),
            nn.SiLU,
            drawn(lambda: nn.InstanceNorm2d(8, affine=True)),
            lambda: nn.AdaptiveAvgPool2d(1),
            nn.Flatten,
            HEAD,
        ),
        "images",
    ),
    Specimen("unpooled", "a pool that returns indices", net(zoo.unpooled, a=conv(3, 8), head=HEAD), "images"),
    Specimen(
        "pixel_shuffle",
        "pixel shuffle",
        sequential(conv(3, 32), lambda: nn.PixelShuffle(2), nn.ReLU, lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten, HEAD),
        "images",
    ),
    Specimen(
        "conv1d",
        "convolution of signals",
        sequential(
            lambda: nn.Conv1d(3, 6, 3),
            drawn(lambda: nn.BatchNorm1d(6)),
            nn.ReLU,
            lambda: nn.ConvTranspose1d(6, 8, 2),
            lambda: nn.AdaptiveAvgPool1d(1),
            nn.Flatten,
            HEAD,
        ),
        "signals",
    ),
    Specimen(
        "conv3d",
        "convolution of volumes",
        sequential(lambda: nn.Conv3d(2, 8, 3), nn.ReLU, nn.Flatten, linear(64, CLASSES)),
        "volumes",
    ),
    # Sequences and tokens
    Specimen(
        "linear_3d",
        "a linear layer over sequences",
        net(lambda m, x: m.head(F.relu(m.a(x)).mean(1)), a=linear(), head=HEAD),
        "sequences",
    ),
    Specimen(
        "norm_of_places",
        "batch norm over places, behind a layer of features",
        net(
            lambda m, x: m.head(F.relu(m.norm(m.a(x))).mean(1)),
            a=linear(),
            norm=drawn(lambda: nn.BatchNorm1d(6)),
            head=HEAD,
        ),
        "sequences",
    ),
    Specimen("sequence_first", "the batch in dimension 1", zoo.SequenceFirst, "sequences"),
    Specimen(
        "lstm",
        "an LSTM, which stays in float32",
        lambda: zoo.Recurrent(nn.LSTM(8, 5, batch_first=True, bidirectional=True), 10),
        "sequences",
    ),
    Specimen(
        "gru", "a GRU, which stays in float32", lambda: zoo.Recurrent(nn.GRU(8, 8, batch_first=True), 8), "sequences"
    ),
    Specimen("attention", "attention of two heads", Attention, "sequences"),
    Specimen("causal_inf", "a causal mask of minus infinity", lambda: Attention(float("-inf")), "sequences"),
    Specimen("causal_least", "a causal mask of the least number", lambda: Attention(LEAST), "sequences"),
    Specimen("padded_inf", "a padding mask of minus infinity", lambda: Attention(float("-inf"), "padded"), "padded"),
    Specimen("padded_least", "a padding mask of the least number", lambda: Attention(LEAST, "padded"), "padded"),
    Specimen("added_mask", "a mask of minus infinity that is added", lambda: zoo.AddedMask(float("-inf")), "sequences"),
    Specimen("fused_attention", "scaled_dot_product_attention", lambda: Attention(fused=True), "sequences"),
    Specimen(
        "fused_masked", "scaled_dot_product_attention with a mask", lambda: Attention(0.0, fused=True), "sequences"
    ),
    Specimen(
        "multihead",
        "nn.MultiheadAttention, which stays in float32",
        net(
            lambda m, x: m.head(m.attend(h := m.a(x), h, h)[0].mean(1)),
            a=linear(),
            attend=lambda: nn.MultiheadAttention(8, 2, batch_first=True),
            head=HEAD,
        ),
        "sequences",
    ),
    Specimen(
        "encoder_layer",
        "nn.TransformerEncoderLayer, which stays in float32",
        net(
            lambda m, x: m.head(m.layer(m.a(x)).mean(1)),
            a=linear(),
            layer=lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            head=HEAD,
        ),
        "sequences",
    ),
    Specimen("tokens", "embeddings of tokens and places", zoo.PositionalTokens, "tokens"),
    Specimen(
        "shifted_tokens", "whole numbers are added before an embedding", lambda: zoo.PositionalTokens(1), "tokens"
    ),
    Specimen(
        "renormed_tokens",
        "an embedding that writes its weight (max_norm)",
        lambda: zoo.PositionalTokens(max_norm=1.0),
        "tokens",
    ),
    Specimen("flat_table", "products of whole numbers as addresses", zoo.FlatTable, "tokens"),
    Specimen(
        "bert",
        "BERT of transformers",
        zoo.hugging_face("Bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16),
        "padded_tokens",
    ),
    Specimen(
        "gpt2",
        "GPT-2 of transformers, with its cache",
        zoo.hugging_face("GPT2", n_embd=8, n_layer=1, n_head=2, n_positions=16),
        "padded_tokens",
    ),
    # Several outputs, and models that no graph is right for
    Specimen("logits", "a dictionary with logits", lambda: zoo.Outputs(lambda h, s: {"features": h, "logits": s})),
    Specimen("pair_of_outputs", "features before scores", lambda: zoo.Outputs(lambda h, s: (h, s)), refused="output"),
    Specimen(
        "named_outputs",
        "features and scores by name",
        lambda: zoo.Outputs(lambda h, s: {"features": h, "scores": s}),
        refused="output",
    ),
    Specimen(
        "branch_on_shape",
        "a branch on a length, other lengths in the test set",
        zoo.Truncates,
        "longer_test_sequences",
        refused="test",
    ),
    Specimen("branch_on_values", "a branch on values", zoo.BranchesOnValues, refused="can be traced neither"),
    Specimen("counting", "a buffer that forward writes", zoo.Counting),
)

EXPORTED = (
    "mlp_batch_norm",
    "norm_before",
    "activations",
    "in_place_module",
    "in_place_silu",
    "assigned_add",
    "layer_scale",
    "shared_layer",
    "tied_weights",
    "subtraction",
    "addmm",
    "matrix_vector",
    "spectral_norm",
    "low_rank",
    "cnn",
    "cnn_batch_norm",
    "resnet",
    "grouped",
    "transposed",
    "dilated",
    "squeeze_excite",
    "channel_scale",
    "convnext",
    "group_norm",
    "conv1d",
    "linear_3d",
    "sequence_first",
    "lstm",
    "attention",
    "causal_inf",
    "fused_masked",
    "added_mask",
    "shifted_tokens",
    "renormed_tokens",
    "flat_table",
)
"""Models that are examined once more behind a check that only torch.export can take."""


def _exported(own: Specimen) -> Specimen:
    return replace(
        own, name=f"{own.name}*", structure=f"{own.structure} (exported)", build=wrapped(own.build, zoo.Checked)
    )


SPECIMENS = TRACED + tuple(_exported(own) for own in TRACED if own.name in EXPORTED)
