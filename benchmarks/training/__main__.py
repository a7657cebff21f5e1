"""Prints what trainings reach: one table a part, as Markdown.

    make bench-training [PART=space]

A part is a module of this folder with a function `main()`, which prints. Without PART, all parts run in turn.
"""

from __future__ import annotations

import argparse
import ast
import sys
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))


def parts() -> dict[str, str]:
    """The parts, each with the first line of its docstring; a module without `main` is shared by parts."""
    found = {}
    for file in sorted(FOLDER.glob("[!_]*.py")):
        code = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in code.body):
            found[file.stem] = (ast.get_docstring(code) or "").partition("\n")[0]
    return found


def main() -> None:
    """Run the parts that are named."""
    known = parts()
    about = "\n".join(f"  {name}: {line}" for name, line in known.items())
    parser = argparse.ArgumentParser(
        prog="make bench-training", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*known, []], metavar="PART", help="which parts; all without any")
    for name in parser.parse_args().parts or known:
        print(f"\n## {name}: {known[name]}\n", flush=True)
        import_module(f"training.{name}").main()


if __name__ == "__main__":
    main()
