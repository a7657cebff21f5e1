"""The landscape in the folder of a comparison, wherever its figures come from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chop.actions.compare.answers import Answers
from chop.actions.search.landscape import LANDSCAPE_FILE, PARTS_FOLDER, join_parts, part_path, read_about, write_part


def keep_landscape(known: Path, folder: Path, about: Mapping[str, Any]) -> Path:
    """Put the landscape `known` into `folder`, whole or not at all, with the goals of `about`; its path.

    It is the same file where goals and disk allow it, else a copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / LANDSCAPE_FILE
    if read_about(known) == json.loads(json.dumps(dict(about))):
        try:
            os.link(known, target)
        except OSError:
            pass  # another disk, or one without links
        else:
            return target
    parts = folder / PARTS_FOLDER
    parts.mkdir(exist_ok=True)
    shutil.copyfile(known, part_path(parts, 0))
    return join_parts(parts, 1, target, about)


def write_measured(answers: Answers, folder: Path, about: Mapping[str, Any]) -> None:
    """Write the landscape of points that were measured when they were asked for; none where they have no numbers."""
    measured = answers.landscape()
    rows = np.arange(measured.size)
    indexes = answers.indexes(rows)
    order = np.argsort(indexes, kind="stable")
    if np.array_equal(indexes[order], rows):
        parts = folder / PARTS_FOLDER
        write_part(part_path(parts, 0), 0, {name: values[order] for name, values in measured.metrics.items()})
        join_parts(parts, 1, folder / LANDSCAPE_FILE, about)
