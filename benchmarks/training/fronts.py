"""The exact front of jsc-mlp before and after one training for its space, as docs/pictures/space_training.svg.

    make bench-training PART=fronts

Both searches measure all 65,536 networks on 4,096 validation samples.
"""

from __future__ import annotations

import copy
import io
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import tomlkit
import torch
from saved_picture import BLUE, INK, ORANGE, new_figure, save, whole_ticks
from torch import nn

import chop
from chop.actions.search import search
from chop.api.space import Space
from chop.dataset import MaseDataModule
from chop.models import get_model
from chop.record.trial import BestRow
from chop.report.search_progress import bars

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "machop" / "configs" / "examples" / "jsc_mlp_for_space.toml"
PICTURE = ROOT / "docs" / "pictures" / "space_training.svg"
TICKS = (30_000, 50_000, 100_000, 200_000)
LEAST = (0.60, 0.65, 0.68, 0.70, 0.71, 0.72, 0.73, 0.74)


def front(model: nn.Module, data: MaseDataModule, table: dict[str, Any]) -> list[BestRow]:
    """The exact front of the space with the weights of a model, by BitOPs."""
    with tempfile.TemporaryDirectory() as folder, bars(False), redirect_stdout(io.StringIO()):
        best = search(model, data, copy.deepcopy(table), folder).best
    return sorted(best, key=lambda row: row.trial.metrics["bitops"])


def draw(before: list[BestRow], after: list[BestRow], in_float: float) -> None:
    """Write the picture."""
    figure, axes = new_figure(3.8)
    fronts = ((before, ORANGE, "s--", "float training"), (after, BLUE, "o-", "one training for the space"))
    for rows, color, style, label in fronts:
        values = [[row.trial.metrics[name] for row in rows] for name in ("bitops", "accuracy")]
        axes.plot(*values, style, color=color, linewidth=1.6, markersize=4, label=label)
    axes.axhline(in_float, color=INK, linewidth=1, linestyle=":", label="float network")
    axes.set(
        xscale="log", xlabel="BitOPs", ylabel="validation accuracy", title="jsc-mlp: exact fronts of 65,536 networks"
    )
    whole_ticks(axes.xaxis, TICKS)
    axes.grid(linewidth=0.7)
    axes.legend(loc="lower right")
    save(figure, PICTURE)


def least_bitops(rows: list[BestRow], accuracy: float) -> str:
    """The fewest BitOPs for an accuracy."""
    found = [row.trial.metrics["bitops"] for row in rows if row.trial.metrics["accuracy"] >= accuracy]
    return f"{min(found):,.0f}" if found else "none"


def main() -> None:
    """Search twice, print the table and draw the picture."""
    torch.set_num_threads(1)
    config = tomlkit.parse(CONFIG.read_text(encoding="utf-8")).unwrap()
    table = config["search"]
    data = MaseDataModule("jsc", batch_size=512)
    data.prepare_data()
    data.setup()
    model = get_model("jsc-mlp", dataset_info=data.dataset_info, pretrained=True).eval()
    before = front(model, data, table)
    space = Space.from_table(table["search_space"])
    trained = chop.train_for_space(model, data, space, **config["train_for_space"])
    after = front(trained.model, data, table)
    draw(before, after, in_float(model, data))
    print(f"| accuracy at least | {' | '.join(map(str, LEAST))} |\n|{'---|' * (len(LEAST) + 1)}")
    for name, rows in (("BitOPs, float training", before), ("BitOPs, trained for the space", after)):
        print(f"| {name} | {' | '.join(least_bitops(rows, least) for least in LEAST)} |")
    print(f"\n{trained}; {PICTURE.relative_to(ROOT)} is written")


def in_float(model: nn.Module, data: MaseDataModule) -> float:
    """The accuracy of the float network on the same samples."""
    accumulator = data.task.accumulator()
    with torch.no_grad():
        for x, y in data.batches("val", 4096):
            accumulator.update(model(x), y)
    return accumulator.result()["accuracy"]
