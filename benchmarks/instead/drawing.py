"""The picture of docs/comparison.md: what each found on the jets, and the exact front."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from instead.exact import Judge
from instead.tables import runs_of

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from pictures.style import BLUE, GREEN, INK, ORANGE, PURPLE, YELLOW, new_figure, save  # noqa: E402

PICTURE = ROOT / "docs" / "pictures" / "comparison.svg"
DRAWN = {
    ("chop", "surrogate"): (BLUE, "o", "chop, surrogate"),
    ("optuna", "careful"): (ORANGE, "s", "Optuna loop, careful"),
    ("modelopt", "careful"): (GREEN, "^", "ModelOpt, careful"),
    ("aimet", "careful"): (PURPLE, "v", "AIMET, careful"),
    ("mct", "careful"): (YELLOW, "D", "MCT"),
}


def draw(name: str, judge: Judge, folder: Path) -> None:
    """Write the picture of one problem; the best networks of the first seed of each."""
    figure, axes = new_figure(4.2)
    exact = runs_of(folder, name, "chop", "exhaustive")[0]
    axes.step(*judge.values(exact.choices), where="post", color=INK, linewidth=1.1, label="exact front")
    for (rival, setting), (color, marker, label) in DRAWN.items():
        for run in runs_of(folder, name, rival, setting)[:1]:
            axes.plot(*judge.values(run.choices), marker, color=color, markersize=4, alpha=0.85, label=label)
    finish(axes, name)
    save(figure, PICTURE)


def finish(axes: Any, name: str) -> None:
    """Title, labels and legend."""
    axes.set(xlabel="BitOPs (thousands)", ylabel="validation accuracy", title=f"{name}: widths chosen by each")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}")
    axes.grid(linewidth=0.7)
    axes.legend(loc="lower right")
