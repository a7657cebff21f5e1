"""Makes errors name the argument of `chop.search` that they are about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import ParamSpec, TypeVar

from chop.errors import ChopError, ConfigError, WrongFolderError, did_you_mean
from chop.tools.option_names import options_named

P = ParamSpec("P")
R = TypeVar("R")

RENAMED = {
    "ladder": "early_stopping",
    "ladder_confidence": "early_stopping_confidence",
    "sum_scaled_metrics": "sum_direction",
    "direction": "sum_direction",
}
"""Keys of a TOML file whose arguments have other names."""

SETUP = (
    "n_trials", "timeout", "patience", "ask_batch", "n_jobs", "executor", "memory_mib", "ladder", "ladder_confidence",
)  # fmt: skip
"""The keys of `[search.strategy.setup]` that are arguments; all others are in `strategy_options`."""

SUM = ("sum_scaled_metrics", "direction")
"""The keys there that are one argument."""

IN_PYTHON = {"project-dir": "folder=", "project": "folder=", "debug": "the traceback"}
"""Options of the command line as messages name them here."""

SPACE_SETUP = {"tie": "ties", "calibration_rows": "calibration_samples"}
"""Keys of `[search.search_space.setup]` whose arguments have other names."""

WORDS_OF_PYTHON = (
    (r'\[search\.search_space\.seed\.(\w+)\.config\] \(by = "type"\)', r'layers["\1"]'),
    (r"\ba table such as (?=layers)", ""),
    (r"setup\.passes = (\[[^]]*\])( under \[search\.search_space\])?", r"chop.Space(…, passes=\1)"),
    (r" under \[search\.[\w.]+\]", ""),
    (r"\bsetup\.(?=[a-z])(?!py\b)", ""),
    (r"\bname = (\[[^]]*\])", r"formats=\1"),
    (r"\bcalibration_rows\b", "calibration_samples"),
    (r"\bsum_scaled_metrics = true\b", "sum_direction"),
    (r"\bthe ladder\b", "early_stopping"),
    (r"\bno seed\b", "no entry of layers"),
    (r"\badd a seed for them\b", "add them to layers"),
    (r"\bch search --for (\w+), ch export --to (\w+)", r'chop.Space(…, export_to="\1"), export("\2", …)'),
    (r"--set (\w+)=true\b", r'options={"\1": True}'),
    (r"--set (\w+)=false\b", r'options={"\1": False}'),
    (r"--weights-only\b", 'options={"weights_only": True}'),
    (r"\bch search --resume\b", "chop.search(…, resume=True)"),
    (r"--resume\b", "resume=True"),
    (r" = true\b", "=True"),
    (r" = false\b", "=False"),
    (r"--load (?:'([^']+)'|([^\s,;)]+))", r'weights="\1\2"'),
    (r"--load(?![-\w])", "weights="),
    (r"--from-search (\w+) --trial (\w+)", r"chop.load_study(\1, model)[\2].model"),
)
"""Words of files and of the command line, as patterns, each with those of Python; applied one after the other."""


@contextmanager
def naming(argument: str, kind: type[ChopError] = ChopError) -> Iterator[None]:
    """Let errors of a kind that are raised inside begin with the name of the argument, unless they name one."""
    try:
        yield
    except ConfigError:
        raise
    except kind as error:
        said = str(error)
        if not said.startswith((f"{argument}:", f"{argument} ")) and not getattr(error, "is_named", False):
            error.args = (f"{argument}: {said}", *error.args[1:])
        error.is_named = True  # type: ignore[attr-defined]
        raise


def telling_names(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose error for a keyword that it does not have names the nearest one that it has."""
    known = signature(function).parameters

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                hint = did_you_mean(name, known)
                raise TypeError(f"{function.__name__}() got an unexpected keyword argument '{name}'{hint}")
        return function(*args, **kwargs)

    return called


@contextmanager
def in_python() -> Iterator[None]:
    """Let errors that are raised inside speak of arguments in place of options and tables."""
    try:
        with options_named(IN_PYTHON.__getitem__):
            yield
    except ConfigError:
        raise
    except ChopError as error:
        error.reword(as_arguments)
        raise


def as_arguments(text: str) -> str:
    """A message with the arguments of Python in place of options of the command line and tables of a file.

    >>> as_arguments("give n_trials under [search.strategy.setup], or start anew without --resume")
    'give n_trials, or start anew without resume=True'
    >>> as_arguments("leave the node in float32 (setup.exclude)"), as_arguments("in setup.py")
    ('leave the node in float32 (exclude)', 'in setup.py')
    >>> as_arguments("from the best weights (--load run/best.safetensors)")
    'from the best weights (weights="run/best.safetensors")'
    >>> as_arguments("add --load 'my run/best.safetensors'")
    'add weights="my run/best.safetensors"'
    >>> as_arguments('by setup.passes = ["equalise"] under [search.search_space]')
    'by chop.Space(…, passes=["equalise"])'
    >>> as_arguments("simulates = false (--set simulates=false) leaves this out")
    'simulates=False (options={"simulates": False}) leaves this out'
    >>> as_arguments("elsewhere (ch search --for onnx, ch export --to onnx)")
    'elsewhere (chop.Space(…, export_to="onnx"), export("onnx", …))'
    >>> as_arguments("two objectives: set sum_scaled_metrics = true, or remove the ladder")
    'two objectives: set sum_direction, or remove early_stopping'
    >>> as_arguments('in a table such as [search.search_space.seed.linear.config] (by = "type"): bias_width = [8]')
    'in layers["linear"]: bias_width = [8]'
    >>> as_arguments('leave the node in float32: name = ["NA"]')
    'leave the node in float32: formats=["NA"]'
    >>> as_arguments("given by --from-search FOLDER --trial NUMBER")
    'given by chop.load_study(FOLDER, model)[NUMBER].model'
    """
    for pattern, words in WORDS_OF_PYTHON:
        text = re.sub(pattern, words, text)
    return re.sub(r"--([a-z][a-z-]*)", lambda found: f"{found[1].replace('-', '_')}=", text)


def folder_of(argument: str | Path) -> Path:
    """The path of the argument `folder`; raises FolderError where it is a file."""
    place = Path(argument)
    if place.exists() and not place.is_dir():
        raise WrongFolderError(f"folder: {place} is a file; give the path of a folder")
    return place


def argument_of(path: tuple[str, ...]) -> str:
    """The argument behind a key of the table `[search]`.

    >>> argument_of(("strategy", "setup", "n_trials"))
    'n_trials'
    >>> argument_of(("search_space", "override", "stem", "config", "weight_width"))
    "space: overrides['stem']['weight_width']"
    >>> argument_of(("search_space",))
    'space'
    """
    room, *rest = path
    if room == "search_space":
        return _in_space(rest)
    if room == "finish":
        return _at("finish", rest)
    if rest[:1] == ["setup"] and len(rest) > 1:
        return RENAMED.get(rest[1], rest[1]) if rest[1] in (*SETUP, *SUM) else f"strategy_options[{rest[1]!r}]"
    if rest[:1] in (["sw_runner"], ["hw_runner"]):
        return _at("runners", rest[1:])
    return _at("objectives", rest[1:]) if rest[:1] == ["metrics"] else "strategy"


def _in_space(path: list[str]) -> str:
    """The argument of `Space` behind a key below `search_space`."""
    if not path:
        return "space"
    kind, *rest = path
    if kind == "setup":
        return f"space: {SPACE_SETUP.get(rest[0], rest[0])}" if rest else "space"
    table = {"seed": "layers", "override": "overrides"}.get(kind)
    return "space" if table is None else f"space: {_at(table, [key for key in rest if key != 'config'])}"


def _at(argument: str, keys: list[str]) -> str:
    return argument + "".join(f"[{key!r}]" for key in keys)
