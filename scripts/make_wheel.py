"""Build the sdist and, from the sdist alone, the wheel: `python scripts/make_wheel.py [FOLDER]`. Needs no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "machop", "pyproject.toml")
LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.egg-info")


def make_distributions(folder: Path) -> tuple[Path, Path]:
    """Build sdist and wheel into `folder` and return their paths.

    Works on a copy, so that nothing that an earlier build left in the checkout gets in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy")
        copy.mkdir()
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, symlinks=True, ignore=LEFTOVERS)
            else:
                shutil.copy(source, copy / name)
        sdist = folder / build("sdist", copy, folder)
        with tarfile.open(sdist) as archive:
            archive.extractall(Path(scratch, "unpacked"), filter="data")
        (unpacked,) = Path(scratch, "unpacked").iterdir()
        return sdist, folder / build("wheel", unpacked, folder)


def build(kind: str, source: Path, folder: Path) -> str:
    """Run the build backend on the project at `source`; return the name of the file that it wrote into `folder`."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(folder.resolve())]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}error: the {kind} could not be built")
    return done.stdout.splitlines()[-1]


def main() -> None:
    """Build into the folder of the command line, `dist` by default, and print what is in the wheel."""
    sdist, wheel = make_distributions(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "dist")
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.infolist()
    for entry in sorted(entries, key=lambda entry: entry.filename):
        print(f"{entry.file_size:>9,}  {entry.filename}")
    for path in (sdist, wheel):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    print(f"{len(entries)} files in the wheel, {sum(entry.file_size for entry in entries) / 1e6:.1f} MB unpacked")


if __name__ == "__main__":
    main()
