"""Whole circuits of networks that a search found, compared with them on the test set; results are kept on the disk."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256

from lut_fronts.commands import FOLDER

from chop.actions.search.strategies.runners.kept_results import KeptResults
from chop.api.network import Network
from chop.api.study import Study
from chop.circuits import circuit_facts
from chop.dataset import MaseDataModule


def whole_circuit(study: Study, network: Network, data: MaseDataModule) -> dict[str, float]:
    """What alkaid states of the whole circuit (`luts`, `cycles`, `flip_flops` …), and its accuracy on the test set."""
    results = KeptResults(FOLDER / "circuits.sqlite")
    key = f"{sha256((study.folder / 'best.json').read_bytes()).hexdigest()} {network.number}"
    found = results.get(key)
    if found is None:
        facts = circuit_facts(network.graph, data, part="test")
        found = {name: float(value) for name, value in asdict(facts.costs).items()}
        found |= {"accuracy": facts.accuracy, "differing": float(facts.differing), "outputs": float(facts.outputs)}
        results.put(key, found)
    return found


def data_of(name: str) -> MaseDataModule:
    """A data set, ready."""
    data = MaseDataModule(name, batch_size=1024)
    data.prepare_data()
    data.setup()
    return data
