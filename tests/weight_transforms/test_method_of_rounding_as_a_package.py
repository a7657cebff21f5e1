"""A method of rounding in a package of its own, which is fitted to what layers read: found through its entry point."""

from __future__ import annotations

from pathlib import Path

from tests.weight_transforms.test_transform_as_a_package import run

MODULE = '''
from dataclasses import dataclass, replace
from typing import ClassVar

from chop.weight_transforms import WeightTransform


@dataclass(frozen=True)
class Stretched(WeightTransform):
    """Stretches weights, by the best of some factors, before they are rounded."""

    context_fields: ClassVar = frozenset({"sums", "factor"})
    stretched: float
    sums: bool = True
    factor: float | None = None

    def __str__(self):
        return f"stretched by {self.stretched:g}"

    def apply(self, weights):
        return weights

    def round(self, weights, rounding):
        return rounding(weights * (self.factor or 1.0))

    is_identity = property(lambda self: not self.sums)
    needs_format = needs_inputs = property(lambda self: True)
    is_measured = property(lambda self: self.factor is None)

    def fitted(self, unrounded):
        def error(factor):
            change = unrounded.rounded(unrounded.start * factor) - unrounded.weights
            return float(unrounded.inputs.summands.errors(change).sum())

        if unrounded.then is None:
            return replace(self, factor=1.0)
        return replace(self, factor=min((1 - self.stretched, 1.0, 1 + self.stretched), key=error))
'''
SUITE = """
from chop.testing import WeightTransformConformance
from chop_stretched import Stretched

class TestStretched(WeightTransformConformance):
    transforms = [Stretched(0.1), Stretched(0.25)]
"""
USE = """
import sys, pytest, chop
from chop.ir import MaseGraph
model = chop.get_model("jsc-toy", pretrained=True)
space = chop.Space("integer", [3], weight_stretched=[0.1, 0.25])
study = chop.search(model, "jsc", space, objectives=["accuracy"], strategy="brute_force", num_samples=512)
graph = study.best().graph
factors = {own.factor for node in graph.plan for own in getattr(graph.plan[node]["weight"], "transforms", ())}
graph.export("graph.safetensors", {"model": "jsc-toy"})
assert MaseGraph.from_checkpoint("graph.safetensors").plan == graph.plan
print(len(study), factors <= {0.75, 0.9, 1.0, 1.1, 1.25}, "stretched by" in str(study))
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "test_chop_stretched.py"]))
"""


def test_it_is_fitted_searched_saved_and_conforms(tmp_path: Path) -> None:
    (tmp_path / "chop_stretched.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "test_chop_stretched.py").write_text(SUITE, encoding="utf-8")
    facts = tmp_path / "chop_stretched-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: chop-stretched\nVersion: 1.0\n", encoding="utf-8")
    point = "[chop.weight_transforms]\nstretched = chop_stretched:Stretched\n"
    (facts / "entry_points.txt").write_text(point, encoding="utf-8")
    done = run(tmp_path, "-c", USE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 True True\n" in done.stdout
