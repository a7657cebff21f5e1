"""The documentation site: `make docs` builds it from docs/ into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

import chop

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "chop"
author = "The chop developers"
version = release = chop.__version__
html_title = f"chop {release}"

extensions = ["myst_nb", "repository_files"]
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nitpicky = True
nb_execution_mode = "off"
"""Notebooks show the outputs that they hold; the tests run them."""

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
