"""The key of an exhaustive table: the measurement of batch norms counts where a search measures any."""

from __future__ import annotations

from chop.record.landscape_key import LANDSCAPE_PARTS, NORM_MEASUREMENT, digest, landscape_key

FINGERPRINT = {name: name for name in LANDSCAPE_PARTS if name != NORM_MEASUREMENT}


def test_a_search_without_measured_norms_has_the_key_that_it_had_before_the_measurement_was_a_part() -> None:
    assert landscape_key(FINGERPRINT) == digest(list(FINGERPRINT.values()))


def test_norms_that_are_measured_otherwise_have_another_key() -> None:
    keys = {landscape_key(FINGERPRINT | {NORM_MEASUREMENT: how}) for how in ("in one way", "in another")}
    assert len({landscape_key(FINGERPRINT), *keys}) == 3
