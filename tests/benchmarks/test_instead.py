"""The parts of `make bench-instead` that are the repository's own: the plain loop, the judge, answers and tables."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from instead.answer import Answer
from instead.environment import last_line
from instead.exact import COST, Judge, choice_of, exhaustive, searched, surrogate
from instead.plain_loop import Quantiser, search
from instead.problem import NETWORKS, PAIRS, Part, Problem, accuracy, macs_of
from instead.tables import table

optuna.logging.set_verbosity(optuna.logging.WARNING)


def small_problem() -> Problem:
    """Two layers, so 625 networks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    x = torch.randn(300, 4)
    parts = [Part(x[at : at + 100], model(x[at : at + 100]).argmax(1)) for at in (0, 100, 200)]
    return Problem("jsc-mlp", model, *parts, macs=macs_of(model, x[:1]))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return small_problem()


@pytest.fixture(scope="module")
def answers(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Judge]:
    """A folder with answers of chop and of the loop, and the judge."""
    folder = tmp_path_factory.mktemp("answers")
    exhaustive(problem, folder / "table.parquet").write(folder)
    search(problem, seed=0, trials=8, careful=True).write(folder)
    return folder, Judge(folder / "table.parquet")


def test_the_loop_quantises_as_chop_does(problem: Problem) -> None:
    study = searched(problem, strategy="brute_force", n_trials=5, strategy_options={"order": "random"}, progress=False)
    quantised = Quantiser(problem)
    for network in study:
        with torch.no_grad():
            expected = network.model(problem.test.x)
            torch.testing.assert_close(quantised(choice_of(network))(problem.test.x), expected)


def test_a_seed_gives_the_same_trials_of_the_loop_again(problem: Problem) -> None:
    first, again, other = (search(problem, seed, 15, careful=False) for seed in (1, 1, 2))
    assert (first.choices, first.validation) == (again.choices, again.validation)
    assert first.choices != other.choices


def test_a_careful_loop_begins_with_the_uniform_networks(problem: Problem) -> None:
    begun = search(problem, 0, 6, careful=True).choices[:5]
    assert begun == [((width, width),) * 2 for width in (2, 3, 4, 6, 8)]


def test_the_judge_knows_networks_by_their_widths(problem: Problem, answers: tuple[Path, Judge]) -> None:
    _, judge = answers
    for choice in (((2, 8), (6, 3)), ((8, 4), (3, 2))):
        metrics = {name: float(values[judge.index(choice)]) for name, values in judge.oracle.landscape.metrics.items()}
        assert metrics[COST] == problem.bitops(choice)
        expected = accuracy(Quantiser(problem)(choice), problem.validation)
        assert metrics["accuracy_micro"] == pytest.approx(expected, abs=1e-6)


def test_all_networks_reach_the_whole_hypervolume_and_fewer_less(answers: tuple[Path, Judge]) -> None:
    folder, judge = answers
    front = Answer.read(folder / "jsc-mlp-chop-exhaustive-0.json").choices
    assert judge.share(front) == pytest.approx(1)
    assert judge.share(front[:2]) < 1
    shuffled = front[::-1]
    needed = judge.needed(shuffled, 0.9)
    assert needed is not None
    assert judge.share(shuffled[:needed]) >= 0.9 > judge.share(shuffled[: needed - 1])
    assert judge.needed(front[:1], 0.99) is None


def test_the_table_has_a_row_for_each_that_answered(problem: Problem, answers: tuple[Path, Judge]) -> None:
    folder, judge = answers
    lines = table(problem, judge, folder)
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "`chop`, all networks",
        "Optuna loop, careful",
        "FP32",
    ]
    assert lines[2].split("|")[2:5] == [f" {len(PAIRS) ** 2} ", lines[2].split("|")[3], " 100.0 % "]


def test_where_no_network_is_good_enough_the_table_says_none(problem: Problem, answers: tuple[Path, Judge]) -> None:
    folder, judge = answers
    path = folder / "jsc-mlp-optuna-careful-0.json"
    kept = Answer.read(path)
    replace(kept, taken=None, test=None).write(folder)
    assert "| none |" in next(line for line in table(problem, judge, folder) if "Optuna" in line)
    kept.write(folder)
    assert Answer.read(path) == kept


def test_the_default_strategy_tells_when_it_had_each_network(problem: Problem) -> None:
    answer = surrogate(problem, 0, 20)
    assert len(answer.choices) == len(answer.laps) == 20
    assert answer.laps == sorted(answer.laps)
    assert answer.laps[-1] < answer.seconds


def test_a_problem_is_the_same_after_it_was_a_file(tmp_path: Path) -> None:
    model = NETWORKS["shapes-cnn"]().eval()
    part = Part(torch.randn(4, 1, 12, 12), torch.tensor([0, 1, 2, 3]))
    before = Problem("shapes-cnn", model, part, part, part, macs_of(model, part.x[:1]))
    before.save(tmp_path / "problem.pt")
    after = Problem.load(tmp_path / "problem.pt")
    assert after.macs == before.macs == (10368, 31104, 2592, 120)
    torch.testing.assert_close(after.float_model(part.x), model(part.x), rtol=0, atol=0)


def test_a_rival_that_fails_is_named_with_its_last_line() -> None:
    assert last_line("Traceback\nModuleNotFoundError: No module named 'torchvision'\n").startswith(
        "ModuleNotFoundError"
    )
