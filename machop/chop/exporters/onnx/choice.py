"""Chooses the form in which a network is written: of those that are exact, the one that runs fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from chop.errors import ExportError, first_line
from chop.exporters.base import Check, ExportNetwork
from chop.exporters.onnx.lowering import in_float, lowered
from chop.exporters.onnx.rounding import FORMS
from chop.exporters.onnx.runtime import DEFAULT, WAYS, Feeds, Session, feeds_of, ratios, run, session_of
from chop.exporters.onnx.skeleton import Skeleton

SAMPLES = 512
"""Samples on which the forms are compared before one is chosen; the whole test set checks what is written."""

BATCH = 64
FLOAT = "float"


@dataclass(frozen=True)
class Candidate:
    """A model in one form: how many outputs differ in the worst way to run it, and its speed beside float.

    `failure` says why ONNX Runtime does not run it, empty where it does; `speed` is 0 then.
    """

    form: str
    model: onnx.ModelProto
    differing: int = 0
    speed: float = 0.0
    failure: str = ""

    def __str__(self) -> str:
        if self.failure:
            return f"{self.form}: does not run ({self.failure})"
        return f"{self.form}: {self.differing:,} outputs differ, {self.speed:.2f} times as fast as float"


def candidates(network: ExportNetwork, skeleton: Skeleton, forms: Sequence[str], tolerance: float) -> list[Candidate]:
    """The model in each of the forms, tried on samples of the test set."""
    pairs = list(network.predictions("test", SAMPLES))
    found, sessions = [], {FLOAT: session_of(in_float(skeleton).SerializeToString())}
    for name in forms:
        model = lowered(skeleton, FORMS[name])
        try:
            tried = {way: session_of(model.SerializeToString(), way) for way in WAYS}
            checks = [_check(network, way, own, pairs, tolerance) for way, own in tried.items()]
        except Exception as error:  # of ONNX Runtime, which has no type of its own
            found.append(Candidate(name, model, failure=first_line(error)))
            continue
        found.append(Candidate(name, model, max(own.differing for own in checks)))
        sessions[name] = tried[DEFAULT]
    speeds = ratios(sessions, _batch(network, sessions[FLOAT], pairs), FLOAT)
    return [_with_speed(own, speeds.get(own.form, 0.0)) for own in found]


def best(found: Sequence[Candidate]) -> Candidate:
    """The fastest of the candidates with the fewest differences; raises ExportError where none runs."""
    running = [own for own in found if not own.failure]
    if not running:
        raise ExportError("ONNX Runtime runs the network in no form:", [str(own) for own in found])
    return min(running, key=lambda own: (own.differing, -own.speed))


def _check(network: ExportNetwork, way: str, session: Session, pairs: Sequence[Any], tolerance: float) -> Check:
    results = ((run(session, feeds_of(session, network.graph, x)), wanted) for x, wanted in pairs)
    return Check.of(way, results, tolerance=tolerance)


def _batch(network: ExportNetwork, session: Session, pairs: Sequence[Any]) -> Feeds:
    """The first samples, as many as are measured at a time."""
    feeds = feeds_of(session, network.graph, pairs[0][0])
    samples = len(pairs[0][1])
    return {name: own[:BATCH] if own.ndim and len(own) == samples else own for name, own in feeds.items()}


def _with_speed(own: Candidate, speed: float) -> Candidate:
    return Candidate(own.form, own.model, own.differing, speed, own.failure)
