"""The suites say what they need where it is not installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

from chop.tools.extras import DISTRIBUTION, install_command

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "hypothesis" else real(name, *rest)
import chop.testing
"""


def test_what_is_missing_is_named_with_the_command_that_installs_it() -> None:
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert found.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: chop.testing needs hypothesis: {install_command('testing')}"
    )


def test_the_command_names_this_distribution_and_its_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    assert {"testing", "plots", "optuna-samplers"} <= project["optional-dependencies"].keys()
    assert all(importlib.util.find_spec(name) for name in project["optional-dependencies"]["testing"])
