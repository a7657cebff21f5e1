"""The picture of docs/comparison.md: what each found on the jets, and the exact front."""

from __future__ import annotations

from pathlib import Path

from instead.exact import Judge
from instead.tables import runs_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "pictures" / "comparison.svg"
INK = "#222222"
DRAWN = {
    ("chop", "surrogate"): ("#005a9c", "o", "chop, surrogate, 150 networks"),
    ("optuna", "careful"): ("#9a4a00", "s", "Optuna loop, careful, 400 networks"),
    ("modelopt", "careful"): ("#4f7a28", "^", "ModelOpt, careful"),
    ("aimet", "careful"): ("#8a2f7d", "v", "AIMET, careful"),
    ("mct", "careful"): ("#b8860b", "D", "MCT"),
}


def draw(name: str, judge: Judge, folder: Path) -> None:
    """Write the picture of one problem; the best networks of the first seed of each."""
    figure = Figure(figsize=(6.8, 5.0), layout="constrained")
    axes = figure.add_subplot()
    exact = runs_of(folder, name, "chop", "exhaustive")[0]
    bitops, reached = judge.values(exact.choices)
    axes.step(bitops, reached, where="post", color=INK, linewidth=1.2, label="exact front (chop, all 390,625 networks)")
    for (rival, setting), (color, marker, label) in DRAWN.items():
        for run in runs_of(folder, name, rival, setting)[:1]:
            axes.plot(*judge.values(run.choices), marker, color=color, markersize=4.5, alpha=0.85, label=label)
    finish(axes, name)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def finish(axes: Axes, name: str) -> None:
    """Title, labels and legend."""
    axes.set(
        xlabel="BitOPs (thousands)",
        ylabel="accuracy on 1,000 validation samples",
        title=f"{name}: widths chosen by each, measured alike",
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}")
    axes.grid(color="#e0e0e0", linewidth=0.7)
    axes.legend(frameon=False, loc="lower right")
