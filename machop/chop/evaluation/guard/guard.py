"""The guard: checks once whether a quantised graph computes what its plan says, by independent means."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from chop.dataset.rows import cut
from chop.errors import ChopError, first_line
from chop.evaluation.guard.findings import Finding, Verdict
from chop.evaluation.guard.masked import masked_findings, missing_value
from chop.evaluation.guard.near_float import near_float, outputs
from chop.evaluation.guard.node_runs import copied
from chop.evaluation.guard.operands import (
    FLOAT_CURE,
    CoarsePlan,
    FloatOperands,
    coarse_plans,
    float_operands,
    operand_findings,
)
from chop.evaluation.guard.two_ways import plan_runner, two_ways_findings
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import BlockFP, Format, Integer
from chop.ir import MaseGraph, QuantPlan
from chop.ir.calibration import Slot
from chop.ir.graph.inputs import placeholder_keywords, to_device
from chop.passes.graph import calibrate_analysis_pass
from chop.tools.logger import get_logger

logger = get_logger(__name__)

SlotFormats = Mapping[Slot, Sequence[Format]]
"""The formats that may be chosen for each operand of each node."""

SAMPLES = 2


def require_sound(graph: MaseGraph, x: Any, formats: SlotFormats | None = None) -> None:
    """Raise GraphError, naming node, operand and cure, if `guard_verdict` finds a fault; log what is unchecked."""
    verdict = guard_verdict(graph, x, formats)
    for line in verdict.unchecked:
        logger.info("not checked: %s", line)
    verdict.require()


def guard_verdict(graph: MaseGraph, x: Any, formats: SlotFormats | None = None) -> Verdict:
    """Check a quantised graph on the first two samples of `x`.

    Each operand must be on its grid when it is read, and formats that hardly round must leave the outputs as they are.

    `formats` are those that may be chosen for each operand of each node, `{(node, operand): [format, …]}`; None stands
    for all operands, with fixed point and blocks. `graph` is not changed. Checked are, under coarse fixed-point plans,
    the arguments that torch's own functions receive and the outputs of `PlanRunner`, and under the widest formats the
    outputs.
    """
    verdict = Verdict()
    with torch.random.fork_rng(), torch.no_grad():
        try:
            own = copy.deepcopy(graph)
            own.apply_plan(QuantPlan())
            few, why = _samples(own, x)
            if few is not None:
                own.observe(few)
        except Exception as error:  # of the model's own code
            few, why = None, first_line(error)
        if few is None:
            verdict.unchecked.append(f"whether formats do what they say, since {why}")
        else:
            usual = all_slots(own)
            chosen = usual if formats is None else {slot: known for slot, known in formats.items() if slot in usual}
            _collect(verdict, own, few, chosen)
    return verdict


def formats_of(plan: QuantPlan) -> SlotFormats:
    """The formats of a plan, as the guard takes them."""
    return {(name, operand): [chosen] for name, own in plan.choices for operand, chosen in own}


def all_slots(graph: MaseGraph) -> SlotFormats:
    """Every operand of every quantisable node, with a common format of each kind."""
    usual = (Integer(8, "auto"), Integer(8, 3), BlockFP(width=8, exponent_width=8, block_size=(1, 16)))
    return {(name, operand): usual for name, op in graph.quantizable_nodes().items() for operand in op.operands}


def _collect(verdict: Verdict, graph: MaseGraph, x: Any, formats: SlotFormats) -> None:
    """Add to the verdict what every check finds, a fault at one slot once."""
    known, unseen = float_operands(graph, x, {name for name, _ in formats})
    verdict.unchecked += [f"what node '{name}' calls, which cannot be told from its roundings" for name in unseen]
    if missing := missing_value(graph, known, formats):
        verdict.findings.append(missing)
        return
    found: dict[Slot, Finding] = {}
    for finding in _operand_findings(graph, x, known, formats):
        found.setdefault((finding.node, finding.operand), finding)
    verdict.findings += found.values()
    if not found:  # else nothing is to be said of the outputs
        hardly = near_float(graph, x, formats)
        verdict.findings += hardly.findings
        verdict.unchecked += hardly.unchecked


def _operand_findings(graph: MaseGraph, x: Any, known: FloatOperands, formats: SlotFormats) -> Iterator[Finding]:
    """What differs from coarse plans, and masks that leak; the graph is calibrated from then on, and in float."""
    runner = plan_runner(graph, x)
    for coarse in coarse_plans(graph, known, formats):
        yield from _under_plan(graph, x, coarse, runner)
    graph.apply_plan(QuantPlan())
    seen = placeholder_keywords(graph, copied(x))
    calibrate_analysis_pass(graph, {"input_generator": [seen], "num_samples": 10**6})
    yield from masked_findings(graph, x, known, formats)
    graph.apply_plan(QuantPlan())


def _under_plan(graph: MaseGraph, x: Any, coarse: CoarsePlan, runner: PlanRunner) -> Iterator[Finding]:
    names = {name for name, _ in coarse.grids}
    ops = {name: op for name, op in graph.quantizable_nodes().items() if name in names}
    try:
        graph.apply_plan(coarse.plan)
        yield from operand_findings(graph, x, coarse, ops)
    except Exception as error:  # of the model's own code, or a refusal
        why = str(error) if isinstance(error, ChopError) else first_line(error)
        yield Finding(min(names), "", f"the graph does not run with fixed-point operands: {why}", FLOAT_CURE)
        return
    yield from two_ways_findings(graph, x, runner, coarse.plan)


def _samples(graph: MaseGraph, x: Any) -> tuple[Any, str]:
    """Two samples of `x`, or all of it for a model that takes no two; None, and why, where nothing can be compared."""
    device = str(next((tensor.device for tensor in graph.model.parameters()), "cpu"))
    for few in (to_device(cut(x, 0, SAMPLES), device), to_device(x, device)):
        try:
            first, again = outputs(graph, few), outputs(graph, few)
        except Exception as error:  # of the model's own code
            why = f"the model does not run on {SAMPLES} samples ({first_line(error)})"
            continue
        if all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, again, strict=True)):
            return few, ""
        return None, "the model gives other results each time"
    return None, why
