"""Describes the machine that figures were measured on, without its name."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPU_FACTS = Path("/proc/cpuinfo")


def machine(device: str = "cpu") -> str:
    """The processor, the cores that this process may use, the system, and the accelerator if one was used.

    >>> "cores" in machine() or "core" in machine()
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [_processor(), f"{cores} core{'' if cores == 1 else 's'}", f"{platform.system()} {platform.machine()}"]
    return ", ".join([*parts, *([_accelerator(device)] if device.startswith("cuda") else [])])


def _processor() -> str:
    try:
        lines = CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or "unknown processor"


def _accelerator(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device)
