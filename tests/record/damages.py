"""Records that are edited by hand or damaged at random, and what each command makes of them.

`count_damages` tries them all and counts: right (harmless, or measured again), refused, wrong, traceback.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import pyarrow.parquet

from chop.actions.compare.job import CompareOptions, run_compare
from chop.actions.replay import read_row
from chop.actions.search import enumeration, folded, job, run_search, search
from chop.actions.search.landscape import Landscape
from chop.actions.search.optuna_storage import export_search
from chop.actions.setup import prepare
from chop.cli.oracle import show_oracle
from chop.config.run_config import RunConfig, load_run_config
from chop.errors import ChopError
from chop.ir.trial import Trial
from chop.report import compare_plots

Edit = Callable[[bytes], bytes]
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
    with mock.patch.object(job, "LARGEST_LOG", 10), mock.patch.object(folded, "MOST_CONFIGURATIONS", 5):
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
    storage = f"sqlite:///{folder}/{random.random()}.db"
    name, _ = export_search(_ckpts(folder, project), storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    return [(trial.values, trial.params, trial.user_attrs) for trial in trials]


def row_taken(folder: Path, project: str) -> Answer:
    """`ch transform|test --from-search`: the row and the options that the network is built from."""
    row = read_row(_ckpts(folder, project), ROW)
    values = {name: value for name, value in row.values.items() if name not in ("search", "sha256", "version")}
    options = load_run_config(row.checked_config(), {})
    return values, options.options, options.tables, options.problems


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
    with mock.patch.object(compare_plots, "find_spec", lambda name: None):
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
    measure = enumeration.Task.measure

    def cut(task: enumeration.Task, number: int) -> enumeration.Block:
        if number == 3:
            raise KeyboardInterrupt
        return measure(task, number)

    with small_blocks(), mock.patch.object(enumeration.Task, "measure", cut):
        run_search(run_config(folder / "cut off", EXHAUSTIVE, "b"))
    parts = folder / "other/b/software/search_ckpts/landscape.parts"
    parts.mkdir()
    shutil.copy(_ckpts(folder / "cut off", "b") / "landscape.parts/000000.parquet", parts / "000001.parquet")


def edits(path: Path, other: Path) -> dict[str, Edit]:
    """What a hand may do to a file, by what it is called; `other` is the same file of another search."""
    own: dict[str, Callable[[], dict[str, Edit]]] = {".parquet": _on_parquet, ".jsonl": _on_lines, ".json": _on_json}
    found = {**_on_any(other), **own.get(path.suffix, dict)()}
    return found if path.suffix == ".parquet" else {**found, **_on_text()}


def _on_any(other: Path) -> dict[str, Edit]:
    replaced = {"replaced by another's": lambda data: other.read_bytes()} if other.exists() else {}
    return {
        **replaced,
        "half": lambda data: data[: len(data) // 2],
        "last byte gone": lambda data: data[:-1],
        "empty": lambda data: b"",
        "garbage behind": lambda data: data + b"garbage",
        "garbage line behind": lambda data: data + b"garbage\n",
        "garbage before": lambda data: b"garbage" + data,
    }


def _swap(pattern: str, new: str | Callable[[re.Match[str]], str], count: int = 1) -> Edit:
    return lambda data: re.sub(pattern, new, data.decode(), count=count).encode()


def _on_text() -> dict[str, Edit]:
    return {
        "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
        "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
        "UTF-16": lambda data: data.decode().encode("utf-16"),
        "accuracy lowered": _swap(r'"accuracy": 0\.\d+', '"accuracy": 0.1234'),
        "accuracy raised": _swap(r'"accuracy": 0\.\d+', '"accuracy": 0.9999'),
        "last accuracy raised": _swap(r'(?s)(.*)"accuracy": 0\.\d+', r'\1"accuracy": 0.9999'),
        "every accuracy raised": _swap(r'"accuracy": 0\.\d+', '"accuracy": 0.9999', 0),
        "bits lowered": _swap(r'"average_bitwidth": [1-9][\d.]+', '"average_bitwidth": 2.0'),
        "costs lowered": _swap(r'"costs": \[\[-[\d.]+', '"costs": [[-0.9999'),
        "scaled": _swap(r'("scaled_metrics": \{\s*"accuracy": )[\d.]+', r"\g<1>0.9999"),
        "seconds": _swap(r'"seconds": [\d.e-]+', '"seconds": 1.5'),
        "point": _swap(r'"seq_blocks_2/config/weight_width": \d', '"seq_blocks_2/config/weight_width": 1'),
        "point's number": _swap(r'"point": \d+', '"point": 4'),
        "width": _swap(r'("weight_width": )(\d)', lambda m: f"{m[1]}{2 if m[2] == '8' else 8}", 0),
        "rows of calibration": _swap(r'"calibration_rows": \d+', '"calibration_rows": 3'),
        "direction": _swap(r'"direction": "maximize"', '"direction": "minimize"', 0),
        "fingerprint": _swap(r'"weights": "\w+"', '"weights": "0123456789abcdef"'),
        "seed": _swap(r'("?seed"?(?:: | = ))1\b', r"\g<1>7"),
        "pretrained": _swap(r"is_pretrained = true", "is_pretrained = false"),
        "samples": _swap(r"num_samples = 256", "num_samples = 100"),
        "a comment": _swap(r'(model = "jsc-tiny")', r"\1  # mine"),
        "later version": _swap(r'("version"|"chop_\w+"|record):? 2\b', lambda m: m[0].replace("2", "99")),
        "next version": _swap(r'("version"|"chop_\w+"|record):? 2\b', lambda m: m[0].replace("2", "3"), 0),
        "earlier version": _swap(r'("version"|"chop_\w+"|record):? 2\b', lambda m: m[0].replace("2", "1"), 0),
        "failed": _swap(r'"number": 1,', '"number": 1, "failed": "loss is nan",'),
        "checksum gone": _swap(r'(?m),\s*"sha256": "\w+"|^# chop record.*\n', "", 1),
        "checksums gone": _swap(r'(?m),\s*"sha256": "\w+"|^# chop record.*\n', "", 0),
        "a space": _swap(r'("number"|"block"):', r"\1 :"),
        "inherited": _swap(r'"inherited": \[', '"inherited": [ '),
    }


def _on_lines() -> dict[str, Edit]:
    def lines(change: Callable[[list[bytes]], list[bytes]]) -> Edit:
        return lambda data: b"".join(change(data.splitlines(keepends=True)))

    return {
        "two lines swapped": lines(lambda rows: [*rows[:1], rows[2], rows[1], *rows[3:]]),
        "a line gone": lines(lambda rows: [*rows[:2], *rows[3:]]),
        "last line gone": lines(lambda rows: rows[:-1]),
        "all lines gone": lines(lambda rows: rows[:1]),
        "header gone": lines(lambda rows: rows[1:]),
        "a line twice": lines(lambda rows: [*rows[:2], *rows[1:]]),
        "last line twice": lines(lambda rows: [*rows, rows[-1]]),
        "a line copied over the next": lines(lambda rows: [*rows[:2], rows[1], *rows[3:]]),
        "blank line": lines(lambda rows: [*rows[:2], b"\n", *rows[2:]]),
    }


def _on_json() -> dict[str, Edit]:
    def rows(change: Callable[[list[Any]], list[Any]]) -> Edit:
        def edit(data: bytes) -> bytes:
            found = json.loads(data)
            if not all(isinstance(row, dict) for row in found.values()):
                return data
            return json.dumps({str(k): row for k, row in enumerate(change(list(found.values())))}).encode()

        return edit

    return {
        "a row gone": rows(lambda found: [found[0], *found[2:]]),
        "first row gone": rows(lambda found: found[1:]),
        "last row gone": rows(lambda found: found[:-1]),
        "no rows": rows(lambda found: []),
        "a row twice": rows(lambda found: [found[0], *found]),
        "rows turned round": rows(lambda found: found[::-1]),
        "numbers swapped": rows(lambda found: [found[0] | {"number": found[1]["number"]}, *found[1:]]),
        "another layout": lambda data: json.dumps(json.loads(data), indent=4).encode(),
        "not a table": lambda data: b"[1, 2]",
        "deep": lambda data: b"[" * 100_000,
    }


def _on_parquet() -> dict[str, Edit]:
    def rewritten(change: Callable[[Any], Any]) -> Edit:
        def edit(data: bytes) -> bytes:
            table = pyarrow.parquet.read_table(io.BytesIO(data))
            out = io.BytesIO()
            pyarrow.parquet.write_table(change(table).replace_schema_metadata(table.schema.metadata), out)
            return out.getvalue()

        return edit

    def raised(table: Any) -> Any:
        at = table.column_names.index("accuracy")
        values = table["accuracy"].to_numpy().copy()
        values[3] = 0.9999
        return table.set_column(at, "accuracy", pyarrow.array(values))

    def relabelled(table: Any) -> Any:
        about = {k: v.replace(b"maximize", b"minimize") for k, v in (table.schema.metadata or {}).items()}
        return table.replace_schema_metadata(about)

    def said_otherwise(data: bytes) -> bytes:
        table = relabelled(pyarrow.parquet.read_table(io.BytesIO(data)))
        out = io.BytesIO()
        pyarrow.parquet.write_table(table, out)
        return out.getvalue()

    return {
        "a value raised": rewritten(raised),
        "written anew": rewritten(lambda table: table),
        "a row gone": rewritten(lambda table: table.slice(1)),
        "a metric gone": rewritten(lambda table: table.drop_columns(["accuracy"])),
        "two rows swapped": rewritten(lambda table: table.take([1, 0, *range(2, table.num_rows)])),
        "two metrics swapped": rewritten(lambda table: table.rename_columns(_swapped(table.column_names))),
        "goals turned round": said_otherwise,
    }


def _swapped(names: Sequence[str]) -> list[str]:
    return [{"accuracy": "loss", "loss": "accuracy"}.get(name, name) for name in names]


def at_random(draw: random.Random) -> Edit:
    """One damage that a disk, a transfer or a crash may do."""
    kind = draw.choice(("bit", "bit", "byte gone", "zeros", "piece twice", "byte"))
    share, bit = draw.random(), draw.randrange(8)

    def edit(data: bytes) -> bytes:
        at = int(share * len(data))
        if kind == "bit":
            return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        if kind == "byte":
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        if kind == "byte gone":
            return data[:at] + data[at + 1 :]
        size = min(512, len(data) // 4)
        if kind == "zeros":
            return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]
        return data[:at] + data[at : at + size] + data[at:]

    return edit


@dataclass
class Damages:
    """Tries damages on records in `folder`, and counts what came of them."""

    folder: Path
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    last: str = ""
    _known: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def attempt(self, case: Case, file: str, name: str, edit: Edit, commands: Sequence[str] | None = None) -> None:
        """Damage a file and run each command that relies on it, on a copy of its own."""
        source = self.folder / case.name
        data = (source / file).read_bytes()
        damaged = edit(data)
        if damaged == data:
            return
        for command, run in case.commands[file].items():
            if commands is None or command in commands:
                with tempfile.TemporaryDirectory(dir=self.folder) as place:
                    folder = Path(place) / "w"
                    shutil.copytree(source, folder)
                    (folder / file).write_bytes(damaged)
                    outcome = self._outcome(case, command, run, folder)
                    self._note(f"{case.name}: {file}: {name}: {command}", file, outcome)

    def _outcome(self, case: Case, command: str, run: Callable[[Path], Answer], folder: Path) -> str:
        wanted = self._wanted(case, command, run)
        try:
            found = run(folder)
        except ChopError as error:
            self.last = str(error)
            return "refused"
        except Exception as error:
            self.last = repr(error)
            return "traceback"
        self.last = ""
        return "right" if _is_true(command, found, wanted) else "wrong"

    def _wanted(self, case: Case, command: str, run: Callable[[Path], Answer]) -> Answer:
        """The answer of a command where nothing is damaged."""
        key = (case.name, command)
        if key not in self._known:
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                shutil.copytree(self.folder / case.name, Path(place) / "w")
                self._known[key] = run(Path(place) / "w")
        return self._known[key]

    def _note(self, what: str, file: str, outcome: str) -> None:
        self.counts.setdefault(Path(file).name, Counter())[outcome] += 1
        if outcome in ("wrong", "traceback"):
            self.wrong.append(f"{what}: {outcome} {self.last}")

    def by_hand(self, only: Callable[[str], bool] = lambda name: True) -> None:
        """All edits by hand."""
        for case in CASES:
            for file in case.commands:
                other = self.folder / case.other / file
                for name, edit in edits(self.folder / case.name / file, other).items():
                    if only(f"{case.name}: {file}: {name}"):
                        self.attempt(case, file, name, edit)

    def randomly(self, number: int, seed: int = 0) -> None:
        """Random damages on random files, each with one of the commands."""
        draw = random.Random(seed)
        for place in range(number):
            case = draw.choice(CASES)
            file = draw.choice(list(case.commands))
            command = draw.choice(list(case.commands[file]))
            self.attempt(case, file, f"random {place}", at_random(draw), [command])

    def rows(self) -> list[tuple[str, int, int, int, int, int]]:
        """By file: how many were tried, right, refused, wrong, and ended in a traceback."""
        kinds = ("right", "refused", "wrong", "traceback")
        return [(file, own.total(), *(own[kind] for kind in kinds)) for file, own in sorted(self.counts.items())]  # type: ignore[misc]


def _is_true(command: str, found: Answer, wanted: Answer) -> bool:
    """Whether an answer is the right one; fewer trials may be taken over, and a gap need not be told."""
    if command == "init-from":
        return all(wanted.get(point) == metrics for point, metrics in found.items())
    if command == "gap":
        return found in (wanted, [])
    return bool(found == wanted)


@contextlib.contextmanager
def prepared_once() -> Iterator[None]:
    """Model and data are read once for all searches of this module."""
    known = cache(lambda key: prepare(by_key[key]))
    by_key: dict[Any, Any] = {}

    def prepared(options: Any) -> Any:
        key = (options.model, options.dataset, options.batch_size, options.seed)
        by_key.setdefault(key, options)
        return known(key)

    with mock.patch.object(search_module(), "prepare", prepared):
        yield


def search_module() -> Any:
    """The module `chop.actions.search.search`, whose name the function of the package hides."""
    import sys

    assert search is not None
    return sys.modules["chop.actions.search.search"]


def count_damages(number: int = 300, seed: int = 0) -> tuple[list[tuple[str, int, int, int, int, int]], list[str]]:
    """All edits by hand and `number` random damages: the counts by file, and a line on each that is not right."""
    with tempfile.TemporaryDirectory() as place, prepared_once(), contextlib.redirect_stdout(io.StringIO()):
        make_records(Path(place))
        found = Damages(Path(place))
        found.by_hand()
        found.randomly(number, seed)
        return found.rows(), found.wrong
