"""Next-token scores against torch and Hugging Face, and what a language model refuses."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from chop.errors import ChopError
from chop.scoring.accumulator import held_bytes
from chop.scoring.bounds import bounds
from chop.scoring.language_model import LanguageModel, next_tokens_of_each
from chop.scoring.task import task_class, task_of

OUTPUTS = torch.randn(30, 7, 11, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(11, (30, 7), generator=torch.Generator().manual_seed(1))
LABELS = TOKENS.masked_fill(torch.rand(30, 7, generator=torch.Generator().manual_seed(2)) < 0.4, -100)


def result(outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    found = LanguageModel().accumulator()
    found.update(outputs, targets)
    return found.result()


def test_outputs_are_compared_with_the_next_token_that_has_a_label() -> None:
    loss = F.cross_entropy(OUTPUTS[:, :-1].double().flatten(0, 1), LABELS[:, 1:].flatten(), ignore_index=-100).item()
    right = (OUTPUTS[:, :-1].argmax(2) == LABELS[:, 1:]).sum() / (LABELS[:, 1:] >= 0).sum()
    wanted = {"loss": loss, "perplexity": math.exp(loss), "accuracy_micro": right.item()}
    assert result(OUTPUTS, LABELS) == pytest.approx(wanted, rel=1e-6)


def test_first_targets_and_last_outputs_play_no_part() -> None:
    outputs, targets = OUTPUTS.clone(), LABELS.clone()
    outputs[:, -1], targets[:, 0] = 1e4, 0
    assert result(outputs, targets) == result(OUTPUTS, LABELS)


def test_the_loss_is_that_of_hugging_face() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=11, num_key_value_heads=2, max_position_embeddings=8, **sizes)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        found = model(input_ids=TOKENS, labels=LABELS)
    assert result(found.logits, LABELS)["loss"] == pytest.approx(found.loss.item(), rel=1e-5)


def test_samples_of_other_lengths_count_by_their_tokens_in_bounds() -> None:
    """Early stopping knows the metric when all is seen, and holds it before."""
    found = LanguageModel().accumulator(by_sample=True)
    found.update(OUTPUTS[:20], LABELS[:20])
    seen = found.sample_values()
    assert int(next_tokens_of_each(LABELS).min()) < int(next_tokens_of_each(LABELS).max())
    whole = result(OUTPUTS, LABELS)
    for name, values in seen.items():
        low, high = bounds(values, LABELS, 1e-3)
        assert low < whole[name] < high
    found.update(OUTPUTS[20:], LABELS[20:])
    for name, values in found.sample_values().items():
        assert bounds(values, LABELS, 1e-3) == pytest.approx((whole[name], whole[name]), rel=1e-6)


def test_a_network_without_any_idea_is_as_perplexed_as_there_are_tokens() -> None:
    assert result(torch.zeros(5, 6, 11), TOKENS[:5, :6])["perplexity"] == pytest.approx(11)


def test_shifted_targets_are_refused() -> None:
    text = torch.randint(9, (4, 8))
    with pytest.raises(ChopError, match="one place further on, and the task 'lm' shifts them itself"):
        LanguageModel().require_data(text[:, :-1], text[:, 1:])
    LanguageModel().require_data({"input_ids": text}, text.masked_fill(text == 3, -100))


@pytest.mark.parametrize(
    ("outputs", "targets", "told"),
    [
        (torch.zeros(2, 5), torch.zeros(2, 5).long(), r"\(samples, tokens, vocabulary\)"),
        (torch.zeros(2, 5, 3), torch.full((2, 5), 3), "a target is 3, but the model scores a vocabulary of 3 tokens"),
        (torch.zeros(2, 5, 3), torch.full((2, 5), -1), "a target is -1"),
    ],
)
def test_what_does_not_fit_is_refused(outputs: torch.Tensor, targets: torch.Tensor, told: str) -> None:
    with pytest.raises(ChopError, match=told):
        result(outputs, targets)


def test_translation_and_a_loss_of_the_data_are_refused_by_name() -> None:
    for name in ("tran", "translation"):
        with pytest.raises(ChopError, match=f"task '{name}': translation is not offered"):
            task_class(name)
    with pytest.raises(ChopError, match="the task 'lm' has a loss of its own"):
        task_of("lm", loss=F.cross_entropy)


def test_three_numbers_are_kept_of_a_sample() -> None:
    found = LanguageModel().accumulator(by_sample=True)
    found.update(OUTPUTS, LABELS)
    assert held_bytes(found) == 3 * 8 * len(LABELS)


MEMORY = """
import resource
import torch
from torch import nn
from chop.evaluation.evaluator import Evaluator
from chop.evaluation.measures import Streamed
from chop.evaluation.plan_runner import PlanRunner
from chop.formats import FORMATS
from chop.ir import MaseGraph, QuantPlan
from chop.scoring.language_model import LanguageModel

VOCABULARY, TOKENS = 50_000, 32
task = LanguageModel()
graph = MaseGraph(nn.Sequential(nn.Embedding(VOCABULARY, 4), nn.Linear(4, VOCABULARY)).eval())
axes = [[{"_1": {"weight": FORMATS["integer"](width, width - 1)}} for width in (4, 8)]]

def peak(samples):
    tokens = torch.randint(VOCABULARY, (samples, TOKENS))
    batches = [(own, own) for own in tokens.split(1)]
    one = task.accumulator(by_sample=True)
    for outputs, targets in PlanRunner(graph, batches).stream(QuantPlan()):
        one.update(outputs, targets)
    evaluator = Evaluator(graph, axes, batches, memory=2**25)
    names = [metric.name for metric in task.metrics]
    many = Streamed(task.accumulator, lambda own: own.result(), evaluator.targets, evaluator.program.example, names)
    (scores,) = evaluator.run(torch.tensor([[0], [1]]).numpy(), [many])
    assert len(set(scores["perplexity"])) == 2 and one.result()["perplexity"] > 1_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

_, few, many = peak(3), peak(3), peak(60)
print(many - few)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory in KiB is Linux's")
def test_memory_does_not_grow_with_samples_by_vocabulary() -> None:
    """57 samples more, of 32 tokens by 50,000, are 365 MB of outputs for one network, 730 MB for two."""
    at_once = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}  # what is freed is the system's again
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", cwd=Path(__file__).parents[2], env=at_once
    )
    assert float(done.stdout) < 60
