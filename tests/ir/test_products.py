"""Multiply-accumulates of every operation that multiplies, against formulas from the definitions, for one sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import GraphError, PassError
from chop.ir import MaseGraph
from chop.ir.graph.node_costs import node_costs, remarks_on
from chop.passes.graph import count_costs_analysis_pass


class Call(nn.Module):
    """`call(x, own)` with `own` a module, or a parameter of that shape; without formats for whatever it does."""

    def __init__(self, call: Callable[..., Any], own: Any = None) -> None:
        super().__init__()
        self.call = call
        self.own = nn.Parameter(torch.randn(own)) if isinstance(own, tuple) else own

    def forward(self, x: Tensor) -> Any:
        return self.call(x, self.own)


def macs(model: nn.Module, x: Any, batch_dim: int = 0) -> int:
    return sum(cost.macs for cost in node_costs(MaseGraph(model), x, batch_dim).values())


# For a sample of the shape given, with a parameter of the shape given: what is called, and its multiply-accumulates.
PRODUCTS: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...], int]] = {
    "mv": (torch.mv, (7,), (7,), 7),
    "x.mv": (lambda x, w: x.mv(w), (7,), (7,), 7),
    "addmv": (lambda x, w: torch.addmv(x[:, 0], x, w), (7,), (7,), 7),
    "linear with a vector": (F.linear, (7,), (7,), 7),
    "2d @ 1d": (lambda x, w: x @ w, (7,), (7,), 7),
    "3d @ 1d": (lambda x, w: x @ w, (5, 7), (7,), 5 * 7),
    "3d @ 2d": (lambda x, w: x @ w, (5, 7), (7, 4), 5 * 7 * 4),
    "3d @ 3d": (lambda x, w: x @ w, (5, 7), (1, 7, 4), 5 * 7 * 4),
    "4d @ 3d": (lambda x, w: x @ w, (3, 5, 7), (3, 7, 4), 3 * 5 * 7 * 4),
    "broadcast batch": (lambda x, w: x[:, None] @ w, (5, 7), (3, 7, 4), 3 * 5 * 7 * 4),
    "1d @ 2d": (lambda x, w: w @ x.transpose(0, 1), (7,), (7,), 7),
    "1d @ 3d": (lambda x, w: w @ x, (7, 4), (7,), 7 * 4),
    "2d @ 3d": (lambda x, w: w @ x, (7, 4), (5, 7), 5 * 7 * 4),
    "1d @ 1d": (lambda x, w: x[:, 0] @ x[:, 0], (2,), (1,), 1),
    "x @ x.T of a sample": (lambda x, w: x @ x.mT, (5, 7), (1,), 5 * 7 * 5),
    "dot": (lambda x, w: torch.dot(x.flatten(), x.flatten()), (7,), (1,), 7),
    "vdot": (lambda x, w: torch.vdot(x.flatten(), x.flatten()), (7,), (1,), 7),
    "vecdot": (torch.linalg.vecdot, (5, 7), (7,), 5 * 7),
    "inner": (torch.inner, (7,), (4, 7), 7 * 4),
    "outer": (lambda x, w: torch.outer(x.flatten(), w), (7,), (4,), 7 * 4),
    "ger": (lambda x, w: torch.ger(x.flatten(), w), (7,), (4,), 7 * 4),
    "addr": (lambda x, w: torch.addr(x @ w[:1], x[:, 0], w.flatten()), (1,), (1, 4), 4 + 4),
    "kron": (torch.kron, (7,), (2, 4), 7 * 2 * 4),
    "mm": (torch.mm, (7,), (7, 4), 7 * 4),
    "addmm": (lambda x, w: torch.addmm(x[:, :1], x, w), (7,), (7, 4), 7 * 4),
    "bmm": (lambda x, w: torch.bmm(x, x.mT), (5, 7), (1,), 5 * 7 * 5),
    "baddbmm": (lambda x, w: torch.baddbmm(x[:, :, :1], x, x.mT), (5, 7), (1,), 5 * 7 * 5),
    "addbmm": (lambda x, w: torch.addbmm(w, x, x.mT), (5, 7), (5, 5), 5 * 7 * 5),
    "chain_matmul": (lambda x, w: torch.chain_matmul(x, w, w.t()), (7,), (7, 2), 2 * 7 * 2),
    "multi_dot": (lambda x, w: torch.linalg.multi_dot([x, w, w.t()]), (7,), (7, 2), 2 * 7 * 2),
    "tensordot": (lambda x, w: torch.tensordot(x, w, 2), (5, 7), (5, 7, 4), 5 * 7 * 4),
    "tensordot of nothing": (lambda x, w: torch.tensordot(x, w, 0), (7,), (4,), 7 * 4),
    "einsum bi,ij->bj": (lambda x, w: torch.einsum("bi,ij->bj", x, w), (7,), (7, 4), 7 * 4),
    "einsum bi,bi->b": (lambda x, w: torch.einsum("bi,bi->b", x, x), (7,), (1,), 7),
    "einsum bi,j->bij": (lambda x, w: torch.einsum("bi,j->bij", x, w), (7,), (4,), 7 * 4),
    "einsum bi,kij,bj->bk": (lambda x, w: torch.einsum("bi,kij,bj->bk", x, w, x), (3,), (5, 3, 3), 5 * 3 * 3 + 5 * 3),
    "einsum of heads": (lambda x, w: torch.einsum("bhid,bhjd->bhij", x, x), (2, 5, 3), (1,), 2 * 5 * 5 * 3),
    "bilinear": (lambda x, w: F.bilinear(x, x, w), (3,), (5, 3, 3), 5 * 3 * 3),
    "cdist": (torch.cdist, (5, 7), (4, 7), 5 * 4 * 7),
    "cdist of many": (torch.cdist, (30, 7), (40, 7), 30 * 40 * 7),
    "cdist of absolute values": (lambda x, w: torch.cdist(x, w, p=1.0), (5, 7), (4, 7), 0),
    "conv1d": (lambda x, w: F.conv1d(x, w, dilation=2), (4, 10), (6, 4, 3), 6 * 4 * 3 * 6),
    "conv2d, groups": (lambda x, w: F.conv2d(x, w, groups=2, stride=2), (4, 9, 9), (6, 2, 3, 3), 6 * 2 * 9 * 4 * 4),
    "conv2d, same": (lambda x, w: F.conv2d(x, w, padding="same"), (4, 9, 9), (6, 4, 3, 3), 6 * 4 * 9 * 9 * 9),
    "conv3d": (F.conv3d, (2, 5, 5, 5), (3, 2, 3, 3, 3), 3 * 2 * 27 * 27),
    "conv_transpose1d": (lambda x, w: F.conv_transpose1d(x, w, stride=2), (4, 10), (4, 6, 3), 4 * 10 * 6 * 3),
    "conv_transpose2d": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2, output_padding=1, groups=2),
        (4, 5, 5),
        (4, 3, 3, 3),
        4 * 25 * 3 * 9,
    ),
    "conv_transpose3d": (F.conv_transpose3d, (2, 5, 5, 5), (2, 3, 3, 3, 3), 2 * 125 * 3 * 27),
    "conv_tbc": (lambda x, w: torch.conv_tbc(x.transpose(0, 1), w, w[0, 0]), (9, 4), (3, 4, 6), 7 * 3 * 4 * 6),
    "unfold": (lambda x, w: w @ F.unfold(x, 3), (2, 6, 6), (4, 18), 4 * 18 * 16),
    "attention": (lambda x, w: F.scaled_dot_product_attention(x, x, x), (2, 5, 3), (1,), 2 * 2 * 5 * 5 * 3),
    "causal attention": (
        lambda x, w: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        (2, 5, 3),
        (1,),
        2 * 2 * 5 * 5 * 3,
    ),
    "attention with groups of queries": (
        lambda x, w: F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True),
        (4, 5, 3),
        (1,),
        4 * 2 * 5 * 5 * 3,
    ),
    "embedding_bag": (lambda x, w: F.embedding_bag(x.abs().long() % 4, w), (5,), (4, 3), 0),
    "weighted embedding_bag": (
        lambda x, w: F.embedding_bag(x.abs().long() % 4, w, mode="sum", per_sample_weights=x),
        (5,),
        (4, 3),
        5 * 3,
    ),
    "sparse.mm": (lambda x, w: torch.sparse.mm(torch.diag(w.detach()).to_sparse(), x.mT).mT, (4,), (4,), 4),
    "sparse @": (lambda x, w: (torch.diag(w.detach()).to_sparse_csr() @ x.mT).mT, (4,), (4,), 4),
    "affine_grid": (lambda x, w: F.affine_grid(x, [x.shape[0], 1, 4, 5]), (2, 3), (1,), 4 * 5 * 3 * 2),
    "element by element": (lambda x, w: x * w + F.layer_norm(x, (7,)).softmax(-1), (7,), (7,), 0),
    "pooling": (lambda x, w: F.max_pool2d(x, 2, return_indices=True)[0] + F.avg_pool2d(x, 2), (2, 4, 4), (1,), 0),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_counted_whatever_they_are_spelled_like(name: str) -> None:
    call, sample, own, expected = PRODUCTS[name]
    assert macs(Call(call, own), torch.randn(2, *sample)) == expected


class Itself(nn.Module):
    """A layer of several inputs, all the same."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x, x)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...], int]] = {
    "LSTM": (
        nn.LSTM(4, 5, 2, bidirectional=True, proj_size=3, batch_first=True),
        (7, 4),
        7 * 2 * (20 * (4 + 3) + 5 * 3) + 7 * 2 * (20 * (6 + 3) + 5 * 3),
    ),
    "GRU": (nn.GRU(4, 5, batch_first=True), (7, 4), 7 * 15 * (4 + 5)),
    "RNN": (nn.RNN(4, 5, batch_first=True), (7, 4), 7 * 5 * (4 + 5)),
    "GRUCell": (nn.GRUCell(4, 5), (4,), 15 * (4 + 5)),
    "Conv2d, circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (4, 5, 5), 6 * 4 * 9 * 25),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), (4, 5, 5), 4 * 9 * 9),
    "MultiheadAttention": (Itself(nn.MultiheadAttention(8, 2, batch_first=True)), (5, 8), 5 * 8 * 32 + 2 * 5 * 5 * 8),
    "Bilinear": (Itself(nn.Bilinear(8, 8, 3)), (8,), 3 * 8 * 8),
    "TransformerEncoderLayer": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(),
        (5, 8),
        5 * 8 * 32 + 2 * 5 * 5 * 8 + 2 * 5 * 8 * 16,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_count_as_their_equations_say(name: str) -> None:
    layer, sample, expected = LAYERS[name]
    assert macs(Call(lambda x, own: own(x), layer), torch.randn(1, *sample)) == expected


UNCOUNTED: dict[str, tuple[Callable[..., Any], str]] = {
    "inverse": (lambda x, w: torch.linalg.inv(x), "linalg_inv_ex"),
    "solve": (lambda x, w: torch.linalg.solve(x, x), "_linalg_solve_ex"),
    "svd": (lambda x, w: torch.linalg.svd(x)[1], "_linalg_svd"),
    "matrix_exp": (lambda x, w: torch.linalg.matrix_exp(x), "linalg_matrix_exp"),
    "fft": (lambda x, w: torch.fft.rfft(x).abs(), "_fft_r2c"),
    "sparse by sparse": (
        lambda x, w: torch.sparse.mm(x[0].to_sparse(), x[0].to_sparse()).to_dense(),
        "_sparse_sparse_matmul",
    ),
    "a library of its own": (lambda x, w: torch.ops.chop_tests.product(x, x), "product"),
}


@torch.library.custom_op("chop_tests::product", mutates_args=())
def product(x: Tensor, y: Tensor) -> Tensor:
    return x @ y


@pytest.mark.parametrize("name", UNCOUNTED)
def test_what_multiplies_without_a_formula_is_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    call, operator = UNCOUNTED[name]
    graph = MaseGraph(Call(call))
    x = torch.randn(3, 4, 4)
    lines = remarks_on(node_costs(graph, x))
    assert len(lines) == 1
    assert f"({operator}) are not counted" in lines[0]
    with caplog.at_level("WARNING"):
        count_costs_analysis_pass(graph, {"dummy_in": {"x": x}, "show": False})
    assert lines[0] in caplog.text


def test_norms_and_crosses_are_no_products_of_matrices() -> None:
    model = Call(lambda x, w: torch.linalg.cross(x, x) + torch.linalg.norm(x, dim=1, keepdim=True))
    assert not remarks_on(node_costs(MaseGraph(model), torch.randn(2, 3)))


class Attending(nn.Module):
    """Convolutions, a norm, attention and a head: operators of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.Linear(8, 2)
        self.places = nn.Parameter(torch.randn(6, 8))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm(self.conv(x)).mT + self.places
        found: Tensor = self.head(F.scaled_dot_product_attention(rows, rows, rows).mean(1))
        return found


def rows(model: nn.Module, x: Any, **arguments: Any) -> Any:
    _, info = count_costs_analysis_pass(MaseGraph(model), {"dummy_in": x, "show": False, **arguments})
    return info


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 7, 64])
def test_costs_do_not_depend_on_the_size_of_the_batch(samples: int) -> None:
    model = Attending()
    found = rows(model, {"x": torch.randn(samples, 3, 8)})
    assert found == rows(model, {"x": torch.randn(3, 3, 8)})
    assert found["total"]["macs"] == 6 * 8 * 9 + 2 * 6 * 6 * 8 + 16
    assert found["conv"]["activation_bytes"] == 4 * 3 * 8


def test_batches_lie_where_the_caller_says() -> None:
    model = nn.Sequential(nn.LSTM(4, 5))
    for samples in (1, 2, 3):
        found = rows(model, {"input": torch.randn(7, samples, 4)}, batch_dim=1)
        assert found["total"]["macs"] == 7 * 20 * (4 + 5)
    with pytest.raises(PassError, match="batch_dim"):
        rows(model, {"input": torch.randn(7, 3, 4)}, batch_dim="1")


def test_a_model_that_turns_its_batch_round_counts_the_same() -> None:
    class SequenceFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(4, 5), nn.GRU(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(self.layer(x.transpose(0, 1)))[1][0]
            return found

    found = rows(SequenceFirst(), {"x": torch.randn(1, 7, 4)})
    assert found["total"]["macs"] == 7 * 20 + 7 * 9 * 8
    assert found["layer"]["activation_bytes"] == 7 * 4 * 4


def test_inputs_may_be_several_and_hold_what_is_no_tensor() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.other = nn.Linear(4, 5), nn.Linear(3, 5)

        def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
            found: Tensor = self.layer(x) + self.other(y)
            return found

    for samples in (1, 3, 5):
        x, y = torch.randn(samples, 4), torch.randn(samples, 3)
        assert rows(Two(), {"x": x, "y": y, "mask": None})["total"]["macs"] == 35
        assert macs(Two(), (x, y)) == macs(Two(), {"x": x, "y": y}) == 35


class Grouped(nn.Module):
    """Statistics over groups of `size` samples: batches must be multiples of it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.layer = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        spread = x.view(self.size, -1, 4).std(0).repeat(self.size, 1)
        found: Tensor = self.layer(x + spread)
        return found


def test_a_model_that_takes_multiples_of_its_batch_counts_per_sample() -> None:
    found = rows(Grouped(8), {"x": torch.randn(8, 4)})
    assert found["layer"]["macs"] == 20
    assert found["layer"]["activation_bytes"] == 16


def test_a_model_of_one_batch_size_counts_if_it_is_one() -> None:
    class Fixed(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.size, self.layer = size, nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(x.reshape(self.size, 4))
            return found

    assert macs(Fixed(1), torch.randn(1, 4)) == 20
    with pytest.raises(GraphError, match="any batch size"):
        macs(Fixed(5), torch.randn(5, 4))
    with pytest.raises(GraphError, match="at least one sample"):
        macs(Fixed(5), torch.randn(0, 4))


def test_samples_that_are_compared_with_each_other_are_said_to_be() -> None:
    model = Call(lambda x, w: F.softmax(x @ x.T, -1) @ x)
    lines = remarks_on(node_costs(MaseGraph(model), torch.randn(2, 7)))
    assert len(lines) == 3
    assert all("works on samples together" in line for line in lines)


def test_indices_cost_nothing_and_pools_that_return_them_do() -> None:
    class Indexing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.pool = nn.Embedding(9, 4), nn.MaxPool1d(2, return_indices=True)

        def forward(self, x: Tensor) -> Any:
            return self.pool(self.table(x + 1).mT)

    found = rows(Indexing(), {"x": torch.zeros(3, 6, dtype=torch.int64)})
    assert "add" not in found
    assert found["pool"]["activation_bytes"] == 4 * 6 * 4
    assert found["total"]["activation_bytes"] == 4 * 6 * 4


def test_a_layer_that_is_called_twice_multiplies_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(torch.relu(self.layer(x)))
            return found

    assert macs(Twice(), torch.randn(3, 4)) == 2 * 16


def test_counting_changes_neither_the_model_nor_what_random_numbers_come() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    graph = MaseGraph(model)
    graph.model.train()
    before = {name: value.clone() for name, value in graph.model.state_dict().items()}
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    node_costs(graph, torch.randn(1, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.rand(1), wanted)
    assert all(torch.equal(value, before[name]) for name, value in graph.model.state_dict().items())
