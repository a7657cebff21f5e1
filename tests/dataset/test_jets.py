"""The simulated jets: what is in the file, how it is split and scaled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chop.dataset import MaseDataModule, get_dataset_info, jets
from chop.errors import DatasetError, UnknownNameError


@pytest.fixture(scope="module")
def parts() -> jets.Parts:
    return jets.load_jets()


def test_parts_are_80_10_10_percent_of_all_rows(parts: jets.Parts) -> None:
    rows = [len(part) for part in (parts.train, parts.val, parts.test)]
    assert rows == [78_104, 9_763, 9_763]
    assert sum(rows) == get_dataset_info("jsc-sim").rows == 97_630


def test_parts_share_no_row(parts: jets.Parts) -> None:
    rows = np.concatenate([part.x.numpy() for part in (parts.train, parts.val, parts.test)])
    assert len(np.unique(rows, axis=0)) == len(np.unique(jets.decoded_jets()[0], axis=0)) == 97_630


def test_training_rows_alone_are_standardised(parts: jets.Parts) -> None:
    x = parts.train.x.double()
    assert torch.allclose(x.mean(0), torch.zeros(16, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(x.std(0, unbiased=False), torch.ones(16, dtype=torch.float64), atol=1e-6)
    assert parts.val.x.mean(0).abs().max() > 1e-4


def test_types_and_labels(parts: jets.Parts) -> None:
    assert parts.train.x.dtype == torch.float32
    assert parts.train.x.shape == (78_104, 16)
    assert parts.train.y.dtype == torch.int64
    assert torch.bincount(parts.train.y).min() > 15_000


def test_the_repeated_feature_stands_in_its_own_column(parts: jets.Parts) -> None:
    x = parts.test.x
    assert torch.equal(x[:, 8], x[:, 6])
    assert all(not torch.equal(x[:, 8], x[:, column]) for column in range(16) if column not in (6, 8))


def test_physics_of_the_decoded_columns() -> None:
    """Figures from the sample's own description: masses at the W, Z and top; multiplicities of gluon and quark."""
    x, y = jets.decoded_jets()
    mass, multiplicity = x[:, 14], x[:, 15]
    for label, peak in ((2, 80.2), (3, 90.7), (4, 172.0)):
        counts, edges = np.histogram(mass[y == label], bins=np.arange(40, 220, 2))
        assert abs(edges[counts.argmax()] + 1 - peak) < 4
    assert multiplicity[y == 0].mean() == pytest.approx(65.9, abs=0.4)
    assert multiplicity[y == 1].mean() == pytest.approx(38.4, abs=0.4)


def test_jsc_is_an_alias_and_the_provenance_says_simulated() -> None:
    info = get_dataset_info("jsc")
    assert info is get_dataset_info("jsc-sim")
    assert "simulated" in info.provenance
    assert "not one of the published" in info.provenance
    assert "\n" not in info.provenance


def test_a_damaged_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jets, "SHA256", "0" * 64)
    jets.decoded_jets.cache_clear()
    with pytest.raises(DatasetError, match="damaged"):
        jets.load_jets()


def test_an_unknown_name_has_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'jsc-sim'"):
        MaseDataModule("jsc-sin", 8)
