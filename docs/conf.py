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

extensions = ["sphinx.ext.autodoc", "myst_nb", "docstrings", "generated", "repository_files"]
exclude_patterns = ["_build"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]
"""Types of signatures are those of many packages, which no page here describes."""

autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"
smartquotes = False
nb_execution_mode = "off"
"""Notebooks show the outputs that they hold; the tests run them."""

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
