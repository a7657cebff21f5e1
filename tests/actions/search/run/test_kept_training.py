"""Searches whose trials are snapshots of a training: measured, killed, resumed, rebuilt, tampered with and refused."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import chop
from chop.actions.search import search
from chop.actions.search.search_space.mixed_precision_ptq import MixedPrecisionPTQ
from chop.actions.search.search_space.trained_networks import TrainedNetworks
from chop.dataset import MaseDataModule
from chop.errors import ConfigError, SearchError
from chop.ir import MaseGraph
from chop.models.checkpoint_file import read_checkpoint, save_tensors
from chop.record.folder import SearchFolder
from tests.actions.search import narrowing
from tests.actions.search.conftest import LAB
from tests.actions.search.killing import trials
from tests.actions.search.narrowing import narrowing_registered  # noqa: F401

SNAPSHOTS = 5


@pytest.fixture
def table(lab: dict[str, Any]) -> dict[str, Any]:
    lab["strategy"] |= {"name": "narrowing_networks", "setup": {"snapshots": SNAPSHOTS}}
    return lab


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, jets: MaseDataModule) -> Path:
    """The folder of an unbroken search."""
    strategy = {**LAB["strategy"], "name": "narrowing_networks", "setup": {"snapshots": SNAPSHOTS}}
    folder = tmp_path_factory.mktemp("whole") / "search_ckpts"
    search(chop.get_model("jsc-tiny", pretrained=True), jets, {**LAB, "strategy": strategy}, folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "search_ckpts"))


def networks(folder: Path) -> dict[str, list[bytes]]:
    """The tensors of each saved network, as bytes."""
    return {
        path.name: [own.numpy().tobytes() for _, own in sorted(load_file(path).items())]
        for path in sorted((folder / "networks").iterdir())
    }


def by_hand(path: Path, width: int, x: torch.Tensor) -> torch.Tensor:
    """The outputs of jsc-tiny with the weights of a file, in fixed point with two bits above the point."""
    own = load_file(path)
    scale = 2.0 ** (width - 2)

    def rounded(values: torch.Tensor) -> torch.Tensor:
        return (values * scale).round().clamp(-(2 ** (width - 1)), 2 ** (width - 1) - 1) / scale

    mean, variance = own["seq_blocks.0.running_mean"], own["seq_blocks.0.running_var"]
    normed = (x - mean) / (variance + 1e-5).sqrt() * own["seq_blocks.0.weight"] + own["seq_blocks.0.bias"]
    hidden = rounded(normed.relu())
    return (hidden @ rounded(own["seq_blocks.2.weight"]).t() + rounded(own["seq_blocks.2.bias"])).relu()


def test_a_trial_is_measured_on_its_own_weights(whole: Path, jets: MaseDataModule) -> None:
    """Accuracies equal those of plain PyTorch on the saved tensors; no two networks have the same weights."""
    x, y = next(iter(jets.batches("val", 512, 512)))
    found = trials(whole)[1:]
    assert [trial["point"] for trial in found] == [{"training/config/snapshot": number} for number in range(SNAPSHOTS)]
    for number, trial in enumerate(found):
        outputs = by_hand(whole / "networks" / f"{number:04d}.safetensors", 8 - number, x)
        hits = (outputs.argmax(1) == y).double()
        accuracy = torch.stack([hits[y == label].mean() for label in y.unique()]).mean()
        assert trial["software_metrics"]["accuracy"] == pytest.approx(float(accuracy), abs=1e-7)
        assert trial["hardware_metrics"]["average_bitwidth"] == 8 - number
    assert len({str(own) for own in networks(whole).values()}) == SNAPSHOTS


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_killed_training_goes_on_to_the_bit(
    at: int,
    table: dict[str, Any],
    jets: MaseDataModule,
    jsc_tiny: nn.Module,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(narrowing, "DIE_AT", at)
    process = multiprocessing.get_context("fork").Process(target=search, args=(jsc_tiny, jets, table, tmp_path / "cut"))
    process.start()
    process.join(120)
    assert process.exitcode == 1
    monkeypatch.setattr(narrowing, "DIE_AT", -1)
    assert len(trials(tmp_path / "cut")) == 1 + at
    before = networks(tmp_path / "cut") if at else {}
    search(jsc_tiny, jets, table, tmp_path / "cut", resume=True)
    assert trials(tmp_path / "cut") == trials(whole)
    assert networks(tmp_path / "cut") == networks(whole)
    assert before.items() <= networks(whole).items()


LOSSES = {
    "the last trials": lambda folder: cut(folder, 3),
    "the state": lambda folder: [cut(folder, 3), (folder / "training.safetensors").unlink()],
    "a network": lambda folder: [cut(folder, 4), (folder / "networks" / "0001.safetensors").unlink()],
    "all networks": lambda folder: [cut(folder, 4), shutil.rmtree(folder / "networks")],
    "what a damaged network holds": lambda folder: [cut(folder, 4), damage(folder / "networks" / "0002.safetensors")],
    "what a damaged state holds": lambda folder: [cut(folder, 3), damage(folder / "training.safetensors")],
    "a network, as another has its name": lambda folder: [
        cut(folder, 4),
        shutil.copy(folder / "networks" / "0002.safetensors", folder / "networks" / "0001.safetensors"),
    ],
    "half of the state": lambda folder: [cut(folder, 2), truncate(folder / "training.safetensors")],
}


def cut(folder: Path, kept: int) -> None:
    """Keep the first trials of a log, and no result file; and the networks of these and of one more."""
    log = folder / "trials.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[: 1 + kept]))
    for file in ("best.json", "log.json", "summary.json"):
        (folder / file).unlink()
    for number in range(kept + 1, SNAPSHOTS):
        (folder / "networks" / f"{number:04d}.safetensors").unlink()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 64
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("what", LOSSES)
def test_what_is_lost_is_trained_again(
    what: str, folder: Path, whole: Path, table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    LOSSES[what](folder)
    search(jsc_tiny, jets, table, folder, resume=True)
    assert trials(folder) == trials(whole)
    assert networks(folder) == networks(whole)


def test_other_ways_of_asking_change_nothing(
    table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, whole: Path, tmp_path: Path
) -> None:
    """Several points at a time, and several processes."""
    table["strategy"]["setup"] |= {"ask_batch": 3, "n_jobs": 2}
    search(jsc_tiny, jets, table, tmp_path / "other")
    assert [own["software_metrics"] for own in trials(tmp_path / "other")[1:]] == [
        own["software_metrics"] for own in trials(whole)[1:]
    ]
    assert networks(tmp_path / "other") == networks(whole)


def test_a_smaller_budget_is_a_prefix_that_can_be_raised(
    table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, whole: Path, tmp_path: Path
) -> None:
    table["strategy"]["setup"]["n_trials"] = 2
    result = search(jsc_tiny, jets, table, tmp_path / "some")
    assert (result.reason, len(result.trials)) == ("n_trials", 2)
    table["strategy"]["setup"]["n_trials"] = 50
    search(jsc_tiny, jets, table, tmp_path / "some", resume=True)
    assert trials(tmp_path / "some") == trials(whole)


def test_a_file_is_the_network_of_its_trial(whole: Path, jets: MaseDataModule) -> None:
    """Loaded onto a network with any weights it predicts as it does by hand."""
    x, _ = next(iter(jets.batches("val", 512, 512)))
    graph = MaseGraph.from_checkpoint(whole / "networks" / "0002.safetensors", chop.get_model("jsc-tiny"))
    graph.model.eval()
    assert torch.allclose(graph.model(x), by_hand(whole / "networks" / "0002.safetensors", 6, x), atol=1e-6)


def test_a_network_of_another_search_is_refused(
    folder: Path, table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path
) -> None:
    search(jsc_tiny, jets, table, tmp_path / "other", seed=1)
    name = Path("networks") / "0001.safetensors"
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(SearchError, match="belongs to another search"):
        _loaded(folder)


def _loaded(folder: Path) -> MaseGraph:
    space = MixedPrecisionPTQ(MaseGraph(chop.get_model("jsc-tiny")), {"default": {"config": {"name": ["NA"]}}})
    return TrainedNetworks(space, SNAPSHOTS, SearchFolder(folder)).network(1)


def test_edited_weights_do_not_pass_for_measured_ones(
    folder: Path, table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module
) -> None:
    """Also with a checksum that was computed anew: figures are measured again before a search goes on."""
    path = folder / "networks" / "0000.safetensors"
    found = read_checkpoint(path)
    save_tensors({name: -own for name, own in found.state_dict.items()}, path, found.metadata)
    table["strategy"]["setup"]["n_trials"] = 50
    with pytest.raises(SearchError, match=r"has a trial with .* now"):
        search(jsc_tiny, jets, table, folder, resume=True)


@pytest.mark.parametrize("name", ["../0001.safetensors", "/etc/passwd", "networks/1.safetensors", "networks/0001.pt"])
def test_only_names_that_a_search_gives_are_opened(name: str, folder: Path) -> None:
    with pytest.raises(SearchError, match="is no file of a search"):
        SearchFolder(folder).network(name)


def test_wrong_combinations_are_refused_before_anything_is_trained(
    table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table["strategy"]["setup"] |= {"ladder": [64]}
    with pytest.raises(ConfigError, match="ladder: has no effect on networks that are trained"):
        search(jsc_tiny, jets, table, tmp_path / "no")
    del table["strategy"]["setup"]["ladder"]
    monkeypatch.setattr(narrowing.Narrowing, "problem", classmethod(lambda cls, options, formats: "needs more layers"))
    with pytest.raises(ConfigError, match="'narrowing_networks' needs more layers"):
        search(jsc_tiny, jets, table, tmp_path / "no")
    monkeypatch.undo()
    monkeypatch.setattr(type(jets.task), "losses", lambda self, outputs, targets: outputs.detach().mean(1))
    with pytest.raises(ConfigError, match="the loss has no gradient"):
        search(jsc_tiny, jets, table, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_trials_of_other_searches_are_no_start(
    folder: Path, table: dict[str, Any], jets: MaseDataModule, jsc_tiny: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match="--init-from has no effect here"):
        search(jsc_tiny, jets, table, tmp_path / "no", init_from=[folder])


def test_a_study_holds_its_networks(tmp_path: Path, jets: MaseDataModule) -> None:
    """Its best network predicts as measured; so does that of a saved copy, and the file on its own."""
    options = {"snapshots": 3}
    model = chop.get_model("jsc-tiny", pretrained=True)
    study = chop.search(
        model, "jsc", formats=["integer"], widths=[4, 8], objectives=["accuracy", "average_bitwidth"],
        strategy=narrowing.NarrowingNetworks, strategy_options=options, num_samples=512,
    )  # fmt: skip
    x, y = next(iter(jets.batches("val", 512, 512)))
    study.save(tmp_path / "kept")
    again = chop.load_study(tmp_path / "kept", model, "jsc")
    for net, other in zip(study, again, strict=True):
        outputs = net.model(x)
        assert (outputs.argmax(1) == y).double().mean() == pytest.approx(net.metrics["accuracy_micro"], abs=1e-9)
        assert torch.equal(other.model(x), outputs)
        path = net.save(tmp_path / f"{net.number}.safetensors")
        assert torch.equal(MaseGraph.from_checkpoint(path, chop.get_model("jsc-tiny")).model.eval()(x), outputs)
    rows = json.loads((tmp_path / "kept" / "best.json").read_text(encoding="utf-8"))
    assert all(row["sampled_config"]["network_file"].startswith("networks/") for row in rows.values())
