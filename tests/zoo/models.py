"""The zoo's models: small networks, each with one structure that tools of this kind get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.data import CLASSES, LENGTH, VOCABULARY

Build = Callable[[], nn.Module]


class Net(nn.Module):
    """Layers by name, and what `forward` does with them as a function."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module | Tensor) -> None:
        super().__init__()
        self._function = forward
        for name, layer in layers.items():
            if isinstance(layer, nn.Module | nn.Parameter):
                setattr(self, name, layer)
            else:
                self.register_buffer(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self._function(self, x)


def net(forward: Callable[..., Any], **layers: Callable[[], Any]) -> Build:
    """Build a `Net` anew in each call: `layers` are functions that make its layers, buffers and parameters."""
    return lambda: Net(forward, **{name: make() for name, make in layers.items()})


def sequential(*layers: Callable[[], nn.Module]) -> Build:
    return lambda: nn.Sequential(*(make() for make in layers))


def linear(inputs: int = 8, outputs: int = 8, bias: bool = True) -> Callable[[], nn.Linear]:
    return lambda: nn.Linear(inputs, outputs, bias)


def conv(inputs: int = 3, outputs: int = 6, kernel: int = 3, **options: Any) -> Callable[[], nn.Conv2d]:
    return lambda: nn.Conv2d(inputs, outputs, kernel, **{"padding": kernel // 2, **options})


def parameter(*shape: int, scale: float = 1.0) -> Callable[[], nn.Parameter]:
    return lambda: nn.Parameter(torch.randn(*shape) * scale)


def drawn(make: Callable[[], Any]) -> Callable[[], Any]:
    """A norm whose statistics and parameters are drawn at random, as after training."""

    def build() -> Any:
        norm = make()
        for name, tensor in [*norm.named_parameters(), *norm.named_buffers()]:
            if tensor.is_floating_point():
                nn.init.uniform_(tensor, 0.5, 1.5) if "var" in name or name == "weight" else nn.init.normal_(tensor)
        return norm

    return build


HEAD = linear(8, CLASSES)


def changed(layer: Callable[[], nn.Module], change: Callable[[Any], Any]) -> Callable[[], nn.Module]:
    """A layer that `change` has been applied to."""

    def build() -> nn.Module:
        made = layer()
        change(made)
        return made

    return build


def halved(module: Any, inputs: tuple[Any, ...]) -> None:
    """A forward pre-hook that writes the weight anew."""
    module.weight = module.raw / 2


def with_own_hook(layer: Any) -> None:
    layer.register_parameter("raw", nn.Parameter(layer.weight.detach().clone()))
    del layer._parameters["weight"]
    layer.weight = layer.raw.detach().clone()
    layer.register_forward_pre_hook(halved)


class Symmetric(nn.Module):
    """A parametrization that makes a square weight symmetric."""

    def forward(self, weight: Tensor) -> Tensor:
        return (weight + weight.T) / 2


def negated(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.neg()


# --- attention ---------------------------------------------------------------------------------------------------


def split_heads(x: Tensor, heads: int = 2) -> Tensor:
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention with two heads over `(batch, 6, 8)`; `fill` is written where `mask` is false."""

    causal: Tensor

    def __init__(self, fill: float | None = None, kind: str = "causal", fused: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)
        self.fill, self.kind, self.fused = fill, kind, fused
        self.register_buffer("causal", torch.ones(LENGTH, LENGTH).tril().bool())

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        q, k, v = split_heads(self.q(x)), split_heads(self.k(x)), split_heads(self.v(x))
        mask = keep[:, None, None, :] if self.kind == "padded" and keep is not None else self.causal
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask if self.fill is not None else None)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(4)
            if self.fill is not None:
                scores = scores.masked_fill(~mask, self.fill)
            mixed = F.softmax(scores, -1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2)).mean(1)


class AddedMask(nn.Module):
    """A mask that is added to the scores, zeros and least numbers, as eager attention does it."""

    def __init__(self, fill: float) -> None:
        super().__init__()
        self.inner = Attention()
        self.register_buffer("mask", torch.full((LENGTH, LENGTH), fill).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.inner
        q, k, v = a.q(x), a.k(x), a.v(x)
        return a.out((q @ k.transpose(1, 2) + self.mask).softmax(-1) @ v).mean(1)


class MaskOrNone(nn.Module):
    """A mask that may be None: the branch depends on whether it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.a(x)
        if mask is not None:
            h = h * mask
        return self.b(F.relu(h))


# --- structures that need a class --------------------------------------------------------------------------------


class Outputs(nn.Module):
    """Features and scores, in the form that `form` names."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.form = nn.Linear(8, 8), nn.Linear(8, CLASSES), form

    def forward(self, x: Tensor) -> Any:
        h = F.relu(self.a(x))
        return self.form(h, self.b(h))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(F.relu(self.a(left)) * torch.sigmoid(self.b(right)))


class Recurrent(nn.Module):
    """A recurrent layer, which stays in float32, between two linear ones."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.inp, self.layer, self.head = nn.Linear(8, 8), layer, nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.inp(x))[0][:, -1])


class SequenceFirst(nn.Module):
    """The batch moves to dimension 1 and back."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x.transpose(0, 1)))).mean(0)


class Truncates(nn.Module):
    """A branch on a shape, which a traced graph freezes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > LENGTH:
            x = x[:, :LENGTH]
        return self.b(F.relu(self.a(x)).sum(1))


class Checked(nn.Module):
    """A check of the input's shape, which torch.fx cannot trace: the model inside goes through torch.export."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        if x.shape[-1] < 2:
            raise ValueError("too short")
        return self.inner(x)


class BranchesOnValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if x.sum() > 0 else self.a(-x)


class Counting(nn.Module):
    """A buffer that forward writes, and that its result depends on: each run begins with what the model holds."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, CLASSES)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.copy_(self.seen.exp())
        return self.a(x) / self.seen


class ConvNeXtBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.gamma = nn.Parameter(torch.full((8,), 0.01))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        h = self.gamma * self.down(F.gelu(self.up(h)))
        return self.head((x + h.permute(0, 3, 1, 2)).mean((2, 3)))


def low_rank(m: Any, x: Tensor) -> Tensor:
    return m.head(F.relu(F.linear(x, m.base + m.b @ m.a)))


def standardised(m: Any, x: Tensor) -> Tensor:
    w = m.weight
    w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
    return m.head(F.relu(F.conv2d(x, w, padding=1)).mean((2, 3)))


def squeeze_and_excite(m: Any, x: Tensor) -> Tensor:
    h = F.relu(m.conv(x))
    scale = torch.sigmoid(m.b(F.relu(m.a(h.mean((2, 3))))))
    return m.head((h * scale[:, :, None, None]).mean((2, 3)))


def mixture(m: Any, x: Tensor) -> Tensor:
    gates = F.softmax(m.gate(x), -1)
    return gates[:, :1] * m.a(x) + gates[:, 1:] * m.b(x)


def u_net(m: Any, x: Tensor) -> Tensor:
    a = F.relu(m.a(x))
    b = F.relu(m.b(F.max_pool2d(a, 2)))
    up = F.interpolate(b, scale_factor=2, mode="nearest")
    return m.head(torch.cat([a, up], 1).mean((2, 3)))


def shuffled(m: Any, x: Tensor) -> Tensor:
    h = m.a(x)
    n, c, height, width = h.shape
    h = h.view(n, 2, c // 2, height, width).transpose(1, 2).reshape(n, c, height, width)
    return m.head(F.relu(m.b(h)).mean((2, 3)))


def residual_block(m: Any, x: Tensor) -> Tensor:
    h = m.n1(m.c1(x)).relu()
    h = m.n2(m.c2(h)) + m.down(x)
    return m.head(F.adaptive_avg_pool2d(F.relu(h), 1).flatten(1))


def unpooled(m: Any, x: Tensor) -> Tensor:
    h, places = F.max_pool2d(m.a(x), 2, return_indices=True)
    return m.head(F.max_unpool2d(h, places, [2, 2]).mean((2, 3)))


def skip_behind(function: Callable[[Tensor], Any]) -> Callable[[Any, Tensor], Tensor]:
    """A residual branch that begins with `function`, which may work in place."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        return m.head(m.b(function(h)) + h)

    return forward


def assigned(h: Tensor) -> Tensor:
    h += 1.0
    return h


def hugging_face(name: str, **config: Any) -> Build:
    """A tiny network of transformers for three classes, with random weights."""

    def build() -> nn.Module:
        import transformers

        made = getattr(transformers, f"{name}Config")(
            num_labels=CLASSES, vocab_size=VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=2, **config
        )
        return getattr(transformers, f"{name}ForSequenceClassification")(made).eval()

    return build


class PositionalTokens(nn.Module):
    """Embeddings of tokens, and of places that are counted in forward."""

    def __init__(self, shift: int = 0, **options: Any) -> None:
        super().__init__()
        self.shift = shift
        self.table = nn.Embedding(VOCABULARY + shift, 8, **options)
        self.places = nn.Embedding(LENGTH, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(LENGTH, device=ids.device)
        return self.head((self.table(ids + self.shift) + self.places(places)).mean(1))


class FlatTable(nn.Module):
    """Addresses rows of one table by products and sums of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(4 * VOCABULARY, 8), nn.Linear(8, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids * 4 + (ids - 1) % 4).mean(1))
