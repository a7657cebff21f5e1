"""Models in wrappers, of other types, with shared or frozen tensors are right; what cannot be seen is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chop.errors import GraphError
from chop.evaluation.evaluator import Evaluator
from chop.formats import Format, Integer
from chop.ir import MaseGraph
from tests.evaluation.all_ways import all_ways, require_same

Q = Integer(6, 3)
FIRST: dict[str, dict[str, Format]] = {"_0": {"data_in": Q, "weight": Q, "bias": Q}}


def base() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def by_hand(model: nn.Sequential, x: Tensor) -> Tensor:
    """The first layer rounded."""
    q = Q.quantize
    with torch.no_grad():
        found: Tensor = model[2](torch.relu(F.linear(q(x), q(model[0].weight), q(model[0].bias))))
    return found


def compiled_part() -> nn.Module:
    model = base()
    model[0] = torch.compile(model[0])  # type: ignore[assignment]
    return model


def made_for_inference() -> nn.Module:
    with torch.inference_mode():
        return base()


def frozen() -> nn.Module:
    return base().requires_grad_(False)


BROUGHT = [lambda: torch.compile(base()), compiled_part, lambda: nn.DataParallel(base()), made_for_inference, frozen]


@pytest.mark.parametrize("build", BROUGHT)
def test_wrapped_models_are_what_they_wrap(build: Callable[[], nn.Module]) -> None:
    x = torch.randn(20, 6)
    found = all_ways(MaseGraph(build()), FIRST, x)
    require_same(found, by_hand(base(), x), base()(x).detach())


def test_models_in_double_precision_stay_so() -> None:
    x = torch.randn(20, 6).double()
    model = base().double()
    require_same(all_ways(MaseGraph(model), FIRST, x), by_hand(model, x), model(x).detach())


def lazy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))


def test_lazy_layers_get_their_shapes_from_the_example(caplog: pytest.LogCaptureFixture) -> None:
    model = lazy()
    graph = MaseGraph(model, example_inputs=torch.randn(2, 6))
    assert graph.model.get_parameter("0.weight").shape == (5, 6)
    assert isinstance(model[0], nn.LazyLinear)
    assert "has lazy layers without weights" in caplog.text
    torch.manual_seed(1)
    again = MaseGraph(model, example_inputs=torch.randn(2, 6))
    assert torch.equal(again.model.get_parameter("0.weight"), graph.model.get_parameter("0.weight"))
    with pytest.raises(GraphError, match="has lazy layers without shapes: run the model on a batch once"):
        MaseGraph(lazy())


def scripted_part() -> nn.Module:
    model = base()
    model[0] = torch.jit.script(model[0])
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: torch.jit.script(base()), "the model is compiled by torch.jit"),
        (scripted_part, "'0' .* is compiled by torch.jit"),
        (lambda: base().to("meta"), r"'0.weight' is on the device meta, without values: .* to_empty"),
        (lambda: torch.ao.quantization.quantize_dynamic(base(), {nn.Linear}), "'0' .* is quantised by torch.ao"),
    ],
)
def test_what_cannot_be_seen_is_refused(build: Callable[[], nn.Module], why: str) -> None:
    with pytest.raises(GraphError, match=why):
        MaseGraph(build())


class Tied(nn.Module):
    """One weight in two layers, and seen the other way in a third place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.b(torch.relu(self.a(x))), self.a.weight.t())


@pytest.mark.parametrize("node", ["a", "b", "linear"])
def test_each_reader_of_a_shared_weight_has_its_own_format(node: str) -> None:
    net, x = Tied(), torch.randn(20, 6)
    weights = {name: Q.quantize(net.a.weight) if name == node else net.a.weight for name in ("a", "b", "linear")}
    hidden = F.linear(torch.relu(F.linear(x, weights["a"], net.a.bias)), weights["b"], net.b.bias)
    found = all_ways(MaseGraph(net), {node: {"weight": Q}}, x)
    require_same(found, F.linear(hidden, weights["linear"].t()).detach(), net(x).detach())


class Averages(nn.Module):
    """Follows the mean of its values in a buffer, also in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        self.mean.mul_(0.9).add_(0.1 * h.mean(0))
        return h - self.mean


def test_what_forward_writes_is_followed_for_one_run() -> None:
    net, x = Averages(), torch.randn(20, 6)
    with torch.no_grad():
        h = F.linear(x, Q.quantize(net.layer.weight), net.layer.bias)
        plain = net.layer(x)
    found = all_ways(MaseGraph(net), {"layer": {"weight": Q}}, x)
    require_same(found, h - 0.1 * h.mean(0), plain - 0.1 * plain.mean(0))
    assert torch.equal(net.mean, torch.zeros(3))


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return x * self.calls


def test_writes_that_no_graph_shows_are_refused() -> None:
    x = torch.randn(20, 6)
    model = nn.Sequential(nn.Linear(6, 3), Counts())
    with pytest.raises(GraphError, match=r"writes on 1.calls in forward, also in eval mode"):
        MaseGraph(model, custom_ops={"modules": [Counts]}, example_inputs=x[:2])
    graph = MaseGraph(model, custom_ops={"modules": [Counts]})
    with pytest.raises(GraphError, match=r"writes on 1.calls"):
        Evaluator(graph, [[{}, {"_0": {"weight": Q}}]], [(x, torch.zeros(20))])


def test_the_rest_of_the_world_stays_as_it_is() -> None:
    model, x = base().train(), torch.randn(20, 6)

    def world() -> tuple[object, ...]:
        return torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype(), model.training

    before, state = world(), torch.get_rng_state()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    all_ways(MaseGraph(model, example_inputs=x[:2]), FIRST, x)
    assert world() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


class Skipped(nn.Module):
    """A second input that may be left out, which only the error of the sum tells."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        try:
            return torch.relu(x) + y
        except TypeError:
            return torch.relu(x)


class OtherWayInTraining(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) if torch.is_grad_enabled() else torch.sigmoid(x)


@pytest.mark.parametrize("model", [Skipped(), OtherWayInTraining()])
@torch.no_grad()
def test_the_branch_is_that_of_a_measurement(model: nn.Module) -> None:
    x = torch.randn(20, 6)
    with torch.enable_grad():
        graph = MaseGraph(model)
    torch.testing.assert_close(graph.model(x), model(x))


class Packs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        found: Tensor = self.gru(packed)[1][-1]
        return found


def test_packed_sequences_are_told_the_cure_which_works() -> None:
    inputs = {"x": torch.randn(4, 5, 4), "lengths": torch.tensor([5, 2, 3, 1])}
    with pytest.raises(GraphError, match=r"outputs\[torch.arange\(len\(x\)\), lengths - 1\]"):
        MaseGraph(Packs(), example_inputs=inputs)

    class Padded(Packs):
        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            outputs: Tensor = self.gru(x)[0]
            return outputs[torch.arange(len(x)), lengths - 1]

    torch.manual_seed(0)
    packing = Packs().eval()
    padded = Padded().eval()
    padded.load_state_dict(packing.state_dict())
    torch.testing.assert_close(MaseGraph(padded, example_inputs=inputs).model(**inputs), packing(**inputs))
