"""What documents promise beside what they show; test_pages.py runs what they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from chop.config.space_training import SpaceTrainingOptions
from tests.conftest import Command
from tests.docs.pages import FILE, PAGES, ROOT, blocks

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "machop"), "OMP_NUM_THREADS": "1"}


def write_files(page: str, folder: Path) -> None:
    """Write every block of a page that begins with the name of a file."""
    for block in blocks(f"docs/how_to/{page}"):
        if found := FILE.match(block.text):
            (folder / found[1]).write_text(block.text, encoding="utf-8")


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["jsc_mlp_formats", "jsc_mlp_three_bits", "jsc_toy_limits", "jsc_toy_sparsity", "toy_regex"]
)
def test_an_example_that_the_readme_does_not_run_runs(name: str, ch: Command) -> None:
    path = str(ROOT / "machop" / "configs" / "examples" / f"{name}.toml")
    assert "measured configurations" in ch("search", "--config", path, "--pretrained")[0]


def test_the_page_on_training_states_every_option_and_its_default() -> None:
    text = (ROOT / "docs" / "how_to" / "training.md").read_text(encoding="utf-8")
    for option in fields(SpaceTrainingOptions):
        (row,) = re.findall(rf"^\| `{option.name}` \| ([^|]+) \|", text, re.MULTILINE)
        assert option.default is None or row.strip() == str(option.default), option.name


def test_nobody_is_sent_to_another_package_of_that_name() -> None:
    """The package index has a `chop` that is not this one."""
    sources = [
        *PAGES.values(),
        *(ROOT / "machop").rglob("*.py"),
        ROOT / "pyproject.toml",
        *ROOT.glob("examples/*/*.toml"),
    ]
    for source in sources:
        found = re.findall(r"""pip install "?chop\b(?!-search)|["']chop\[""", source.read_text(encoding="utf-8"))
        assert not found, f"{source}: {found}"


def test_a_task_of_your_own_trains(tmp_path: Path, ch: Command) -> None:
    write_files("own_task.md", tmp_path)
    write_files("own_model.md", tmp_path)
    change(tmp_path / "mine.py", "x.sum(1, keepdim=True)", "x.sum(1).round()")
    own = ["--model", "mine.py:build_model", "--dataset", "mine.py:build_data", "--max-epochs", "1"]
    assert "exact 0." in ch("train", *own, "--plugin", "my_task.py", "--task", "counting")[0]


@pytest.mark.slow
def test_a_llama_of_the_page_on_language_models_is_searched(tmp_path: Path, ch: Command) -> None:
    write_files("language_model.md", tmp_path)
    change(tmp_path / "lm.toml", "seed.head", "seed.lm_head")
    own = ["--model", "lm.py:build_llama", "--dataset", "lm.py:build_data", "--config", "lm.toml"]
    assert "perplexity" in ch("train", *own)[0]
    assert "of 6 measured" in ch("search", *own, "--load", "mase_output/lm/software/training_ckpts/best.ckpt")[0]


def test_the_script_of_the_lab_runs() -> None:
    """Run where it stands, as the lab says; with random weights sixteen formats seldom all score alike."""
    script = (ROOT / "docs" / "labs" / "lab3.py").read_text(encoding="utf-8")
    check = "\nassert len(recorded_accs) == 16\nassert len({float(a) for a in recorded_accs}) > 1\n"
    seed = "import torch\ntorch.manual_seed(0)\n"
    command = [sys.executable, "-c", seed + script + check]
    subprocess.run(command, cwd=ROOT / "docs" / "labs", env=ENVIRONMENT, check=True)


def test_links_lead_somewhere() -> None:
    for document in PAGES.values():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_glossary_is_in_alphabetical_order_with_each_term_once() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = [found for found in re.findall(r"^\| (.+?) \|", page, re.MULTILINE) if found != "term"]
    keys = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term in terms]
    assert len(keys) > 100
    assert keys == sorted(set(keys))


def test_the_map_of_rooms_is_that_of_the_layers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers, *_) = (own["layers"] for own in project["tool"]["importlinter"]["contracts"] if own["type"] == "layers")
    rooms = [room.strip().removeprefix("chop.") for layer in layers for room in layer.split("|")]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| room under")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = [name.partition("/")[0].removesuffix(".py") for cell in cells for name in re.findall("`(.+?)`", cell)]
    assert named == rooms


def test_the_index_lists_every_decision_in_order() -> None:
    folder = ROOT / "docs" / "decisions"
    text = (folder / "index.md").read_text(encoding="utf-8")
    listed = dict(reversed(pair) for pair in re.findall(r"^- \[(.+)\]\((\d.+\.md)\)$", text, re.MULTILINE))
    titles = {path.name: path.read_text(encoding="utf-8").splitlines()[0] for path in folder.glob("0*.md")}
    assert {name: f"# {title}" for name, title in listed.items()} == titles
    for group in text.split("\n## ")[1:]:
        numbers = [int(number) for number in re.findall(r"^- \[(\d+)\.", group, re.MULTILINE)]
        assert numbers and numbers == sorted(numbers)
