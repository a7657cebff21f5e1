"""What single pages promise beside the output that they show: figures, files."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.docs.pages import PageRun


def three_bits_recover_by_training(run: PageRun) -> None:
    (outputs,) = [text for block, text in run.printed if "jsc_mlp_quantise" in block.text]
    scores = [float(found) for found in re.findall(r"accuracy +(0\.\d+) +\[", outputs)]
    assert scores[0] == pytest.approx(0.319, abs=0.01)
    assert scores[-1] == pytest.approx(0.698, abs=0.02)


def a_circuit_equals_its_network(run: PageRun) -> None:
    (facts,) = [text for block, text in run.printed if "circuit_facts" in block.text]
    luts, fused, *_, differing = map(float, facts.split())
    assert luts > fused > 0 == differing


def weights_are_trained_for_the_space(run: PageRun) -> None:
    commands, example, *_, facts = (text for _, text in run.printed)
    assert "before: accuracy of 16 probes" in commands
    assert "trained for" in example
    assert "trained for a space" in facts and re.search(r"networks, epoch 1", facts)
    assert re.search(r"offsets for formats\W+yes", facts)
    report = run.folder / "mase_output" / "jsc-mlp-for-space" / "software" / "search_ckpts" / "report.md"
    assert "trained for this search space (16 networks" in report.read_text(encoding="utf-8")


def the_network_is_saved(run: PageRun) -> None:
    assert "accuracy" in run.ch("test", "jsc-tiny", "jsc", "--load", "mine.safetensors")[0]


def a_small_report_is_small(run: PageRun) -> None:
    assert (run.folder / "mase_output" / "small.html").stat().st_size < 400_000
    assert (run.folder / "mase_output" / "figures" / "front_single.pdf").is_file()


def no_output_of_an_export_differs(run: PageRun) -> None:
    examples = [text for block, text in run.printed if block.language == "python"]
    assert sum("0 of 48,815" in text for text in examples) == 2


def a_transformed_network_scores_as_its_trial(run: PageRun) -> None:
    """The page ends with the test of the file that `ch transform` wrote."""
    (text,) = [block.text for block, _ in run.printed if block.language == "console"]
    (transform,) = [line.split()[3:] for line in text.splitlines() if "ch transform" in line]
    (scores,) = (run.folder / "mase_output").glob("*/software/test/scores.json")
    of_file = scores.read_text(encoding="utf-8")
    run.ch("test", *transform)
    assert scores.read_text(encoding="utf-8") == of_file


CHECKS: dict[str, Callable[[PageRun], None]] = {
    "docs/concepts/circuits.md": a_circuit_equals_its_network,
    "docs/how_to/export.md": no_output_of_an_export_differs,
    "docs/how_to/hugging_face.md": a_transformed_network_scores_as_its_trial,
    "docs/how_to/language_model.md": a_transformed_network_scores_as_its_trial,
    "docs/how_to/report.md": a_small_report_is_small,
    "docs/how_to/training.md": weights_are_trained_for_the_space,
    "docs/how_to/use_the_network.md": the_network_is_saved,
    "docs/reference/search.md": three_bits_recover_by_training,
}
