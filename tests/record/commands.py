"""Small records of each kind, and the commands that rely on them, run in this process."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import optuna

from chop.actions.compare.job import CompareOptions, run_compare
from chop.actions.replay import read_row
from chop.actions.search import run_search
from chop.actions.search.measuring import all_points, batched
from chop.actions.search.run import block_by_block
from chop.actions.search.strategies.optuna.storage import export_search
from chop.actions.setup import prepare
from chop.cli.oracle import show_oracle
from chop.config.run_config import RunConfig, load_run_config
from chop.record.blocks import Block
from chop.record.folder import SearchFolder
from chop.record.landscape import Landscape
from chop.record.trial import Trial
from chop.report import compare_plots
from chop.report.search_report import report_text

Answer = Any

CONFIG = """
model = "jsc-tiny"
dataset = "jsc"
batch_size = 512
[search.search_space]
name = "graph/quantize/mixed_precision_ptq"
setup.by = "name"
[search.search_space.seed.default.config]
name = ["NA"]
[search.search_space.seed.seq_blocks_2.config]
name = ["integer"]
data_in_width = [4, 8]
data_in_frac_width = ["NA"]
weight_width = [2, 4, 8]
weight_frac_width = ["NA"]
bias_width = [2, 4, 8]
bias_frac_width = ["NA"]
[search.strategy]
name = "STRATEGY"
sw_runner.basic_evaluation = { data_loader = "val_dataloader", num_samples = 256 }
hw_runner.average_bitwidth = { compare_to = 32 }
[search.strategy.setup]
SETUP
[search.strategy.metrics]
accuracy = { scale = 1.0, direction = "maximize" }
average_bitwidth = { scale = 0.2, direction = "minimize" }
"""
TPE = ("optuna", 'sampler = "tpe"\nn_trials = 7')
SHORT = ("optuna", 'sampler = "tpe"\nn_trials = 2')
EXHAUSTIVE = ("brute_force", "landscape = true")


def run_config(folder: Path, kind: tuple[str, str], project: str, seed: int = 1) -> RunConfig:
    """The options of a search in `folder/PROJECT`."""
    path = folder / "config.toml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(CONFIG.replace("STRATEGY", kind[0]).replace("SETUP", kind[1]), encoding="utf-8")
    given = {"is_pretrained": True, "project_dir": str(folder), "project": project, "seed": seed}
    return load_run_config(path, given)


def facts(trial: Trial) -> tuple[Any, ...]:
    """What a trial says, but for what a clock says."""
    return trial.number, dict(trial.point), trial.metrics, dict(trial.scaled_metrics), trial.repeats, trial.failed


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    """Exhaustive searches go block by block, five points a block."""
    with mock.patch.object(block_by_block, "LARGEST_LOG", 10), mock.patch.object(batched, "MOST_CONFIGURATIONS", 5):
        yield


def _ckpts(folder: Path, project: str) -> Path:
    return folder / project / "software" / "search_ckpts"


def resumed(folder: Path, kind: tuple[str, str], project: str) -> Answer:
    """`ch search --resume`: its trials, its front, and its landscape where there is one."""
    with small_blocks() if kind == EXHAUSTIVE else contextlib.nullcontext():
        found = run_search(run_config(folder, kind, project), resume=True)
    path = found.folder / "landscape.parquet"
    metrics = {name: v.tolist() for name, v in Landscape.read(path).metrics.items()} if path.exists() else {}
    best = [(facts(row.trial), row.equals, row.test_metrics) for row in found.best]
    return [facts(trial) for trial in found.trials], best, metrics


def begun_from(folder: Path, project: str) -> Answer:
    """`ch search --init-from`: the metrics of the trials that are taken over, by point."""
    found = run_search(run_config(folder, SHORT, "new"), init_from=[str(_ckpts(folder, project))])
    return {str(sorted(trial.point.items())): trial.metrics for trial in found.trials if trial.inherited}


def exported(folder: Path, project: str) -> Answer:
    """`ch export-optuna`: what the study says of each trial."""
    storage = f"sqlite:///{folder}/study.db"
    name, _ = export_search(_ckpts(folder, project), storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    return [(trial.values, trial.params, trial.user_attrs) for trial in trials]


def row_taken(folder: Path, project: str) -> Answer:
    """`ch transform|test --from-search`: the row and the options that the network is built from."""
    row = read_row(_ckpts(folder, project), ROW)
    values = {name: value for name, value in row.values.items() if name not in ("search", "sha256", "version")}
    options = load_run_config(row.checked_config(), {})
    return values, options.options, options.tables, options.problems


def shown(folder: Path, project: str) -> Answer:
    """The last page of a search that has ended, made from its files."""
    return report_text(SearchFolder(_ckpts(folder, project)).summary)


ROW = 1


def asked(path: Path, studies: Sequence[Path] = ()) -> Answer:
    """`ch oracle`: the front, a point, and the gap of searches."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show_oracle(path, [3], studies, as_json=True)
    found = json.loads(out.getvalue().splitlines()[-1])
    return {**found, "gaps": list(found["gaps"].values())}


def gap_told(folder: Path) -> Answer:
    """A search beside a landscape: the line that says how far it is from the optimum."""
    found = run_search(run_config(folder, TPE, "beside"))
    lines = (found.folder / "report.md").read_text(encoding="utf-8").splitlines()
    return [line.partition("(exact")[0] for line in lines if "Gap" in line]


def compared(folder: Path, most_points: int) -> Answer:
    """`ch compare`: the front and what each strategy came to."""
    options = CompareOptions(("brute_force_random", "uniform"), seeds=1, budget=6, most_points=most_points)
    with mock.patch.object(compare_plots, "find_spec", lambda name: None), small_blocks():
        found = run_compare(run_config(folder, EXHAUSTIVE, "c"), options, as_json=True)
    strategies = [(one.name, one.hypervolume.median.tolist(), one.evaluations) for one in found.strategies]
    return {name: values.tolist() for name, values in found.front.items()}, strategies, found.measured


@dataclass(frozen=True)
class Case:
    """A folder with records: by file the commands that rely on it."""

    name: str
    commands: Mapping[str, Mapping[str, Callable[[Path], Answer]]]
    other: str = "other"


def _cases() -> list[Case]:
    a, b = "a/software/search_ckpts/", "b/software/search_ckpts/"
    resume_a = {"resume": lambda folder: resumed(folder, TPE, "a")}
    resume_b = {"resume": lambda folder: resumed(folder, EXHAUSTIVE, "b")}
    take_a, take_b = ({"row": lambda folder, p=p: row_taken(folder, p)} for p in "ab")
    from_a, from_b = ({"init-from": lambda folder, p=p: begun_from(folder, p)} for p in "ab")
    export = {"export": lambda folder: exported(folder, "a")}
    study = {"study": lambda folder: asked(folder / "truth", [_ckpts(folder, "a")])}
    oracle = {"oracle": lambda folder: asked(_ckpts(folder, "b"))}
    gap = {"gap": gap_told}
    again = {"compare": lambda folder: compared(folder, 1)}
    exact = {"compare": lambda folder: compared(folder, 100), "oracle": lambda f: asked(f / "c/software/compare")}
    return [
        Case(
            "search",
            {
                a + "trials.jsonl": {**resume_a, **from_a, **export, **take_a, **study},
                a + "log.json": {**export, **take_a, **study, **resume_a},
                a + "best.json": {**take_a, **resume_a},
                a + "resolved.toml": {**take_a, **resume_a},
                a + "summary.json": {"page": lambda folder: shown(folder, "a")},
            },
        ),
        Case("begun", {a + "initial.json": resume_a, a + "trials.jsonl": resume_a}, "begun other"),
        Case(
            "exhaustive",
            {
                b + "blocks.jsonl": {**resume_b, **from_b, **oracle, **take_b},
                b + "log.json": {**from_b, **take_b},
                b + "best.json": take_b,
                b + "landscape.parquet": {**oracle, **gap, **resume_b},
            },
        ),
        Case("cut off", {b + "blocks.jsonl": resume_b, b + "landscape.parts/000001.parquet": resume_b}),
        Case("measured", {"c/software/compare/measured.jsonl": again}),
        Case("aside", {"c/software/compare/measured.jsonl": again}),
        Case(
            "enumerating",
            {
                "c/software/compare/blocks.jsonl": {"compare": exact["compare"]},
                "c/software/compare/landscape.parts/000001.parquet": {"compare": exact["compare"]},
            },
        ),
        Case("compared", {"c/software/compare/landscape.parquet": exact, "c/software/compare/summary.json": exact}),
    ]


CASES = _cases()


def make_records(folder: Path) -> None:
    """Make the folder of each case, and of another search with the same settings to replace its files by."""
    for name in ("search", "other"):
        run_search(run_config(folder / name, TPE, "a", seed=1 if name == "search" else 2))
        with small_blocks():
            run_search(run_config(folder / name, EXHAUSTIVE, "b"))
    _measured_otherwise(folder)
    _split_off(folder)
    for name in ("begun", "begun other"):
        shutil.copytree(folder / "search" / "a", folder / name / "earlier")
        config = run_config(folder / name, TPE, "a", seed=1 if name == "begun" else 2)
        run_search(config, init_from=[str(_ckpts(folder / name, "earlier"))])
        shutil.rmtree(folder / name / "earlier")
    for name, most_points in (("measured", 1), ("compared", 100)):
        compared(folder / name, most_points)
    shutil.copytree(folder / "measured", folder / "aside")
    elsewhere = folder / "other/c/software/compare"
    elsewhere.mkdir(parents=True)
    shutil.copy(_ckpts(folder / "other", "b") / "landscape.parquet", elsewhere)
    (folder / "measured/c/software/compare/report.md").unlink()  # as if it had been cut off
    (folder / "measured/c/software/compare/landscape.parquet").unlink(missing_ok=True)


def _measured_otherwise(folder: Path) -> None:
    """The other exhaustive search has other figures."""
    shutil.rmtree(folder / "other" / "b")
    config = run_config(folder / "other", EXHAUSTIVE, "b")
    tables = copy.deepcopy(dict(config.tables))
    tables["search"]["strategy"]["sw_runner"]["basic_evaluation"]["num_samples"] = 200
    with small_blocks():
        run_search(RunConfig(config.options, config.sources, document=config.document, tables=tables))


def _split_off(folder: Path) -> None:
    """One folder for the exhaustive search, one for the search with the truth beside it, one that was cut off."""
    shutil.copytree(folder / "search" / "b", folder / "exhaustive" / "b")
    shutil.copytree(_ckpts(folder / "search", "b"), folder / "search" / "truth")
    shutil.rmtree(folder / "search" / "b")
    measure = all_points.BlockTask.measure

    def cut(task: all_points.BlockTask, number: int) -> tuple[Block, bytes]:
        if number == 3:
            raise KeyboardInterrupt
        return measure(task, number)

    with small_blocks(), mock.patch.object(all_points.BlockTask, "measure", cut):
        run_search(run_config(folder / "cut off", EXHAUSTIVE, "b"))
        with contextlib.suppress(KeyboardInterrupt):
            compared(folder / "enumerating", 100)
    parts = folder / "other/b/software/search_ckpts/landscape.parts"
    parts.mkdir()
    shutil.copy(_ckpts(folder / "cut off", "b") / "landscape.parts/000000.parquet", parts / "000001.parquet")


@contextlib.contextmanager
def prepared_once() -> Iterator[None]:
    """Model and data are read once for all searches of this module."""
    known = cache(lambda key: prepare(by_key[key]))
    by_key: dict[Any, Any] = {}

    def prepared(options: Any, check: Any = lambda data: None) -> Any:
        key = (options.model, options.dataset, options.batch_size, options.seed)
        by_key.setdefault(key, options)
        found = known(key)
        check(found.data_module)
        return found

    with mock.patch.object(sys.modules["chop.actions.search.checks"], "prepare", prepared):
        yield
