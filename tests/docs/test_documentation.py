"""What the documents show is run: the README's commands, every Python example, the lab's script, every link."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from chop.config.space_training import SpaceTrainingOptions
from tests.conftest import Command

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "machop"), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def blocks(document: Path, language: str) -> list[str]:
    found = BLOCK.findall(document.read_text(encoding="utf-8"))
    return [text for kind, note, text in found if kind == language and "no-run" not in note]


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, text=True, capture_output=True, check=False, encoding="utf-8"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def arguments(line: str) -> list[str]:
    """What stands behind `$ machop/ch` in a line of a document."""
    prompt, command, *words = shlex.split(line)
    assert (prompt, command) == ("$", "machop/ch"), line
    return words


def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "machop").symlink_to(ROOT / "machop")
    lines = [line for block in blocks(ROOT / "README.md", "console") for line in block.splitlines()]
    first, *others = [arguments(line) for line in lines if line.startswith("$ ") and line != "$ make test"]
    assert len(others) > 8
    shown = re.sub(r"\s+", " ", run([sys.executable, "-m", "chop.cli", *first], tmp_path))
    for command in others:
        ch(*command)
    promised = next(block for block in blocks(ROOT / "README.md", "text") if "Pareto front" in block)
    for line in promised.splitlines():
        numbers = re.sub(r"\s+", " ", line).strip()
        assert "…" in numbers or numbers in shown, numbers


def test_three_bits_recover_by_training_as_the_search_page_says(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "machop").symlink_to(ROOT / "machop")
    (block,) = blocks(ROOT / "docs" / "reference" / "search.md", "console")
    outputs = [ch(*arguments(line))[0] for line in block.splitlines()]
    scores = [float(found) for text in outputs[1:] for found in re.findall(r"accuracy +(0\.\d+) +\[", text)]
    assert scores[0] == pytest.approx(0.319, abs=0.01)
    assert scores[-1] == pytest.approx(0.698, abs=0.02)


@pytest.mark.parametrize(
    "name", ["jsc_mlp_formats", "jsc_mlp_three_bits", "jsc_toy_limits", "jsc_toy_sparsity", "toy_regex"]
)
def test_an_example_that_the_readme_does_not_run_runs(name: str, ch: Command) -> None:
    path = str(ROOT / "machop" / "configs" / "examples" / f"{name}.toml")
    assert "measured configurations" in ch("search", "--config", path, "--pretrained")[0]


def test_the_example_in_python_of_the_readme_runs(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    assert "seq_blocks_2" in run([sys.executable, "-c", example], tmp_path)


@pytest.mark.parametrize("place", range(len(blocks(ROOT / "docs" / "how_to" / "python.md", "python"))))
def test_the_examples_of_the_page_on_python_run(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = blocks(ROOT / "docs" / "how_to" / "python.md", "python")[place]
    if "transformers" in example:
        pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/how_to/python.md", "exec"), {"__name__": "example"})


def test_the_example_of_the_page_on_circuits_runs(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "docs" / "concepts" / "circuits.md", "python")
    *_, last = run([sys.executable, "-c", example], tmp_path).splitlines()
    luts, fused, *_, differing = map(float, last.split())
    assert luts > fused > 0 == differing


def test_the_example_of_the_page_on_batch_norm_runs(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "docs" / "concepts" / "batch_norm.md", "python")
    run([sys.executable, "-c", example], tmp_path)
    assert (tmp_path / "jsc_s.safetensors").is_file()


def test_the_example_of_the_page_on_rounding_runs(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "docs" / "concepts" / "rounding.md", "python")
    run([sys.executable, "-c", example], tmp_path)


def test_the_page_on_training_runs_in_short_form(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "machop").symlink_to(ROOT / "machop")
    page = ROOT / "docs" / "how_to" / "training.md"
    short = ROOT / "machop" / "configs" / "examples" / "jsc_mlp_for_space.toml"
    text = short.read_text(encoding="utf-8").replace("[3, 4, 6, 8]", "[4, 8]").replace("[2, 3, 4, 8]", "[3]")
    (tmp_path / "short.toml").write_text(
        text.replace("max_epochs = 24", "max_epochs = 1\nprobe_samples = 500"), encoding="utf-8"
    )
    (block,) = blocks(page, "console")
    commands = [line.replace(f"machop/configs/examples/{short.name}", "short.toml") for line in block.splitlines()]
    first, second, third = map(arguments, commands)
    ch(*first, "--max-steps", "20")
    out, _ = ch(*second)
    assert "before: accuracy of 16 probes" in out
    ch(*third[: third.index("--finish-epochs")], "--finish-epochs", "1")
    report = tmp_path / "mase_output" / "jsc-mlp-for-space" / "software" / "search_ckpts" / "report.md"
    assert "trained for this search space (16 networks" in report.read_text(encoding="utf-8")


def test_the_example_in_python_of_the_page_on_training_runs(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "docs" / "how_to" / "training.md", "python")
    example = example.replace("n_trials=50", "n_trials=4").replace("max_epochs=2", "max_epochs=1")
    assert "trained for" in run([sys.executable, "-c", example], tmp_path)


def test_the_page_on_training_states_every_option_and_its_default() -> None:
    text = (ROOT / "docs" / "how_to" / "training.md").read_text(encoding="utf-8")
    for option in fields(SpaceTrainingOptions):
        (row,) = re.findall(rf"^\| `{option.name}` \| ([^|]+) \|", text, re.MULTILINE)
        assert option.default is None or row.strip() == str(option.default), option.name


def test_the_page_on_using_a_network_runs_from_the_search_to_the_saved_file(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "machop").symlink_to(ROOT / "machop")
    page = ROOT / "docs" / "how_to" / "use_the_network.md"
    for line in (line for block in blocks(page, "console") for line in block.splitlines()):
        ch(*arguments(line))
    run([sys.executable, "-c", "\n".join(blocks(page, "python"))], tmp_path)
    loaded = ["test", "jsc-tiny", "jsc", "--load", "mine.safetensors"]
    assert "accuracy" in run([sys.executable, "-m", "chop", *loaded], tmp_path)


def test_the_page_on_export_runs_from_the_search_to_the_written_file(tmp_path: Path, ch: Command) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    (tmp_path / "machop").symlink_to(ROOT / "machop")
    page = ROOT / "docs" / "how_to" / "export.md"
    commands = blocks(page, "console")[0].splitlines()
    shown = [ch(*arguments(line))[0] for line in commands][-1].splitlines()
    (promised,) = blocks(page, "text")
    assert set(promised.splitlines()) <= set(shown)
    first, second = blocks(page, "python")[:2]
    assert "0 of 48,815" in run([sys.executable, "-c", f"{first}\n{second}"], tmp_path)


def test_the_page_on_reports_runs(tmp_path: Path, ch: Command) -> None:
    (tmp_path / "machop").symlink_to(ROOT / "machop")
    (commands,) = blocks(ROOT / "docs" / "how_to" / "report.md", "console")
    for line in commands.splitlines():
        ch(*arguments(line))
    assert (tmp_path / "mase_output" / "small.html").stat().st_size < 400_000
    assert (tmp_path / "mase_output" / "figures" / "front_single.pdf").is_file()


def test_the_example_of_the_page_on_export_as_qonnx_runs(tmp_path: Path) -> None:
    pytest.importorskip("qonnx", reason="the extra onnx is not installed")
    (example,) = [own for own in blocks(ROOT / "docs" / "how_to" / "export.md", "python") if '"qonnx"' in own]
    assert "QONNX executor: 0 of 48,815" in run([sys.executable, "-c", f"import chop\n{example}"], tmp_path)


def test_nobody_is_sent_to_another_package_of_that_name() -> None:
    """The package index has a `chop` that is not this one."""
    sources = [*DOCUMENTS, *(ROOT / "machop").rglob("*.py"), ROOT / "pyproject.toml", *ROOT.glob("examples/*/*.toml")]
    for source in sources:
        found = re.findall(r"""pip install "?chop\b(?!-search)|["']chop\[""", source.read_text(encoding="utf-8"))
        assert not found, f"{source}: {found}"


FILE = re.compile(r"^# (\w+\.(?:py|toml))\n")
GUIDES = sorted((ROOT / "docs" / "how_to").glob("*.md"))


def write_files(page: Path, folder: Path) -> list[str]:
    """Write every block of a page that begins with the name of a file, and return the names."""
    names = []
    for _, _, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if found := FILE.match(text):
            (folder / found[1]).write_text(text, encoding="utf-8")
            names.append(found[1])
    return names


def guide(name: str) -> Path:
    return ROOT / "docs" / "how_to" / name


OWN = [page.name for page in GUIDES if page.name.startswith("own_")]


@pytest.mark.parametrize("name", OWN)
def test_a_guide_to_your_own_part_runs_from_file_to_command(name: str, tmp_path: Path) -> None:
    (tmp_path / "machop").symlink_to(ROOT / "machop")
    names = write_files(guide(name), tmp_path)
    suites = [file for file in names if file.startswith("test_")]
    if suites:
        assert "passed" in run([sys.executable, "-m", "pytest", "-q", *suites], tmp_path)
    for example in blocks(guide(name), "python"):
        if not FILE.match(example):
            run([sys.executable, "-c", example], tmp_path)
    for block in blocks(guide(name), "console"):
        for line in block.splitlines():
            run([sys.executable, "-m", "chop.cli", *arguments(line)], tmp_path)


def test_a_model_of_hugging_face_trains_searches_and_comes_back(tmp_path: Path, ch: Command) -> None:
    write_files(guide("hugging_face.md"), tmp_path)
    train, search, transform, test = map(arguments, blocks(guide("hugging_face.md"), "console")[0].splitlines())
    ch(*train)
    assert "Pareto front: " in ch(*search)[0]
    ch("test", *transform[1:])
    scores = (tmp_path / "mase_output/hf/software/test/scores.json").read_text(encoding="utf-8")
    ch(*transform)
    ch(*test)
    assert (tmp_path / "mase_output/hf/software/test/scores.json").read_text(encoding="utf-8") == scores


@pytest.mark.parametrize("model", ["build_model", pytest.param("build_llama", marks=pytest.mark.slow)])
def test_a_language_model_trains_searches_and_comes_back(model: str, tmp_path: Path, ch: Command) -> None:
    write_files(guide("language_model.md"), tmp_path)
    if model == "build_llama":
        text = (tmp_path / "lm.toml").read_text(encoding="utf-8")
        (tmp_path / "lm.toml").write_text(text.replace("seed.head", "seed.lm_head"), encoding="utf-8")
    (block,) = blocks(guide("language_model.md"), "console")
    train, search, transform, test = map(arguments, block.replace("build_model", model).splitlines())
    assert "perplexity" in ch(*train)[0]
    assert "of 6 measured configurations" in ch(*search)[0]
    ch("test", *transform[1:])
    scores = (tmp_path / "mase_output/lm/software/test/scores.json").read_text(encoding="utf-8")
    assert set(json.loads(scores)) == {"loss", "perplexity", "accuracy_micro"}
    ch(*transform)
    ch(*test)
    assert (tmp_path / "mase_output/lm/software/test/scores.json").read_text(encoding="utf-8") == scores


def test_a_task_of_your_own_trains(tmp_path: Path, ch: Command) -> None:
    write_files(guide("own_task.md"), tmp_path)
    write_files(guide("own_model.md"), tmp_path)
    text = (tmp_path / "mine.py").read_text(encoding="utf-8").replace("x.sum(1, keepdim=True)", "x.sum(1).round()")
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    own = ["--model", "mine.py:build_model", "--dataset", "mine.py:build_data", "--max-epochs", "1"]
    assert "exact 0." in ch("train", *own, "--plugin", "my_task.py", "--task", "counting")[0]


def test_the_script_of_the_lab_runs() -> None:
    """Run where it stands, as the lab says; with random weights sixteen formats seldom all score alike."""
    script = (ROOT / "docs" / "labs" / "lab3.py").read_text(encoding="utf-8")
    check = "\nassert len(recorded_accs) == 16\nassert len({float(a) for a in recorded_accs}) > 1\n"
    seed = "import torch\ntorch.manual_seed(0)\n"
    run([sys.executable, "-c", seed + script + check], ROOT / "docs" / "labs")


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
