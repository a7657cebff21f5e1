"""Registries of everything that plug-ins may add: a broken plug-in costs nobody anything but itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import chop
from chop.actions.search import search
from chop.dataset import MaseDataModule
from chop.errors import ChopError, ConfigError
from chop.formats import FORMATS, Format
from chop.models import get_model
from chop.nn.ops import OP_TABLE
from chop.registry import Registry, subclass_problem
from chop.weight_transforms import WEIGHT_TRANSFORMS
from tests.actions.search.conftest import jets, lab
from tests.own_space import FirstFew

__all__ = ["jets", "lab"]
ROOT = Path(__file__).resolve().parents[1]
GROUPS = (
    "datasets",
    "executors",
    "formats",
    "models",
    "ops",
    "passes",
    "runners",
    "search_spaces",
    "strategies",
    "tasks",
    "weight_transforms",
)
BROKEN = {"aa-absent": "no_such_module:Thing", "ab-no-kind": "builtins:print", "ac-exits": "exits_on_import:Thing"}


def installed(folder: Path, points: dict[str, str], groups: tuple[str, ...] = GROUPS) -> Path:
    """A folder for `sys.path` that holds what pip would write for a package with these entry points in the groups."""
    facts = folder / "broken_package-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{name} = {value}\n" for name, value in points.items()]
    text = "".join(f"[chop.{group}]\n{''.join(lines)}\n" for group in groups)
    (facts / "entry_points.txt").write_text(text, encoding="utf-8")
    (folder / "exits_on_import.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    return folder


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which a broken package is installed."""
    path = installed(tmp_path / "site", BROKEN)
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'machop'}:{path}", "COLUMNS": "900", "OMP_NUM_THREADS": "1"}


def ch(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "chop", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, encoding="utf-8", capture_output=True, check=False
    )


def test_everything_works_beside_a_broken_package_until_it_is_asked_for(broken: dict[str, str], tmp_path: Path) -> None:
    text = (ROOT / "machop/configs/examples/jsc_tiny_brute_force.toml").read_text(encoding="utf-8")
    (tmp_path / "good.toml").write_text(text, encoding="utf-8")
    asked = text.replace('name = "brute_force"', 'name = "aa-absent"')
    (tmp_path / "asked.toml").write_text(asked, encoding="utf-8")
    good = ch(broken, tmp_path, "search", "--config", "good.toml", "--pretrained")
    assert good.returncode == 0, good.stdout + good.stderr
    refused = ch(broken, tmp_path, "search", "--config", "asked.toml", "--pretrained")
    assert refused.returncode == 2
    assert "search strategy 'aa-absent' of package 'broken-package' cannot be loaded" in refused.stderr


def test_info_names_every_broken_plug_in_and_why(broken: dict[str, str], tmp_path: Path) -> None:
    shown = ch(broken, tmp_path, "info")
    assert shown.returncode == 0, shown.stderr
    words = " ".join(shown.stdout.split())
    kinds = (
        "data set",
        "executor",
        "task",
        "number format",
        "model",
        "op",
        "pass",
        "runner",
        "search space",
        "search strategy",
        "weight transform",
    )
    for kind in kinds:
        assert f"broken: the {kind} 'aa-absent' of package 'broken-package' cannot be loaded" in words, kind
        assert (
            f"broken: the {kind} 'ac-exits' of package 'broken-package' cannot be loaded (SystemExit: 3, in " in words
        ), kind
    assert "it is no subclass of SearchStrategyBase" in words


def test_what_is_broken_says_so_each_time_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path / "site", {**BROKEN, "good": "pathlib:PurePath"}))
    paths = Registry[Any]("chop.formats", "path", (), subclass_problem(Path.__mro__[-2]))
    for _ in range(2):
        with pytest.raises(ChopError, match=r"the path 'ab-no-kind' of package .* it is no subclass"):
            _ = paths["ab-no-kind"]
    assert list(paths.broken()) == ["aa-absent", "ab-no-kind", "ac-exits"]
    assert "good" in paths.working()
    assert "aa-absent" in paths.names()


@pytest.mark.parametrize(
    ("registry", "space"),
    [(OP_TABLE, {"layers": ["fails"]}), (WEIGHT_TRANSFORMS, {"weight_fails": [1]})],
    ids=["op", "weight transform"],
)
def test_a_broken_op_or_weight_transform_is_named_where_it_is_asked_for(
    registry: Registry[Any],
    space: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    group = registry.group.removeprefix("chop.")
    site = installed(tmp_path / "site", {"fails": "fails_on_import:Thing"}, (group,))
    (site / "fails_on_import.py").write_text("print('hello')\n1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(site)
    data = {part: [(torch.zeros(2, 4), torch.tensor([0, 1]))] for part in ("train", "val", "test")}
    why = r"'fails' of package 'broken-package' cannot be loaded \(ZeroDivisionError: .*fails_on_import.py:2\)"
    with registry.restored():
        registry._plugins = None
        with pytest.raises(ChopError, match=rf"the {registry.noun} {why}"):
            own = chop.Space(["integer"], [4], **space)
            chop.search(torch.nn.Linear(4, 2), data, own, objectives=["loss"], n_trials=1)
        with pytest.raises(ChopError) as unknown:
            _ = registry["fais"]
        assert "fails" not in str(unknown.value).partition("known:")[2]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_registers_is_not_there_in_the_next(turn: int) -> None:
    assert "of-one-test" not in FORMATS
    FORMATS.register("of-one-test", aliases=("of-one",))(type("Own", (Format,), {}))
    assert turn and "of-one" in FORMATS


def test_a_thing_of_another_kind_is_refused_where_it_is_registered() -> None:
    numbers = Registry[Any]("chop.none", "number", (), subclass_problem(int))
    with pytest.raises(ChopError, match="the number 'text' cannot be registered: it is no subclass of int"):
        numbers.register("text")(str)
    numbers.register("truth")(bool)
    assert numbers.name_of(bool) == "truth"
    with pytest.raises(ChopError, match="is not registered as a number"):
        numbers.name_of(int)


def test_a_space_has_setup_keys_of_its_own(tmp_path: Path, lab: dict[str, Any], jets: MaseDataModule) -> None:
    lab["search_space"] |= {"name": "first-few", "setup": {"by": "name", "first": 9}}
    found = search(get_model("jsc-tiny", pretrained=True), jets, lab, tmp_path / "a")
    assert len(found.trials) == 9
    lab["search_space"]["setup"]["stride"] = 1
    with pytest.raises(ConfigError, match=r"search.search_space.setup.stride: unknown key"):
        search(get_model("jsc-tiny"), jets, lab, tmp_path / "b")
    del lab["search_space"]["setup"]["stride"]
    lab["search_space"]["setup"]["first"] = 7
    with pytest.raises(ChopError, match="choices changed"):
        search(get_model("jsc-tiny", pretrained=True), jets, lab, tmp_path / "a", resume=True)
    lab["search_space"] |= {"name": "graph/quantize/mixed_precision_ptq"}
    with pytest.raises(ConfigError, match=r"search.search_space.setup.first: unknown key"):
        search(get_model("jsc-tiny"), jets, lab, tmp_path / "b")
    assert FirstFew.Setup.__name__ == "OwnSetup"
