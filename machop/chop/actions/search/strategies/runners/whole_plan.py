"""Base of slow runners: they measure the plan of a whole network at once, and keep their results in a file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import nn

from chop.actions.search.strategies.runners.base import RunnerBase, as_columns, calibrated_graph
from chop.actions.search.strategies.runners.kept_results import KeptResults
from chop.actions.search.strategies.runners.protocols import Plans
from chop.evaluation.measures import Scores
from chop.ir import MaseGraph, QuantPlan
from chop.passes.graph.transforms.quantize import plan_from_config
from chop.tools.value_digest import code_digest, value_digest


@dataclass(frozen=True)
class WholePlanOptions:
    """`kept_in`: a file in which results are kept from one search to the next (absent: in none)."""

    kept_in: str = ""


class WholePlanRunner(RunnerBase):
    """Metrics of a plan as a whole, which may take long, as synthesis does; the network is not run.

    Results are kept, where the options name a file, by all that decides them: the plan, weights and layers of the
    network, options, and the code of the runner with its `definition`.
    """

    needs = "plan"
    Options: ClassVar[type[Any]] = WholePlanOptions

    @abstractmethod
    def measure_plan(self, network: MaseGraph, plan: QuantPlan) -> dict[str, float]:
        """The metrics of a plan, its ranges measured already, for a network that is left as it is."""

    def measure_batch(self, plans: Plans) -> Scores:
        return as_columns([self._kept(plans.network, plan) for plan in plans.plans()])

    def _kept(self, network: MaseGraph, plan: QuantPlan) -> dict[str, float]:
        frozen = network.measured(plan)
        if not self.options.kept_in:
            return self.measured(self.measure_plan, network, frozen)
        results, key = KeptResults(self.options.kept_in), self._key(network, frozen)
        found = results.get(key)
        if found is None or found.keys() != self._declared:
            found = self.measured(self.measure_plan, network, frozen)
            results.put(key, found)
        return found

    def _key(self, network: MaseGraph, plan: QuantPlan) -> str:
        if self._digest is None or self._digest[0] is not network:
            layers = [repr(network.model), network.model.code, dict(sorted(network.model.state_dict().items()))]
            self._digest = network, value_digest(layers)
        options = {name: value for name, value in asdict(self.options).items() if name != "kept_in"}
        return value_digest([self._digest[1], code_digest(type(self)), self.definition, options, plan])

    _digest: tuple[MaseGraph, str] | None = None

    def __call__(
        self, data_module: Any, model: MaseGraph | nn.Module, sampled_config: Mapping[str, Any]
    ) -> dict[str, float]:
        graph = calibrated_graph(model, sampled_config, data_module)
        return self._kept(graph, plan_from_config(graph, sampled_config))
