"""An exhaustive search stays within its memory, all processes counted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = Path("machop/configs/examples/jsc_s_brute_force.toml")
MIB = 2**20


def resident(process: int) -> int:
    """Bytes of a process and all that it has started."""
    try:
        own = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        children = [
            c
            for t in Path(f"/proc/{process}/task").iterdir()
            for c in (t / "children").read_text(encoding="utf-8").split()
        ]
    except OSError:
        return 0
    return own + sum(resident(int(child)) for child in children)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to read memory from")
@pytest.mark.parametrize(("n_jobs", "memory"), [(1, 512), (2, 1024), (2, 2048)])
def test_the_peak_is_within_a_quarter_of_the_setting(n_jobs: int, memory: int, tmp_path: Path) -> None:
    text = CONFIG.read_text(encoding="utf-8").replace(
        "n_jobs = 2", f"n_jobs = {n_jobs}\nmemory_mib = {memory}\nn_trials = 250000"
    )
    (tmp_path / "search.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "chop.cli", "search", "--config", str(tmp_path / "search.toml")]
    command += ["--pretrained", "--project-dir", str(tmp_path)]
    with (
        (tmp_path / "out").open("w", encoding="utf-8") as out,
        subprocess.Popen(command, stdout=out, stderr=out) as search,
    ):
        peak = 0
        while search.poll() is None:
            peak = max(peak, resident(search.pid))
            time.sleep(0.05)
    assert search.returncode == 0, (tmp_path / "out").read_text(encoding="utf-8")[-2000:]
    assert peak <= 1.25 * memory * MIB, f"{peak / MIB:.0f} MiB"
    assert peak > 100 * MIB
