"""Run the exercises of docs/tutorials/exercises.md, write their tables, draw their pictures: `make exercises`.

`--only NAME` runs one of widths, sparsity, fractions, formats, accuracy_and_bits; `--folder` keeps the searches,
and takes those that are there.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from pictures.dark import with_dark_colours
from pictures.pages import table
from stored_results import store

import chop
from chop.record.comparison_folder import ComparisonFolder
from chop.report.plots.curves import curves
from chop.report.plots.matplotlib_settings import rendered
from chop.report.plots.pictures import Curves
from chop.scoring.intervals import wilson_interval
from chop.tools.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "machop" / "configs" / "examples"
PICTURES = ROOT / "docs" / "pictures"
SEEDS = (0, 1, 2)
SAMPLES = 4000
COMPARED = ("--strategies", "brute_force,brute_force_random,random,tpe", "--seeds", "20", "--budget", "100")


def ch(folder: Path, *arguments: str) -> None:
    """Run a command of the page in `folder`, on one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = folder / "commands.log"
    with told.open("a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "chop", *arguments]
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=True)


def search(folder: Path, name: str, *more: str) -> chop.Study:
    """The study of an example's search; `more` are options of the command line."""
    project = "-".join(["reviews", name.replace("_", "-"), *(own.rpartition("=")[2] for own in more[1::2])])
    found = folder / "mase_output" / project / "software" / "search_ckpts"
    if not (found / "report.html").is_file():
        config = str(EXAMPLES / f"reviews_{name}.toml")
        ch(folder, "search", "--config", config, "--pretrained", "--project", project, *more)
    return chop.load_study(found)


def draw(name: str, figure: object) -> None:
    """Write a figure as docs/pictures/exercise_NAME.svg."""
    write_picture(name, rendered(figure, "svg"))  # type: ignore[arg-type]


def write_picture(name: str, svg: bytes) -> None:
    """Write a picture, for light and dark pages."""
    write_whole(PICTURES / f"exercise_{name}.svg", with_dark_colours(svg.decode()))


@dataclass(frozen=True)
class Table:
    """The table of an exercise, and what is said below it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    below: str = ""


def curve_table(found: Curves) -> Table:
    """A row for each place across, a column for each curve: the median, and the range where there are several."""
    across = sorted({place.x for own in found.curves for place in own.places})
    by = [{place.x: place for place in own.places} for own in found.curves]
    rows = []
    for x in across:
        cells = []
        for own in by:
            place = own.get(x)
            text = "" if place is None else f"{place.middle:.3f}"
            if place is not None and place.networks > 1 and place.low < place.high:
                text += f" [{place.low:.3f}, {place.high:.3f}]"
            cells.append(text)
        rows.append([f"{x:g}", *cells])
    return Table([found.x, *map(found.label, found.curves)], rows, f"FP32: {found.baseline}")


def widths(folder: Path) -> Table:
    """Accuracy against the width of all linear layers, three seeds."""
    studies = [search(folder, "widths", "--set", f"finish.seed={seed}") for seed in SEEDS]
    draw("widths", chop.plot_curves(studies, "weight_width", backend="matplotlib"))
    return curve_table(curves({"": [own.files for own in studies]}, "weight_width", None, None))


def sparsity(folder: Path) -> Table:
    """Accuracy against the share of pruned weights, by magnitude and at random."""
    study = search(folder, "sparsity")
    asked = ("weight_sparsity", "weight_sparsity_pattern")
    draw("sparsity", chop.plot_curves(study, asked[0], by=asked[1], backend="matplotlib"))
    return curve_table(curves({"": [study.files]}, asked[0], None, asked[1]))


def fractions(folder: Path) -> Table:
    """The best accuracy so far of grid, random and TPE on 729 networks."""
    found = folder / "mase_output" / "reviews-fractions" / "software" / "compare"
    if not (found / "report.html").is_file():
        ch(folder, "compare", "--config", str(EXAMPLES / "reviews_fractions.toml"), "--pretrained", *COMPARED)
    write_picture("fractions", (found / "best_so_far.svg").read_bytes())
    summary = ComparisonFolder(found).summary
    best, places = float(summary.front["accuracy"][0]), (1, 3, 10, 30, 100)
    rows = []
    for own in summary.strategies:
        bands = [own.regret["accuracy"].at(count) for count in places]
        cells = [
            f"{best - mid:.3f}" + (f" [{best - far:.3f}, {best - near:.3f}]" if near < far else "")
            for near, mid, far in bands
        ]
        rows.append([f"`{own.name}`", *cells])
    _, low, _ = wilson_interval(round(best * SAMPLES), SAMPLES)
    within = int((summary.cloud["accuracy"] >= low).sum())
    below = f"best of all: {best:.4f}; not told apart from it (above {low:.4f}): {within} of {summary.space_size}"
    return Table(["best accuracy after", *map(str, places)], rows, below)


def formats(folder: Path) -> Table:
    """Accuracy against bits, a curve for each number format."""
    study = search(folder, "formats")
    draw("formats", chop.plot_curves(study, "average_weight_bits", by="name", backend="matplotlib"))
    found = curves({"": [study.files]}, "average_weight_bits", None, "name")
    rows = []
    for own in found.curves:
        enough = [place.x for place in own.places if found.baseline and place.high >= found.baseline - 0.01]
        best = max(own.places, key=lambda place: place.high)
        by_width = [max((p.high for p in own.places if most - 1 < p.x <= most), default=None) for most in (3, 4, 5, 6)]
        cells = ["" if value is None else f"{value:.3f}" for value in by_width]
        rows.append([f"`{own.name}`", *cells, f"{best.high:.3f}", f"{min(enough):.2f}" if enough else "–"])
    return Table(["format", "> 2 to 3 bits", "> 3 to 4", "> 4 to 5", "> 5 to 6", "best", "bits to FP32 - 1 %"], rows)


def accuracy_and_bits(folder: Path) -> Table:
    """The front of accuracy and bits, with the intervals of the test set."""
    study = search(folder, "accuracy_and_bits")
    figure = study.plot_front(backend="matplotlib")
    figure.set_size_inches(5.2, 4.2)
    draw("accuracy_and_bits", figure)
    names = ("accuracy", "average_bitwidth", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "trial")
    rows = sorted(zip(*(list(study.front[name]) for name in names), strict=True), key=lambda row: row[1])
    cells = [
        [str(trial), f"{bits:.2f}", f"{found:.3f}", f"{test:.3f} [{low:.3f}, {high:.3f}]"]
        for found, bits, test, low, high, trial in rows
    ]
    apart = sum(one[4] < other[3] for one, other in pairwise(rows))
    below = f"Neighbours whose intervals lie apart: {apart} of {len(rows) - 1}"
    return Table(["trial", "bits", "validation", "test [95 %]"], cells, below)


EXERCISES: dict[str, Callable[[Path], Table]] = {
    own.__name__: own for own in (widths, sparsity, fractions, formats, accuracy_and_bits)
}


def seconds_of_children() -> float:
    """CPU seconds of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """All exercises, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=EXERCISES)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, run in EXERCISES.items():
            if arguments.only in (None, name):
                print(f"\n# {name}\n", flush=True)
                before, clock = seconds_of_children(), time.perf_counter()
                found = run(folder)
                print("\n".join([*table(found.head, found.rows), "", found.below]))
                store("exercises", {name: asdict(found)})
                cpu, wall = seconds_of_children() - before, time.perf_counter() - clock
                print(f"\n{name}: {cpu:.0f} CPU seconds, {wall:.0f} seconds", flush=True)


if __name__ == "__main__":
    main()
