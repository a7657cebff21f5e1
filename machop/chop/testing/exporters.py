"""The conformance suite of exporters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from chop.dataset import MaseDataModule
from chop.errors import ExportError, FolderError
from chop.exporters import EXPORTERS, Exported, Exporter, ExportNetwork, export
from chop.exporters.manifest import MANIFEST, README
from chop.ir import MaseGraph
from chop.models import get_model
from chop.passes.graph.transforms.absorb_batch_norm import absorb_batch_norm_transform_pass
from chop.passes.graph.transforms.quantize import quantize_transform_pass

Listed = str | tuple[str, Mapping[str, Any]]
WIDTHS = {"name": "integer", "data_in_width": 6, "data_in_frac_width": 3, "weight_width": 5, "weight_frac_width": 4}
LAYER = {"config": {**WIDTHS, "bias_width": 8, "bias_frac_width": 5}}
EXPORTABLE: Mapping[str, Any] = {"by": "type", "linear": LAYER, "batch_norm1d": LAYER}


class ExporterConformance:
    """Subclass it in a test module and list `exporters`; pytest then checks each of them on a small network.

    One is listed as its name, or as a pair of that and its options: `("mine", {"depth": 3})`. Override `config`, the
    formats of the network as `quantize_transform_pass` takes them, for an exporter that takes other formats, and
    `refused`, formats that it must refuse (None: it takes all).
    """

    exporters: ClassVar[Sequence[Listed]] = ()
    config: ClassVar[Mapping[str, Any]] = EXPORTABLE
    refused: ClassVar[Mapping[str, Any] | None] = None

    @staticmethod
    @cache
    def network_with(config_text: str) -> ExportNetwork:
        """The small network that ships, its norm a product and a sum, with formats, and 64 samples to verify it on."""
        data = FewSamples("jsc", batch_size=32)
        data.prepare_data()
        data.setup()
        graph, _ = absorb_batch_norm_transform_pass(MaseGraph(get_model("jsc-tiny", pretrained=True)), {"show": False})
        graph, _ = quantize_transform_pass(graph, json.loads(config_text))
        graph.model.eval()
        return ExportNetwork(graph, data, {"model": "jsc-tiny", "dataset": "jsc"}, {"accuracy": (0.7, 0.6, 0.8)})

    def network(self) -> ExportNetwork:
        """The network that exporters must write."""
        return self.network_with(json.dumps(self.config))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each exporter."""
        if "listed" in metafunc.fixturenames:
            metafunc.parametrize("listed", self.exporters, ids=str)

    def _exported(self, listed: Listed, folder: Path) -> Exported:
        to, options = listed if isinstance(listed, tuple) else (listed, {})
        EXPORTERS[to].require_packages()
        return export(self.network(), to, folder / "out", options)

    def test_is_registered_as_a_subclass(self, listed: Listed) -> None:
        """The exporter is a subclass of `Exporter` with a docstring, which `ch info` prints."""
        to = listed if isinstance(listed, str) else listed[0]
        assert issubclass(EXPORTERS[to], Exporter)
        assert EXPORTERS[to].__doc__

    def test_outputs_equal_the_networks_on_the_whole_test_set(self, listed: Listed, tmp_path: Path) -> None:
        """A verified export is exact, and every output of the test set was compared."""
        found = self._exported(listed, tmp_path)
        if found.not_verified:
            pytest.skip(found.not_verified)
        assert found.is_exact
        whole = sum(wanted.size for _, wanted in self.network().predictions("test"))
        assert all(check.outputs == whole for check in found.checks)

    def test_manifest_holds_the_checksum_of_every_file(self, listed: Listed, tmp_path: Path) -> None:
        """The manifest lists exactly the files that were written, with their SHA-256."""
        folder = self._exported(listed, tmp_path).folder
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
        assert set(manifest["files"]) == files
        assert README in files
        for name, digest in manifest["files"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest

    def test_no_file_names_the_folder_in_which_it_was_written(self, listed: Listed, tmp_path: Path) -> None:
        """An export can be moved: no file contains the path of its folder."""
        folder = self._exported(listed, tmp_path).folder
        naming = [p.name for p in folder.rglob("*") if p.is_file() and str(tmp_path).encode() in p.read_bytes()]
        assert naming == []

    def test_replaces_an_earlier_export_and_nothing_else(self, listed: Listed, tmp_path: Path) -> None:
        """A second export replaces the first; a folder without a manifest is left alone, with an error."""
        self._exported(listed, tmp_path)
        self._exported(listed, tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["out"]
        (tmp_path / "out" / MANIFEST).unlink()
        with pytest.raises(FolderError, match="no export"):
            self._exported(listed, tmp_path)

    def test_network_in_float_or_refused_formats_leaves_nothing(self, listed: Listed, tmp_path: Path) -> None:
        """Formats that the exporter cannot write raise ExportError with the problems, and no file is written."""
        if self.refused is None:
            pytest.skip("the exporter takes all formats")
        to, options = listed if isinstance(listed, tuple) else (listed, {})
        with pytest.raises(ExportError) as caught:
            export(self.network_with(json.dumps(self.refused)), to, tmp_path / "out", options)
        assert caught.value.problems
        assert list(tmp_path.iterdir()) == []


class FewSamples(MaseDataModule):
    """Data whose test set is its first 64 samples."""

    def batches(self, part: str, num_samples: int | None = None, batch_size: int | None = None) -> Any:
        """The first samples of a set."""
        return super().batches(part, min(64, num_samples or 64), batch_size)
