"""Runs the parts of a benchmark that is a folder: a part is a module with a function `main()`, which prints."""

from __future__ import annotations

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path


def parts(folder: Path) -> dict[str, str]:
    """The parts, each with the first line of its docstring; a module without `main` is shared by parts."""
    found = {}
    for file in sorted(folder.glob("[!_]*.py")):
        code = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in code.body):
            found[file.stem] = (ast.get_docstring(code) or "").partition("\n")[0]
    return found


def run_parts(folder: Path, command: str) -> None:
    """Run the parts of `folder` that the command line names, all without any; `command` is how it is called."""
    known = parts(folder)
    about = "\n".join(f"  {name}: {line}" for name, line in known.items())
    parser = argparse.ArgumentParser(
        prog=command, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*known, []], metavar="PART", help="which parts; all without any")
    sys.path.insert(0, str(folder.parent))
    for name in parser.parse_args().parts or known:
        print(f"\n## {name}: {known[name]}\n", flush=True)
        import_module(f"{folder.name}.{name}").main()
