"""The frame of every export: refusal, verification, manifest, a folder that is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import chop
from chop.errors import ExportError, FolderError, UnknownNameError
from chop.exporters import EXPORTERS, Check, Exporter, ExportNetwork, export
from chop.exporters.base import Written
from chop.testing.exporters import ExporterConformance


@dataclass(frozen=True)
class Depth:
    """Options of the exporter below."""

    error: float = 0.0
    depth: int = 1


class Arrays(Exporter):
    """Writes the outputs themselves, which only a test wants."""

    Options = Depth

    def problems(self, network: ExportNetwork) -> list[str]:
        return [] if list(network.graph.plan) else ["the whole network: in float; choose formats"]

    def write(self, network: ExportNetwork, folder: Path) -> Written:
        outputs = np.concatenate([found for _, found in network.predictions()])
        np.save(folder / "outputs.npy", outputs + self.options.error)
        return Written({"depth": self.options.depth}, "Load `outputs.npy`.", ("a note",))

    def checks(self, network: ExportNetwork, folder: Path) -> Iterator[Check]:
        found, start = np.load(folder / "outputs.npy"), 0
        pairs = []
        for _, wanted in network.predictions():
            pairs.append((found[start : start + len(wanted)], wanted))
            start += len(wanted)
        yield Check.of("numpy", pairs)


@pytest.fixture(autouse=True)
def _registered() -> None:
    EXPORTERS.register("arrays")(Arrays)


class TestArrays(ExporterConformance):
    exporters: ClassVar = ("arrays", ("arrays", {"depth": 2}))
    refused: ClassVar = {"by": "type"}


def network() -> ExportNetwork:
    return TestArrays().network()


def test_a_difference_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--allow-differences") as caught:
        export(network(), "arrays", tmp_path / "out", {"error": 0.5})
    assert caught.value.problems == ("numpy: 320 of 320 outputs differ, by at most 0.5", "note: a note")
    assert list(tmp_path.iterdir()) == []


def test_a_difference_that_is_allowed_is_in_manifest_and_readme(tmp_path: Path) -> None:
    found = export(network(), "arrays", tmp_path / "out", {"error": 0.5}, allow_differences=True)
    assert not found.is_exact
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["checks"][0]["differing"] == 320
    assert manifest["facts"] == {"depth": 1}
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "320 of 320 outputs differ" in readme
    assert "a note" in readme
    assert "0.6000 to 0.8000" in readme


def test_a_failed_export_leaves_the_earlier_one(tmp_path: Path) -> None:
    export(network(), "arrays", tmp_path / "out")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    with pytest.raises(ExportError):
        export(network(), "arrays", tmp_path / "out", {"error": 0.5})
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(("options", "told"), [({"dept": 1}, "depth"), ({"depth": "two"}, "depth")])
def test_wrong_options_name_the_right_ones(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=told):
        export(network(), "arrays", tmp_path / "out", options)


def test_unknown_exporter_has_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="arrays"):
        export(network(), "array", tmp_path / "out")


def test_a_missing_package_names_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrays, "modules", ("no_such_package",))
    monkeypatch.setattr(Arrays, "extra", "onnx")
    with pytest.raises(ExportError, match=r"chop-search\[onnx\]"):
        export(network(), "arrays", tmp_path / "out")


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FolderError, match="no export"):
        export(network(), "arrays", tmp_path)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_checks_count_what_differs() -> None:
    nan, inf = np.nan, np.inf
    check = Check.of("tool", [(np.array([1.0, nan, 2.0, inf]), np.array([1.0, nan, 2.5, 0.0]))])
    assert (check.outputs, check.differing, check.largest) == (4, 2, inf)


def test_network_of_a_study_is_exported(tmp_path: Path) -> None:
    model = chop.get_model("jsc-tiny", pretrained=True)
    study = chop.search(model, "jsc", formats=["integer"], widths=[4, 8], objectives=["accuracy"], n_trials=2)
    found = study.best(max_drop=1.0).export("arrays", tmp_path / "out")
    assert found.is_exact
    assert found.checks[0].outputs == 48_815
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# Blocks as arrays")
    assert "of a search from Python" in readme


def test_an_option_of_another_exporter_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(network(), "qonnx", tmp_path / "out", {"weights_only": True})
    assert caught.value.problems[0].endswith("(an option of onnx)")
