"""Commands that are started at once in one folder, and whose files lie there afterwards."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from chop.actions.compare.job import CompareOptions, compare
from chop.actions.search import search
from chop.actions.train import train
from chop.config.options import RunOptions
from chop.dataset import MaseDataModule
from chop.errors import FolderError
from chop.models import get_model
from chop.tools.folder_lock import OwnFolder

from .search.conftest import LAB

FOLDER = "training_ckpts"
PATIENCE = 300.0
AT_ONCE = 3
FORK = multiprocessing.get_context("fork")
RIGHT, REFUSED, WRONG = 0, 3, 4
Command = Callable[[MaseDataModule, Path, int], object]


def _search(data: MaseDataModule, folder: Path, seed: int) -> object:
    strategy = {**LAB["strategy"], "name": "optuna", "setup": {"sampler": "random", "n_trials": 4}}
    return search(get_model("jsc-tiny", pretrained=True), data, {**LAB, "strategy": strategy}, folder, seed=seed)


def _compare(data: MaseDataModule, folder: Path, seed: int) -> object:
    options = CompareOptions(("random",), seeds=1, budget=4)
    return compare(get_model("jsc-tiny", pretrained=True), data, LAB, folder, options, seed=seed)


def _train(data: MaseDataModule, folder: Path, seed: int) -> object:
    options = RunOptions(max_steps=2, accelerator="cpu", seed=seed)
    torch.manual_seed(seed)
    return train(options, get_model("jsc-tiny"), data, folder.parent)


COMMANDS: dict[str, Command] = {"search": _search, "compare": _compare, "train": _train}


def count_starts(tries: int = 3) -> list[tuple[str, int, int, int, int]]:
    """By command: how many processes were started at once, and how many of them were right, refused and wrong.

    Right is the one whose files lie in the folder afterwards, the same that it leaves on its own; in each try there is
    one, and all others are refused.
    """
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    torch.set_num_threads(1)
    return [_counted(name, data, tries) for name in COMMANDS]


def _counted(name: str, data: MaseDataModule, tries: int) -> tuple[str, int, int, int, int]:
    with tempfile.TemporaryDirectory() as place:
        alone = [_content(_alone(name, data, Path(place) / f"alone-{seed}", seed)) for seed in range(AT_ONCE)]
        codes = [code for number in range(tries) for code in _at_once(name, data, Path(place) / str(number), alone)]
    right, refused = codes.count(RIGHT), codes.count(REFUSED)
    return name, len(codes), right, refused, len(codes) - right - refused


def _quiet() -> None:
    """Send what a forked process prints nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _run_alone(name: str, data: MaseDataModule, folder: Path, seed: int) -> None:
    _quiet()
    COMMANDS[name](data, folder, seed)


def _alone(name: str, data: MaseDataModule, place: Path, seed: int) -> Path:
    process = FORK.Process(target=_run_alone, args=(name, data, place / FOLDER, seed))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0, f"{name} with seed {seed} ended with {process.exitcode}"
    return place / FOLDER


def _at_once(name: str, data: MaseDataModule, place: Path, alone: list[str]) -> list[int]:
    """The codes of processes that begin together; the winner goes on when all others have tried."""
    begin, tried = FORK.Barrier(AT_ONCE), FORK.Barrier(AT_ONCE)
    given = (name, data, place / FOLDER, begin, tried)
    processes = [FORK.Process(target=_run, args=(seed, *given)) for seed in range(AT_ONCE)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    codes = [WRONG if process.exitcode is None else process.exitcode for process in processes]
    winners = [seed for seed, code in enumerate(codes) if code == RIGHT]
    is_whole = len(winners) == 1 and _content(place / FOLDER) == alone[winners[0]]
    return codes if is_whole else [WRONG] * AT_ONCE


def _run(seed: int, name: str, data: MaseDataModule, folder: Path, begin: Barrier, tried: Barrier) -> None:
    _quiet()
    settle = OwnFolder.settle

    def settle_when_all_have_tried(own: OwnFolder) -> None:
        tried.wait(PATIENCE)
        settle(own)

    OwnFolder.settle = settle_when_all_have_tried  # type: ignore[method-assign, assignment]
    begin.wait(PATIENCE)
    try:
        COMMANDS[name](data, folder, seed)
    except FolderError as error:
        tried.wait(PATIENCE)
        os._exit(REFUSED if "is in use" in str(error) else WRONG)
    except BaseException:
        os._exit(WRONG)
    os._exit(RIGHT)


def _content(folder: Path) -> str:
    """A checksum of what a command has found, in the files that hold it, but for what a clock says."""
    readers = {
        "trials.jsonl": _log,
        "log.json": _rows,
        "best.json": _rows,
        "evaluations.csv": _table,
        "last.ckpt": _weights,
    }
    found = {file.name: readers[file.name](file) for file in sorted(folder.iterdir()) if file.name in readers}
    assert found, f"there is nothing in {folder}"
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _log(file: Path) -> list[Any]:
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [(row.get("number"), row.get("point"), row.get("software_metrics")) for row in rows]


def _rows(file: Path) -> list[Any]:
    document = json.loads(file.read_text(encoding="utf-8"))
    rows = [row for row in document.values() if isinstance(row, dict) and "sampled_config" in row]
    return [(row["number"], row["sampled_config"], row["software_metrics"]) for row in rows]


def _table(file: Path) -> list[Any]:
    with file.open(encoding="utf-8", newline="") as stream:
        return [{**row, "seconds": None} for row in csv.DictReader(stream)]


def _weights(file: Path) -> list[Any]:
    state = torch.load(file, weights_only=False)["state_dict"]
    return [(key, value.tolist()) for key, value in state.items()]
