"""Train the weights that ship with the models and write docs/reference/models.md: `make weights`.

`--try-seeds N` shows what the first N seeds of each model reach on validation rows, to choose one; `--only NAME` does
one model and leaves the rows of the others as they are.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from chop.actions.evaluate import test_scores
from chop.actions.setup import Prepared, prepare
from chop.actions.train import train
from chop.config.options import RunOptions
from chop.models.checkpoint import load_weights, save_weights
from chop.scoring.intervals import Interval
from chop.tools.files import write_whole
from chop.tools.logger import set_logging_verbosity

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "machop" / "chop" / "models" / "weights"
TABLE = ROOT / "docs" / "reference" / "models.md"


def recipe(model: str, dataset: str, seed: int, epochs: int, rate: float, batch: int) -> RunOptions:
    """How one model is trained."""
    return RunOptions(
        model=model,
        dataset=dataset,
        seed=seed,
        max_epochs=epochs,
        learning_rate=rate,
        lr_scheduler="cosine",
        batch_size=batch,
        accelerator="cpu",
    )


RECIPES = (
    recipe("toy", "toy_tiny", seed=1, epochs=60, rate=5e-3, batch=64),
    recipe("jsc-tiny", "jsc-sim", seed=7, epochs=20, rate=1e-2, batch=1024),
    recipe("jsc-toy", "jsc-sim", seed=1, epochs=30, rate=1e-2, batch=512),
    recipe("jsc-s", "jsc-sim", seed=1, epochs=40, rate=4e-3, batch=512),
    recipe("jsc-mlp", "jsc-sim", seed=1, epochs=50, rate=3e-3, batch=512),
    recipe("shapes-cnn", "shapes", seed=2, epochs=40, rate=4e-3, batch=128),
    recipe("reviews-transformer", "reviews", seed=1, epochs=14, rate=4e-3, batch=128),
)


@dataclass(frozen=True)
class Trained:
    """A trained model, its options and the validation score that its best epoch had."""

    options: RunOptions
    prepared: Prepared
    validation: float


def train_one(options: RunOptions) -> Trained:
    """Train by `options` and keep the best epoch."""
    prepared = prepare(options)
    with tempfile.TemporaryDirectory() as folder:
        result = train(options, prepared.model, prepared.data_module, Path(folder))
        load_weights(prepared.model, result.best_checkpoint)
    validation = result.best_metrics["accuracy"]
    print(f"{options.model} seed {options.seed}: validation {validation:.4f}", flush=True)
    return Trained(options, prepared, validation)


def table_row(trained: Trained) -> str:
    """A line of the table in the documentation."""
    options = trained.options
    scores = test_scores(trained.prepared.model, trained.prepared)
    parameters = sum(parameter.numel() for parameter in trained.prepared.model.parameters())
    settings = f"{options.max_epochs} epochs, Adam {options.learning_rate:g}, batch {options.batch_size}"
    cells = [
        f"`{options.model}`",
        str(options.dataset),
        f"{parameters:,}",
        interval(scores["accuracy_micro"]),
        interval(scores["accuracy"]),
        str(options.seed),
        settings,
    ]
    return f"| {' | '.join(cells)} |"


def interval(found: Interval) -> str:
    """A score with its 95 % interval."""
    value, low, high = found
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


HEAD = """# The bundled models and their scores

This page is written by `make weights`, which trains every model again (cosine schedule, best epoch by validation
score, one thread, torch {torch}). Scores are on the test set with 95 % intervals. `accuracy_micro` is the share of
correct samples, `accuracy` the mean over classes. `jsc-sim` is simulated for chop: do not compare its figures with
those on published data.

| model | data | parameters | accuracy_micro | accuracy (macro) | seed | trained with |
|---|---|---|---|---|---|---|
"""


def written_rows() -> dict[str, str]:
    """The lines of the table as it stands, by model."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return {line.split("`")[1]: line for line in lines if line.startswith("| `")}


def write_table(rows: dict[str, str]) -> None:
    """Write the documentation, with the models in the order of their recipes."""
    lines = [rows[options.model] for options in RECIPES if options.model in rows]
    write_whole(TABLE, HEAD.format(torch=torch.__version__.partition("+")[0]) + "\n".join(lines) + "\n")


def main() -> None:
    """Train all models, or look for seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--try-seeds", type=int, default=0)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    set_logging_verbosity("warning")
    chosen = [options for options in RECIPES if arguments.only in (None, options.model)]
    if arguments.try_seeds:
        for options in chosen:
            for seed in range(arguments.try_seeds):
                train_one(replace(options, seed=seed))
        return
    rows = {} if arguments.only is None else written_rows()
    for options in chosen:
        trained = train_one(options)
        save_weights(trained.prepared.model, WEIGHTS / f"{options.model}.safetensors")
        assert options.model is not None
        rows[options.model] = table_row(trained)
    write_table(rows)


if __name__ == "__main__":
    main()
