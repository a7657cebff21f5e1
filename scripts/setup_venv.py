"""Make `.venv` at the repository root: `python3 scripts/setup_venv.py [--dev]`. Needs Python 3.11+ and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
EXTRAS = "plots,optuna-samplers,onnx,fpga,testing"
"""What the commands of the README and of docs/ need, and may be asked for."""

MADE_FROM = VENV / "made-from"
INPUTS = ("pyproject.toml", "constraints.txt")
DEV_MARK = MADE_FROM / "with-dev"


def is_ready(dev: bool) -> bool:
    """Whether the environment was made, whole, from the present files."""
    same = all((MADE_FROM / name).exists() and filecmp.cmp(ROOT / name, MADE_FROM / name, False) for name in INPUTS)
    return same and (DEV_MARK.exists() or not dev)


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Two first calls at once: the second waits, then finds the work done."""
    with (ROOT / ".venv.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(dev: bool) -> None:
    """Make the environment anew and install the package, with its tools for development if `dev`."""
    started = time.monotonic()
    say(f"first run: making {VENV} (some two minutes)")
    shutil.rmtree(MADE_FROM, ignore_errors=True)
    venv.create(VENV, with_pip=True, clear=not (VENV / "bin").exists())
    if list(VENV.glob("lib/*/site-packages/chop-[0-9]*.dist-info")):  # this package under its earlier name
        run_pip("uninstall", "--quiet", "--yes", "chop")
    target = f"{ROOT}[{'dev' if dev else EXTRAS}]"
    run_pip("install", "--quiet", "--no-compile", "--constraint", str(ROOT / "constraints.txt"), "--editable", target)
    compile_packages()
    MADE_FROM.mkdir(exist_ok=True)
    for name in INPUTS:
        shutil.copy(ROOT / name, MADE_FROM / name)
    if dev:
        DEV_MARK.touch()
    say(f"ready after {time.monotonic() - started:.0f} s")


def run_pip(*arguments: str) -> None:
    """Run pip in the environment; if it fails, show its last lines and what may help."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as process:
        output = wait_with_dots(process)
    if process.returncode != 0:
        say("\n".join(["", *output.splitlines()[-15:]]))
        say("error: the packages could not be installed. With a network at hand, run the command again.")
        sys.exit(1)


def compile_packages() -> None:
    """Compile what was installed on all cores, which pip does on one; files for other versions of Python may fail."""
    packages = sysconfig.get_path("purelib", scheme="venv", vars={"base": str(VENV)})
    command = [str(VENV / "bin" / "python"), "-m", "compileall", "-q", "-j", "0", packages]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as process:
        wait_with_dots(process)


def wait_with_dots(process: subprocess.Popen[str]) -> str:
    """The process's output; a dot every two seconds shows that it is alive."""
    while True:
        try:
            output, _ = process.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            print(".", end="", file=sys.stderr, flush=True)
            continue
        print(file=sys.stderr)
        return output


def say(text: str) -> None:
    """One line for the person who waits."""
    print(f"chop: {text}" if text.strip() else text, file=sys.stderr, flush=True)


def main() -> None:
    """Make the environment unless it is ready."""
    dev = "--dev" in sys.argv[1:]
    with only_one_at_a_time():
        # An environment for development stays one when only the inputs have changed.
        dev = dev or DEV_MARK.exists()
        if not is_ready(dev):
            install(dev)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("interrupted: the environment is not whole, the next call makes it")
        sys.exit(130)
