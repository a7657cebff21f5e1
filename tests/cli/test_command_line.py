"""The `ch` command as a user types it; in a process of its own where that is what counts."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from chop.cli.main import _Group, app
from chop.cli.options_table import options_table
from chop.config.run_config import load_run_config
from chop.exporters import EXPORTERS
from chop.record.folder import SearchFolder
from chop.report.search_progress import ComparisonProgress
from chop.scoring.task import TASKS
from tests.conftest import Command

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "machop" / "configs" / "examples"
LAB = str(EXAMPLES / "jsc_toy_by_type.toml")
BRUTE_FORCE = str(EXAMPLES / "jsc_tiny_brute_force.toml")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "machop"), "OMP_NUM_THREADS": "1"}


def start(*arguments: str, folder: Path, code: str = "") -> subprocess.Popen[str]:
    """`ch` in a process of its own; `code` runs in place of it."""
    return subprocess.Popen(
        [sys.executable, *(("-c", code) if code else ("-m", "chop.cli")), *arguments],
        cwd=folder,
        env={**ENVIRONMENT, "COLUMNS": "120"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def trials(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    kept = [json.loads(line) for line in lines]
    return [{key: value for key, value in row.items() if key not in ("seconds", "sha256")} for row in kept]


@pytest.mark.parametrize("trains", [False, True])
def test_table_of_options_has_those_that_the_command_uses(trains: bool) -> None:
    config = load_run_config(Path(LAB), {"seed": 3, "max_epochs": 4})
    shown = list(options_table(config, trains).columns[0].cells)
    assert {"model", "seed"} <= set(shown)
    assert ("max_epochs" in shown) == trains


def test_train_search_test_and_resume(tmp_path: Path, ch: Command) -> None:
    ch("train", "jsc-tiny", "jsc", "--max-epochs", "1", "--batch-size", "512", "--project", "mine")
    weights = str(next((tmp_path / "mase_output/mine").rglob("best.ckpt")))
    out, _ = ch("search", "--config", LAB, "--load", weights, "--project", "mine", "--seed", "1")
    assert "Pareto front" in out
    found = tmp_path / "mase_output/mine/software/search_ckpts"
    best = json.loads((found / "best.json").read_text(encoding="utf-8"))["0"]
    out, _ = ch("test", "--from-search", str(found), "--trial", str(best["number"]))  # as for export; --row is the same
    rows = dict(re.findall(r"^ (\w+) +(\S+) +\S+ *$", out, re.MULTILINE))
    for name, value in {**best["software_metrics"], **best["hardware_metrics"]}.items():
        assert float(rows[name]) == pytest.approx(value, rel=1e-9)
    for action in ("test", "transform"):
        _, err = ch(action, "toy", "--from-search", str(found), "--trial", str(best["number"]), status=2)
        assert "and not 'toy': leave it out" in " ".join(err.split())
    before = trials(found)
    arguments = ("search", "--config", LAB, "--load", weights, "--project", "mine", "--seed", "1", "--resume")
    ch(*arguments)
    assert trials(found) == before
    assert len(before) == 20
    config = (found / "resolved.toml").read_text(encoding="utf-8")
    ch(*arguments, "--seed", "2", status=1)
    assert (found / "resolved.toml").read_text(encoding="utf-8") == config


def test_a_row_that_was_given_up_or_failed_is_tested_by_what_the_search_knows_of_it(
    tmp_path: Path, ch: Command
) -> None:
    text = (
        Path(BRUTE_FORCE)
        .read_text(encoding="utf-8")
        .replace("[search.strategy.setup]\n", "[search.strategy.setup]\nladder = [128]\n")
    )
    (tmp_path / "ladder.toml").write_text(text.rstrip() + "\naverage_bitwidth.max = 3.4\n", encoding="utf-8")
    ch("search", "--config", "ladder.toml", "--pretrained", "--project", "p")
    found = Path("mase_output/p/software/search_ckpts")
    log = json.loads((tmp_path / found / "log.json").read_text(encoding="utf-8"))
    given_up = next(row["number"] for row in log.values() if "stopped_at" in row)
    out, _ = ch("test", "--from-search", str(found), "--row", str(given_up))
    assert "on 128 rows" in out
    files = SearchFolder(tmp_path / found)
    rows, best = files.rows(), {row["number"] for row in files.rows("best.json")}
    failed = next(row for row in rows if row["number"] not in best and "stopped_at" not in row)
    failed |= {"failed": "loss is nan", "software_metrics": {}, "hardware_metrics": {}}
    files.write_log(rows)
    out, err = ch("test", "--from-search", str(found), "--row", str(failed["number"]))
    assert "has no metrics to compare with: it failed in the search (loss is nan)" in " ".join(err.split())
    assert "test set" in out


def test_a_refused_search_moves_no_earlier_one_aside(tmp_path: Path, ch: Command) -> None:
    ch("search", "--config", BRUTE_FORCE, "--pretrained", "--project", "p")
    text = (
        Path(BRUTE_FORCE)
        .read_text(encoding="utf-8")
        .replace(".basic_evaluation]\ndata_loader", ".basic_train]\ndata_loader")
    )
    text = text.replace("num_samples = 512", "").replace("n_jobs = 1", "most_model_runs = 5")
    (tmp_path / "refused.toml").write_text(text, encoding="utf-8")
    before = sorted(path.name for path in (tmp_path / "mase_output/p/software").iterdir())
    _, err = ch("search", "--config", "refused.toml", "--pretrained", "--project", "p", status=1)
    assert "a runner must run the model itself" in " ".join(err.split())
    assert sorted(path.name for path in (tmp_path / "mase_output/p/software").iterdir()) == before


def test_a_row_taken_along_keeps_its_accuracy(tmp_path: Path, ch: Command) -> None:
    ch("search", "--config", BRUTE_FORCE, "--pretrained", "--project", "p")
    found = tmp_path / "mase_output/p/software/search_ckpts"
    row = json.loads((found / "best.json").read_text(encoding="utf-8"))["0"]
    ch("transform", "--from-search", str(found), "--row", str(row["number"]))
    graph = str(tmp_path / "mase_output/p/software/transform/graph.safetensors")
    ch("test", "jsc-tiny", "jsc", "--load", graph, "--project", "p")
    scores = json.loads((tmp_path / "mase_output/p/software/test/scores.json").read_text(encoding="utf-8"))
    for name, interval in row["test_metrics"].items():
        assert scores[name] == interval


def test_a_tuned_row_is_tested_and_taken_along(tmp_path: Path, ch: Command) -> None:
    search = ("search", "--config", BRUTE_FORCE, "--pretrained", "--project", "p")
    out, _ = ch(*search, "--finish-epochs", "1")
    assert "untuned accuracy" in " ".join(out.split()) and "1 epoch from the weights of the search" in out
    found = tmp_path / "mase_output/p/software/search_ckpts"
    best = json.loads((found / "best.json").read_text(encoding="utf-8")).values()
    row = next(row for row in best if "finished" in row)
    tuned, place = row["finished"], ("--from-search", str(found), "--row", str(row["number"]))
    for more, figures in (((), tuned), (("--untuned",), row)):
        assert f"{figures['software_metrics']['accuracy']:.10g}" in ch("test", *place, *more)[0]
        scores = json.loads((tmp_path / "mase_output/p/software/test/scores.json").read_text(encoding="utf-8"))
        assert {name: scores[name] for name in figures["test_metrics"]} == figures["test_metrics"]
    ch("transform", *place)
    graph = tmp_path / "mase_output/p/software/transform/graph.safetensors"
    for path in (graph, found / tuned["graph"]):
        ch("test", "jsc-tiny", "jsc", "--load", str(path), "--project", "p")
        scores = json.loads((tmp_path / "mase_output/p/software/test/scores.json").read_text(encoding="utf-8"))
        assert {name: scores[name] for name in tuned["test_metrics"]} == tuned["test_metrics"]
    ch(*search, "--resume", "--finish-epochs", "2")
    assert "max_epochs = 2" in (found / "resolved.toml").read_text(encoding="utf-8")
    _, err = ch(*search, "--resume")
    assert "holds tuned networks, which are left out" in " ".join(err.split())
    ch(*search, "--finish-epochs", "0", status=2)
    ch("test", "jsc-tiny", "jsc", "--untuned", status=2)


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_search_that_is_cut_off_goes_on_to_the_same_trials(how: signal.Signals, tmp_path: Path, ch: Command) -> None:
    config = tmp_path / "big.toml"
    config.write_text(
        (EXAMPLES / "jsc_toy_brute_force.toml").read_text(encoding="utf-8").replace("[search.strategy.setup]", SETUP),
        encoding="utf-8",
    )
    whole = ("search", "--config", str(config), "--pretrained", "--project")
    ch(*whole, "unbroken")
    process = start(*whole, "broken", folder=tmp_path, code=SIGNALLED.format(how=int(how)))
    out, err = process.communicate(timeout=600)
    log = tmp_path / "mase_output/broken/software/search_ckpts/trials.jsonl"
    assert log.read_bytes().count(b"\n") == 41
    assert "Traceback" not in err
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert how == signal.SIGKILL or "--resume" in out
    ch(*whole, "broken", "--resume")
    assert trials(log.parent) == trials(tmp_path / "mase_output/unbroken/software/search_ckpts")


SETUP = "[search.strategy.setup]\nn_trials = 300"
SIGNALLED = """
import os
from chop.cli.main import main
from chop.record.json_lines import JsonLines

append, rows = JsonLines.append, []


def append_and_signal(log, row):
    append(log, row)
    rows.append(row)
    if len(rows) == 40:
        os.kill(os.getpid(), {how})


JsonLines.append = append_and_signal
main()
"""
"""`ch` that gets a signal once it has written 40 lines of a log."""


def test_a_search_goes_on_from_the_one_before_it_and_to_optuna(tmp_path: Path, ch: Command) -> None:
    search = ("search", "--config", LAB, "--pretrained", "--project", "p")
    found = "mase_output/p/software/search_ckpts"
    ch(*search)
    out, _ = ch(*search, "--seed", "2", "--init-from", found)
    assert "more from earlier searches" in out
    again, _ = ch(*search, "--seed", "2", "--init-from", found, "--resume")
    assert re.findall("tpe: .*", again) == re.findall("tpe: .*", out) != []
    out, _ = ch("export-optuna", found, "--storage", "sqlite:///study.db")
    assert f"{len(trials(tmp_path / found))} trials are in the study 'p'" in out
    ch(*search, "--init-from", "sqlite:///study.db#p")


def test_all_wrong_keys_are_told_at_once_with_their_lines(tmp_path: Path, ch: Command) -> None:
    text = Path(LAB).read_text(encoding="utf-8")
    for right, wrong in (("batch_size =", "batch_sise ="), ("n_trials", "n_trails"), ("num_samples", "num_sample")):
        text = text.replace(right, wrong)
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    _, err = ch("search", "--config", "wrong.toml", "--pretrained", status=2)
    lines = text.splitlines()
    for wrong, right in (("batch_sise", "batch_size"), ("n_trails", "n_trials"), ("num_sample", "num_samples")):
        number = next(i for i, line in enumerate(lines, 1) if line.startswith(wrong))
        assert re.search(rf"wrong.toml:{number}: .*{wrong}: unknown key; did you mean '{right}'\?", err), err
    assert not (tmp_path / "mase_output").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("search", "--config", "none.toml"), "none.toml: there is no such file"),
        (("train", "jsc-tny", "jsc"), "did you mean 'jsc-tiny'?"),
        (("train", "jsc-tiny", "jcs"), "did you mean 'jsc'?"),
        (("search", "jsc-tiny", "jsc", "--resume"), "[search]"),
        (("test", "jsc-tiny", "jsc", "--load", "none.ckpt"), "none.ckpt"),
        (("test", "--row", "3"), "--row 3 is a network of a search: add --from-search PATH"),
        (("test", "jsc-tiny", "jsc", "--from-search", "nowhere", "--row", "3"), "does not exist"),
        (
            ("search", "--config", LAB, "--pretrained", "--init-from", "none"),
            "--init-from none: there is no such folder",
        ),
        (("export-optuna", "none", "--storage", "sqlite:///x.db"), "none/trials.jsonl does not exist"),
        (("info", "modle"), "did you mean 'model'?"),
        (("train", "jsc-tiny", "jsc", "--batch-size", "0"), "--batch-size"),
        (("train", "jsc-tiny", "jsc", "--trainer-precision", "12"), "trainer_precision '12'"),
        (("train", "toy", "toy_tiny", "--plugin", "none.py"), "none.py does not exist; give the path of a Python file"),
        (("train", "none.py:f", "toy_tiny"), "none.py does not exist; give the path of a Python file"),
        (("test", "toy", "toy_tiny", "--load", "."), "the folder . has no model.safetensors"),
        (
            ("test", "toy", "toy_tiny", "--load-weights", "raw"),
            "--load-weights chooses among the weights of a file",
        ),
        (("test", "toy", "toy_tiny", "--load-type", "hf"), "--load-type is about a file: add --load PATH"),
        (("export", "--load", "none.safetensors", "--to", "onnx"), "none.safetensors does not exist"),
        (("config", "new", "jsc-tinny"), "did you mean 'jsc-tiny'?"),
        (("config", "examples", "none"), "there is no example 'none'"),
        (("info", "strategy", "surrogat"), "did you mean 'surrogate'?"),
        (("report", "none"), "there is no folder none"),
        (("report", "."), "holds no search and no comparison"),
        (("oracle", "none"), "none does not exist"),
    ],
)
def test_wrong_input_gets_one_clear_line(arguments: tuple[str, ...], told: str, ch: Command) -> None:
    _, err = ch(*arguments, status=2)
    assert told in err
    assert "Traceback" not in err


def test_help_and_version_load_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom chop.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    )
    for arguments in (["--help"], ["search", "--help"], ["export-optuna", "--help"], ["-V"]):
        command = [sys.executable, "-c", code, *arguments]
        result = subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, text=True, capture_output=True, check=True, encoding="utf-8"
        )
        assert result.stdout


def test_help_names_no_file_of_the_repository() -> None:
    """An installed package has no `docs` and no `machop`."""
    commands, texts = [get_command(app)], []
    for command in commands:
        texts += [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
        commands += getattr(command, "commands", {}).values()
    assert any("ch config examples" in text for text in texts)
    assert not [text for text in texts if re.search("docs/|machop/", text)]


@pytest.mark.parametrize("flag", ["--info", "--info=model"])
def test_info_stands_before_the_action_too(flag: str, ch: Command) -> None:
    out, _ = ch(flag)
    assert "jsc-tiny" in out


def test_info_says_what_each_strategy_and_sampler_can(ch: Command) -> None:
    out, _ = ch("info", "strategy", columns=80)
    for sampler in ("tpe", "nsgaii", "nsgaiii", "gp", "cmaes", "qmc", "random"):
        assert re.search(rf"│   {sampler} ", out)
    knows = {name: set(re.findall("fronts|constraints|all points", known)) for name, known in _info_rows(out).items()}
    assert knows["brute_force"] == {"fronts", "all points"}
    assert knows["cmaes"] == set()
    assert knows["nsgaii"] == {"fronts", "constraints"}
    for key in ("most_model_runs", "crossover_probability", "n_startup_trials"):
        assert key in out


@pytest.mark.parametrize(
    ("section", "name", "told"),
    [
        ("strategy", "gradient", ("descent_passes", "≥ 0, ≤ 100", "nearest to the front", "n_trials")),
        ("strategy", "brute_force", ("index, random", "landscape.parquet")),
        ("runner", "basic_evaluation", ("data_loader",)),
        ("space", "graph/quantize/mixed_precision_ptq", ("by",)),
    ],
)
def test_info_shows_the_keys_of_one_name(section: str, name: str, told: tuple[str, ...], ch: Command) -> None:
    out, _ = ch("info", section, name, columns=160)
    assert all(text in out for text in told)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("strategy", "gradeint"), "did you mean 'gradient'?"),
        (("model", "jsc-mlp"), "leave out 'jsc-mlp'"),
        (("stratgy", "gradient"), "did you mean 'strategy'?"),
    ],
)
def test_info_refuses_a_name_that_has_no_keys(given: tuple[str, str], told: str, ch: Command) -> None:
    assert told in ch("info", *given, status=(1, 2))[1]


def test_info_lists_the_parts_of_a_file(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "my_task.py").write_text(
        "from chop.scoring.task import TASKS\n"
        "from chop.scoring.classification import Classification\n"
        "@TASKS.register('info_task')\n"
        "class InfoTask(Classification):\n"
        '    """Judges for the sake of a list."""\n',
        encoding="utf-8",
    )
    with TASKS.restored():
        out, _ = ch("info", "task", "--plugin", "my_task.py")
    assert "Judges for the sake of a list." in out
    assert "info_task" not in ch("info", "task")[0]
    assert "does not exist" in ch("info", "task", "--plugin", "none.py", status=(1, 2))[1]


def test_info_says_for_which_targets_a_space_can_be_kept(ch: Command) -> None:
    out, _ = ch("info", "exporter", columns=80)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    name, targets = "", {}
    for first, second, *_ in cells:
        name = first or name
        targets.setdefault(name, set()).update({second} - {""})
    assert targets == {own: {own, exporter.target or own} for own, exporter in EXPORTERS.working().items()}
    assert targets["qonnx"] == {"qonnx", "onnx"}


def _info_rows(table: str) -> dict[str, str]:
    """The text of the third column of every row, by the name in the first."""
    rows: dict[str, str] = {}
    name = ""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if len(cells) == 4:
            name = cells[0] or name
            rows[name] = f"{rows.get(name, '')} {cells[2]}"
    return rows


def test_the_command_line_goes_before_the_file_also_with_the_default_value(tmp_path: Path, ch: Command) -> None:
    ch("search", "--config", LAB, "--pretrained", "--project", "p", "--batch-size", "128")
    resolved = (tmp_path / "mase_output/p/software/search_ckpts/resolved.toml").read_text(encoding="utf-8")
    assert "batch_size = 128" in resolved
    assert "seed = 42" in resolved


def test_a_missing_gpu_is_told_and_the_cpu_is_used(ch: Command) -> None:
    _, err = ch("test", "toy", "toy_tiny", "--pretrained", "--accelerator", "gpu")
    assert "accelerator" in err


def test_passes_that_quantise_nothing_say_so(tmp_path: Path, ch: Command) -> None:
    text = '[passes.quantize]\nby = "type"\ndefault.config.name = "NA"\n'
    (tmp_path / "none.toml").write_text(text, encoding="utf-8")
    _, err = ch("transform", "toy", "toy_tiny", "--pretrained", "--config", "none.toml")
    assert "no operand of any node gets a format" in err


def test_random_weights_are_told(ch: Command) -> None:
    _, err = ch("search", "--config", BRUTE_FORCE, "--project", "p")
    assert "neither --load nor --pretrained" in err
    assert "ch train" in re.sub(r"\s+", " ", err)
    assert "the weights are random" in re.sub(r"\s+", " ", ch("test", "toy", "toy_tiny")[1])


def test_weights_that_a_users_function_returns_are_not_said_to_be_random(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    _, err = ch("test", "--model", "own.py:build_model", "--dataset", "own.py:build_data")
    assert "the weights are those that own.py:build_model returns" in re.sub(r"\s+", " ", err)
    assert "the weights are random" not in re.sub(r"\s+", " ", err)


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        ("regex_name", 'by = "name"', "'seq_(.*' is no regular expression"),
        ("seq_blocks_2.config]\nweigt_width = [2]", "seq_blocks_2.config]", "did you mean 'weight_width'?"),
        ("linear.config]\nweigt_width = [2]", "linear.config]", "did you mean 'weight_width'?"),
        ("linear.config]\ndata_out_width = [2, 'four', -1]", "linear.config]", "1 <= width <= 32"),
        ("[passes.quantise]", "[passes.quantize]", "did you mean 'quantize'?"),
        ("\nweigth_width = 8\n", "\nweight_width = 8\n", "linear.config.weigth_width: unknown key 'weigth_width'; did"),
        ('config]\nname = "integre"', 'config]\nname = "integer"', "passes.quantize.linear.config.name: unknown"),
        (
            '[passes.quantize]\nby = "tpye"',
            '[passes.quantize]\nby = "type"',
            "passes.quantize.by: expected one of type, ",
        ),
        ("seed.defualt.config]", "seed.default.config]", "did you mean 'default'?"),
    ],
)
def test_what_is_wrong_in_a_seed_is_told_also_where_it_serves_no_node(
    wrong: str, right: str, told: str, tmp_path: Path, ch: Command
) -> None:
    text = Path(LAB).read_text(encoding="utf-8")
    if wrong == "regex_name":
        text = text.replace(
            '[search.search_space.setup]\nby = "name"', '[search.search_space.setup]\nby = "regex_name"'
        )
        text = text.replace("seed.linear.config", "seed.'seq_(.*'.config")
    else:
        assert right in text
        text = text.replace(right, wrong)
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    err = ch("search", "--config", "wrong.toml", "--pretrained", status=2)[1]
    assert told in err
    assert "wrong.toml:" in err


OWN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
X = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
def build_model(): return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
def build_data():
    rows = TensorDataset(X, X.sum(1, keepdim=True))
    parts = {part: DataLoader(rows, batch_size=100) for part in ("train", "val", "test")}
    mae = (lambda p, y: (p - y).abs().mean(), "minimize")
    return {**parts, "loss": lambda p, y: (p - y) ** 2, "metrics": {"mae": mae}}
"""


@pytest.mark.slow
def test_a_row_of_a_search_over_a_model_of_ones_own_comes_back(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    text = (
        Path(BRUTE_FORCE).read_text(encoding="utf-8").replace("accuracy.", "mae.").replace('"maximize"', '"minimize"')
    )
    text = text.replace('by = "name"', 'by = "type"').replace('"jsc-tiny"\n', '"own"\n').replace('model = "own"\n', "")
    (tmp_path / "own.toml").write_text(
        text.replace('dataset = "jsc"\n', "")
        .replace("brute_force", "optuna")
        .replace("timeout", "n_trials = 9\ntimeout"),
        encoding="utf-8",
    )
    own = ("--model", "own.py:build_model", "--dataset", "own.py:build_data")
    ch("search", *own, "--config", "own.toml", "--project", "p")
    found = tmp_path / "mase_output/p/software/search_ckpts"
    row = str(json.loads((found / "best.json").read_text(encoding="utf-8"))["0"]["number"])
    _, err = ch("test", "--from-search", str(found), "--row", row, status=2)
    assert "give --model own.py:build_model on the command line" in err
    for action in ("test", "transform"):
        ch(action, *own, "--from-search", str(found), "--row", row)


SETUP_OF_SPACE = "[search.search_space.setup]\n"
SLOW = """
from pathlib import Path
import torch
def build_model():
    Path("model_was_built").touch()
    return torch.nn.Linear(4, 2)
def build_data():
    Path("data_was_read").touch()
    return torch.randn(40, 4), torch.arange(40) % 2
"""


def test_what_needs_no_data_is_told_before_they_are_read_and_what_needs_no_model_before_that_is_built(
    tmp_path: Path, ch: Command
) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    lab = re.sub("(model|dataset) = .*\n", "", Path(LAB).read_text(encoding="utf-8"))

    def told(wrong: str, right: str) -> tuple[str, set[str]]:
        assert right in lab
        (tmp_path / "wrong.toml").write_text(lab.replace(right, wrong), encoding="utf-8")
        own = ("--model", "slow.py:build_model", "--dataset", "slow.py:build_data")
        err = ch("search", *own, "--config", "wrong.toml", status=2)[1]
        return err, {path.name for path in tmp_path.glob("*_was_*")}

    for wrong, right, text in (
        ("n_trails", "n_trials", "did you mean 'n_trials'?"),
        ('name = "optunna"', 'name = "optuna"', "did you mean 'optuna'?"),
        ("weigt_width = [2", "weight_width = [2", "did you mean 'weight_width'?"),
        ('["intteger"]', '["integer"]', "did you mean 'integer'?"),
        ("[search.search_space.seed.linear]", "[search.search_space.seed.linear.config]", "a table 'config' of lists"),
        (f'{SETUP_OF_SPACE}exclude = ["(a"]\n', SETUP_OF_SPACE, "'(a' is no regular expression"),
        (f'{SETUP_OF_SPACE}export_to = "fpgaa"\n', SETUP_OF_SPACE, "did you mean 'fpga'?"),
        ("accuracy.diraction", "accuracy.direction", "did you mean 'direction'?"),
    ):
        err, done = told(wrong, right)
        assert text in err and re.search(r"error: wrong.toml:\d+: search\.", err), err
        assert not done
    assert told("accuraccy.scale = 2.0\naccuracy.scale", "accuracy.scale")[1] == {"data_was_read"}
    err, done = told("seed.defualt", "seed.default")
    assert "no node or op is called 'defualt'; did you mean 'default'?" in err
    assert done == {"data_was_read", "model_was_built"}


def test_a_config_runs_no_file_whatever_it_names(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "evil.py").write_text("open('was_here', 'w')\ndef build_data(): pass\n", encoding="utf-8")
    text = Path(LAB).read_text(encoding="utf-8").replace('dataset = "jsc"', 'dataset = "evil.py:build_data"')
    (tmp_path / "evil.toml").write_text(text, encoding="utf-8")
    for action in ("search", "train", "test", "transform"):
        _, err = ch(action, "--config", "evil.toml", status=2)
        assert "never run on a config's word" in err
    assert not (tmp_path / "was_here").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    where = ("--project-dir", str(tmp_path / "file"))
    _, err = ch("train", "toy", "toy_tiny", "--max-epochs", "1", *where, status=2)
    assert f"error: {tmp_path / 'file'}" in err


COMPARE = ("compare", "--config", BRUTE_FORCE, "--pretrained", "--project", "c")


def test_a_comparison_answers_in_json_and_nothing_else(tmp_path: Path, ch: Command) -> None:
    process = start(*COMPARE, "--seeds", "2", "--strategies", "brute_force,tpe", "--json", folder=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert set(json.loads(out)["strategies"]) == {"brute_force", "tpe"}
    assert "compare" in err
    out, _ = ch(*COMPARE, "--seeds", "1", "--strategies", "brute_force")
    assert "1 strategy, 1 seed, 18 evaluations of 18 points" in out
    assert "mase_output/c/software/compare/report.md" in out


def test_what_is_wrong_with_a_comparison_is_told_at_once(tmp_path: Path, ch: Command) -> None:
    wrong = ("--strategies", "brute_force,tpee", "--seeds", "0", "--budget", "-1", "--batch-size", "0")
    err = ch(*COMPARE, *wrong, status=2)[1]
    for told in ("'tpee'; did you mean 'tpe'?", "--seeds: must be", "--budget: must be", "--batch-size"):
        assert told in err
    err = ch("compare", "jsc-tiny", "jsc", "--pretrained", status=2)[1]
    assert "command line: --config FILE.toml is needed" in err
    (tmp_path / "bare.toml").write_text('model = "jsc-tiny"\ndataset = "jsc"\n', encoding="utf-8")
    err = ch("compare", "--config", "bare.toml", status=2)[1]
    assert "bare.toml: there is no table [search]" in err
    assert not (tmp_path / "mase_output").exists()


def test_a_comparison_that_is_cut_off_reports_on_what_is_done(
    tmp_path: Path, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_end = ComparisonProgress.on_end

    def interrupt(progress: ComparisonProgress) -> None:
        on_end(progress)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ComparisonProgress, "on_end", interrupt)
    out, err = ch(*COMPARE, "--seeds", "2", "--strategies", "brute_force,tpe", status=130)
    assert "Traceback" not in err
    assert "Interrupted: the figures are those of the runs that were finished." in out
    assert (tmp_path / "mase_output/c/software/compare/report.md").exists()


def test_a_folder_that_cannot_be_written_to_is_told_with_the_cure(ch: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    place = ("search", "--config", BRUTE_FORCE, "--pretrained", "--project-dir")
    assert "a file is where a folder must be: choose another --project-dir" in ch(*place, "file", status=2)[1]


@pytest.mark.parametrize(
    ("case", "arguments"),
    [
        ("blocks", ["oracle", "blocks"]),
        ("trials", ["export-optuna", "trials", "--storage", "study.log"]),
        ("command_line", ["transform", "--from-search", "command_line", "--row", "3"]),
    ],
)
def test_commands_say_of_an_earlier_chops_files_that_they_cannot_be_checked(
    case: str, arguments: list[str], tmp_path: Path, ch: Command
) -> None:
    shutil.copytree(Path(__file__).parents[1] / "record" / "data" / "v1" / case, tmp_path / case)
    _, err = ch(*arguments, status=(0, 1))
    assert "was written by an earlier chop, without checksums: it cannot be checked" in " ".join(err.split())


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        (("export", "--load", "graph.safetensors", "--to", "onnx"), "choose another --output, which you may write to"),
        (("report", "mase_output/p"), "choose another --output, which you may write to"),
        (("config", "new", "toy", "toy_tiny", "--output", "x.toml"), "choose another --output, which you may write to"),
        (("config", "examples", "--output", "."), "choose another --output, which you may write to"),
        (("train", "toy", "toy_tiny"), "choose another --project-dir, which you may write to"),
        (("oracle", "landscape.parquet"), "choose another place, which you may write to"),
    ],
)
def test_the_cure_for_missing_rights_names_an_option_of_the_command(
    command: tuple[str, ...], cure: str, ch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "place")

    monkeypatch.setattr(_Group, "invoke", refused)
    err = ch(*command, status=1)[1]
    assert f"error: place: Permission denied; {cure}" in err
    options = re.findall(r"--[a-z-]+", cure)
    shown = command[: 2 if command[0] == "config" else 1]
    monkeypatch.undo()
    assert all(option in ch(*shown, "--help")[0] for option in options)


MISSPELT = """
model = "toy"
dataset = "toy_tiny"
task = "clss"
[pases.quantize]
by = "type"
[passes.quantize]
linear.config = {name = "integer", data_in_width = 8, weight_width = 8}
"""


def test_a_misspelt_table_is_told_and_not_what_follows_from_it(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "m.toml").write_text(MISSPELT, encoding="utf-8")
    err = ch("transform", "--config", "m.toml", status=2)[1]
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[2] for line in told] == ["pases", "task"]
    assert "did you mean 'cls'? (known: classification (cls), language_modeling (lm)," in told[1]
    text = (
        MISSPELT.replace('task = "clss"', "").replace("pases", "passes").replace("[passes.quantize]\nlinear", "linear")
    )
    (tmp_path / "m.toml").write_text(f"{text}[[search.strategy]]\nname = 'random'\n", encoding="utf-8")
    err = ch("config", "check", "m.toml", status=2)[1]
    assert "search.strategy: expected a table, got a list of tables: write [NAME] in place of [[NAME]]\n" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("toy", "toy_tiny", "--learning-rate", "nan"), "--learning-rate: expected a finite number, got nan"),
        (("toy", "toy_tiny", "--learning-rate", "1e400"), "--learning-rate: expected a finite number, got inf"),
        (
            ("toy", "toy_tiny", "--num-workers", "-1"),
            "line: --num-workers: expected greater than or equal to 0",
        ),
        (("toy", "toy_tiny", "--cpu=-1"), "command line: --cpu: expected greater than or equal to 0"),
        (("toy", "toy_tiny", "--num-devices", "0"), "line: --num-devices: expected greater than or equal to 1"),
        (("toy", "toy_tiny", "--max-epochs", "0"), "--max-epochs: expected greater than or equal to 1, got 0"),
        (("toy", "toy_tiny", "--max-steps", "0"), "--max-steps: expected greater than or equal to 1 or -1, got 0"),
        (("toy", "toy_tiny", "--max-steps", "-2"), "--max-steps: expected greater than or equal to 1 or -1, got -2"),
        (("toy", "toy_tiny", "--project", ""), "--project: expected text with at least 1 character, got ''"),
        (("cases.py", "toy_tiny"), "cases.py names a file alone; give cases.py:FUNCTION, which returns the model"),
        (("toy", "cases.py"), "cases.py names a file alone; give cases.py:FUNCTION, which returns the data"),
        (("base.toml",), "command line: model: base.toml is a TOML file; write --config base.toml"),
        (("toy", "jscc"), "did you mean 'jsc'? (known: jsc-sim (jsc), "),
    ],
)
def test_wrong_options_are_told_in_plain_words(words: tuple[str, ...], told: str, ch: Command) -> None:
    assert told in ch("train", *words, status=2)[1]


def test_a_device_is_no_file_of_weights(ch: Command) -> None:
    assert (
        "/dev/null is no file; give the path of a checkpoint"
        in ch("test", "toy", "toy_tiny", "--load", "/dev/null", status=2)[1]
    )
