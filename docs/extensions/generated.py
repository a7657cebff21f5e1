"""Parts of the reference that are made of the code: a fence ```` ```{generated} NAME ```` stands for one in a page."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

if TYPE_CHECKING:
    from chop.config.keys import Key

FENCE = re.compile(r"^```\{generated\} (\w+)\n```$", re.MULTILINE)
SPECIAL = re.compile(r"[*_<>\\[\]]")
Row = Iterable[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A table of markdown."""
    lines = [list(head), ["---" for _ in head], *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """A word in backticks; nothing for an empty one."""
    return f"`{text}`" if text else ""


def command_line() -> Iterator[str]:
    """Every command with its options, as `ch ACTION --help` shows them."""
    import typer.main

    from chop.cli.main import app

    yield from commands_of(typer.main.get_command(app), ())


def commands_of(command: Any, words: tuple[str, ...]) -> Iterator[str]:
    """A command and those below it, each with its help."""
    from typer.testing import CliRunner

    from chop.cli.main import app

    shown = CliRunner(env={"COLUMNS": "88", "NO_COLOR": "1"}).invoke(app, [*words, "--help"], prog_name="ch")
    yield f"## {code(' '.join(('ch', *words)))}\n"
    yield f"```text\n{shown.output.strip()}\n```\n"
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands_of(inner, (*words, name))


def toml_keys() -> Iterator[str]:
    """Every table of a TOML file, from the dataclasses that read it."""
    from chop.actions.search import RUNNERS, STRATEGIES
    from chop.actions.search.search_space import SEARCH_SPACES
    from chop.actions.search.settings.finish import Finish
    from chop.actions.search.settings.metrics import MetricTable
    from chop.actions.search.settings.strategy_setup import StrategySetup
    from chop.config.options import RunOptions
    from chop.config.space_training import SpaceTrainingOptions

    yield keys_of("## At the top of the file, and options of every command", RunOptions)
    for name, space in SEARCH_SPACES.working().items():
        yield keys_of(f"## `[search.search_space.setup]`\n\nOf the space {code(name)}.", space.Setup)
    yield keys_of("## `[search.strategy.setup]`\n\nFor every strategy.", StrategySetup)
    for name, strategy in STRATEGIES.working().items():
        yield keys_of(f'### With `name = "{name}"`\n\n{said_of(strategy)}', strategy.Options)
    yield "## `[search.strategy.sw_runner.NAME]`\n\nA runner may stand under `hw_runner` as well.\n"
    for name, runner in RUNNERS.working().items():
        yield keys_of(f"### {code(name)}\n\n{said_of(runner)}", runner.Options)
    yield keys_of("## `[search.strategy.metrics.NAME]`", MetricTable)
    yield keys_of("## `[search.finish]`", Finish)
    yield keys_of("## `[train_for_space]`", SpaceTrainingOptions)


def keys_of(title: str, cls: type[Any]) -> str:
    """The keys of a table under a title."""
    from chop.config import keys

    found = keys.keys_of(cls)
    columns = COLUMNS if any(own.meaning for own in found) else COLUMNS[:-1]
    rows = ([*key_row(own)][: len(columns)] for own in found)
    return f"{title}\n\n" + (f"{said_of(cls)}\n\n{table(columns, rows)}" if found else "It has no keys.\n")


def said_of(item: type[Any]) -> str:
    """The docstring of a class; the one that Python writes for a dataclass says nothing."""
    text = inspect.getdoc(item) or ""
    return "" if text.startswith(f"{item.__name__}(") else as_text(text)


COLUMNS = ("key", "values", "default", "meaning")


def key_row(own: Key) -> Row:
    """The row of one key, by `COLUMNS`."""
    return code(own.name), own.values, code(own.default), as_text(own.meaning)


def as_text(cell: str) -> str:
    """A cell in which nothing but code in backticks means anything."""
    parts = cell.split("`")
    return "`".join(part if place % 2 else SPECIAL.sub(r"\\\g<0>", part) for place, part in enumerate(parts))


def names() -> Iterator[str]:
    """Everything that `ch info` lists."""
    from chop.cli.info import SECTIONS

    for name, section in SECTIONS.items():
        shown = section()
        rows = zip(*(list(map(plain, column.cells)) for column in shown.columns), strict=True)
        yield f"## {shown.title} (`ch info {name}`)\n"
        yield table([plain(column.header) for column in shown.columns], map(with_code, rows))
        if shown.caption:
            yield f"{plain(shown.caption)}\n"


def plain(text: Any) -> str:
    """A cell of a table of the terminal as markdown."""
    from rich.text import Text

    return Text.from_markup(str(text)).plain


def with_code(row: tuple[str, ...]) -> Row:
    """A row with its first cell as code."""
    name, *others = row
    return (code(name.strip()), *(as_text(cell).replace("\n", "<br>") for cell in others))


def python() -> Iterator[str]:
    """Every name of the package."""
    import chop

    items = {name: getattr(chop, name) for name in chop.__all__ if not name.startswith("_")}

    def place(name: str) -> tuple[bool, bool, bool]:
        return name != "search", ".api." not in items[name].__module__, isinstance(items[name], type)

    for name in sorted(items, key=place):
        yield described(f"chop.{name}", items[name])


PLUG_INS = (
    "chop.formats.Format",
    "chop.weight_transforms.WeightTransform",
    "chop.actions.search.SearchStrategyBase",
    "chop.actions.search.strategies.base.StrategyContext",
    "chop.actions.search.strategies.base.Training",
    "chop.actions.search.SearchSpaceBase",
    "chop.actions.search.strategies.runners.AnalyticRunner",
    "chop.actions.search.strategies.runners.TableRunner",
    "chop.actions.search.strategies.runners.WholePlanRunner",
    "chop.actions.search.strategies.runners.OutputRunner",
    "chop.actions.search.strategies.runners.ModelRunner",
    "chop.scoring.metric.Metric",
    "chop.scoring.task.Task",
    "chop.scoring.accumulator.Accumulator",
    "chop.exporters.Exporter",
    "chop.executors.Executor",
    "chop.training.snapshots.SnapshotTraining",
    "chop.nn.Op",
    "chop.nn.Arg",
    "chop.passes.graph.register_pass",
    "chop.registry.Registry",
)


def plug_ins() -> Iterator[str]:
    """What parts of one's own derive from."""
    from sphinx.util import import_object

    for name in PLUG_INS:
        yield described(name, import_object(name))


def testing() -> Iterator[str]:
    """The conformance suites."""
    import chop.testing

    for name in chop.testing.__all__:
        yield described(f"chop.testing.{name}", getattr(chop.testing, name))


def described(name: str, item: Any) -> str:
    """The directive that takes the docstrings of something."""
    is_class = isinstance(item, type)
    kind = "function" if not is_class else "exception" if issubclass(item, Exception) else "class"
    members = "   :members:\n" if is_class else ""
    return f"```{{eval-rst}}\n.. auto{kind}:: {name}\n{members}```\n"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "command_line": command_line,
    "names": names,
    "plug_ins": plug_ins,
    "python": python,
    "testing": testing,
    "toml_keys": toml_keys,
}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put each part in the place of its fence."""
    source[0] = FENCE.sub(lambda found: "\n".join(PARTS[found[1]]()), source[0])


def always_read(app: Sphinx, env: BuildEnvironment, added: Any, changed: Any, removed: Any) -> list[str]:
    """Pages with parts of the code are read in every build."""
    return [page for page in env.found_docs if FENCE.search(env.doc2path(page).read_text(encoding="utf-8"))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the generated parts with Sphinx."""
    app.connect("source-read", fill)
    app.connect("env-get-outdated", always_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
