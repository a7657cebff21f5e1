"""Prints `ch info`: everything that can be named in a TOML file or on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from chop.config.keys import keys_of
from chop.errors import CheckpointError, ConfigError, did_you_mean, first_line
from chop.registry import Registry
from chop.tools.file_kinds import not_weights
from chop.tools.terminal import terminal


def show_info(what: str, name: str | None = None) -> None:
    """Show one section, or all, or the keys of one of its names; raises ConfigError for what is unknown."""
    if name is not None:
        for table in _keys_of_one(what, name):
            terminal().print(table)
        return
    if what not in ("all", *SECTIONS) and _is_path(what):
        if problem := not_weights(Path(what)):
            raise CheckpointError(problem)
        from chop.cli.checkpoint_info import show_checkpoint

        show_checkpoint(Path(what))
        return
    sections = [*SECTIONS] if what == "all" else [what]
    for section in sections:
        if section not in SECTIONS:
            known = ["all", *SECTIONS]
            raise ConfigError(
                [f"ch info: unknown section '{section}'{did_you_mean(section, known)} ({', '.join(known)})"]
            )
        terminal().print(SECTIONS[section]())


def _is_path(what: str) -> bool:
    """Whether a word is that of a file, which may be missing, and not of a section."""
    return Path(what).suffix != "" or Path(what).exists() or len(Path(what).parts) > 1


def _keys_of_one(section: str, name: str) -> Iterator[Table]:
    """The keys of one strategy, runner … with values, defaults and meanings."""
    from chop.actions.search import RUNNERS, STRATEGIES
    from chop.actions.search.search_space import SEARCH_SPACES
    from chop.actions.search.settings.strategy_setup import StrategySetup
    from chop.exporters import EXPORTERS
    from chop.training.snapshots import TRAININGS

    have_keys: dict[str, tuple[Registry[Any], str]] = {
        "space": (SEARCH_SPACES, "Setup"),
        "strategy": (STRATEGIES, "Options"),
        "training": (TRAININGS, "Options"),
        "runner": (RUNNERS, "Options"),
        "exporter": (EXPORTERS, "Options"),
    }
    if section not in have_keys:
        raise ConfigError(
            [
                f"ch info {section} {name}: keys are shown for one of {', '.join(have_keys)}"
                f"{did_you_mean(section, have_keys)}; leave out '{name}' to list the section"
            ]
        )
    registry, attribute = have_keys[section]
    item = registry[name]
    yield _keys(f"{name}: {item.purpose}" if getattr(item, "purpose", "") else name, getattr(item, attribute))
    if section == "strategy":
        yield _keys("For every strategy", StrategySetup)


def _keys(title: str, cls: type[Any]) -> Table:
    table = _table(title, "key", "values", "default", "meaning")
    for own in keys_of(cls):
        table.add_row(*(escape(cell.replace("`", "")) for cell in (own.name, own.values, own.default, own.meaning)))
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*(escape(column) for column in columns), title=title, title_justify="left", header_style="bold")


def _names(name: str, aliases: list[str]) -> str:
    return ", ".join([name, *aliases])


def _first_line(item: object) -> str:
    return (item.__doc__ or "").strip().partition("\n")[0]


def _fill(table: Table, registry: Registry[Any], rows: Callable[[str, Any], Iterable[tuple[str, ...]]]) -> Table:
    """The table with a row for everything registered; a broken plug-in has its error in the last column."""
    broken = registry.broken()
    for name, item in registry.working().items():
        try:
            for row in list(rows(name, item)):
                table.add_row(*row)
        except Exception as error:  # of a plug-in's own code
            broken[name] = f"{type(error).__name__}: {first_line(error)}"
    for name, reason in broken.items():
        table.add_row(name, *[""] * (len(table.columns) - 2), escape(f"broken: {reason}"))
    return table


def models() -> Table:
    """The bundled models, with their parameters."""
    from chop.models import MODELS, get_model

    def rows(name: str, model: Any) -> Iterator[tuple[str, ...]]:
        parameters = sum(parameter.numel() for parameter in get_model(name).parameters())
        yield name, f"{parameters:,}", model.info.trained_on or "", model.info.description

    return _fill(_table("Models", "name", "parameters", "weights trained on", "what it is"), MODELS, rows)


def datasets() -> Table:
    """The bundled data sets."""
    from chop.dataset import DATASETS

    def rows(name: str, data: Any) -> Iterator[tuple[str, ...]]:
        info = data.info
        features = " x ".join(str(size) for size in (info.num_features, *(info.image_size or ())))
        names = _names(name, DATASETS.aliases_of(name))
        yield names, features, str(info.num_classes), f"{info.rows:,}", info.provenance

    return _fill(_table("Data sets", "name", "features", "classes", "rows", "what it is"), DATASETS, rows)


def tasks() -> Table:
    """The tasks and their metrics."""
    from chop.scoring.task import TASKS

    def rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
        metrics = ", ".join(metric.name for metric in cls(num_classes=2).metrics)
        yield _names(name, TASKS.aliases_of(name)), metrics, _first_line(cls)

    return _fill(_table("Tasks", "name", "metrics", "what it is"), TASKS, rows)


def formats() -> Table:
    """The number formats and their keys."""
    from chop.formats import FORMATS

    def rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
        yield _names(name, FORMATS.aliases_of(name)), ", ".join(cls.keys()), _first_line(cls)

    columns = ("name", "keys (after data_in_, weight_, bias_ or data_out_)", "what it is")
    return _fill(_table("Number formats", *columns), FORMATS, rows)


def weight_transforms() -> Table:
    """The weight transforms and their keys."""
    from chop.weight_transforms import WEIGHT_TRANSFORMS

    def rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
        yield name, ", ".join(f"weight_{key}" for key in cls.keys()), _first_line(cls)  # noqa: SIM118 - no mapping

    return _fill(_table("Weight transforms", "name", "keys", "what it is"), WEIGHT_TRANSFORMS, rows)


def ops() -> Table:
    """The ops that can be quantised, and their operands."""
    from chop.nn import OP_TABLE

    def rows(name: str, op: Any) -> Iterator[tuple[str, ...]]:
        if op.quantizable:
            spellings = [own.__name__ for own in (*op.modules, *op.functions)]
            yield name, ", ".join(op.possible_operands), ", ".join(dict.fromkeys([*spellings, *op.methods]))

    return _fill(_table("Ops", "name", "operands", "spellings"), OP_TABLE, rows)


def passes() -> Table:
    """The passes that `[passes.*]` of a TOML file may name."""
    from chop.passes.graph import PASSES

    def rows(name: str, function: Any) -> Iterator[tuple[str, ...]]:
        yield _names(name, PASSES.aliases_of(name)), _first_line(function)

    return _fill(_table("Passes", "name", "what it does"), PASSES, rows)


def spaces() -> Table:
    """The search spaces and their keys."""
    from chop.actions.search.search_space import SEARCH_SPACES

    def rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
        yield name, "\n".join(f.name for f in fields(cls.Setup)), _first_line(cls)

    columns = ("name", "keys (under [search.search_space.setup])", "what it is")
    return _fill(_table("Search spaces", *columns), SEARCH_SPACES, rows)


def strategies() -> Table:
    """The search strategies, their keys, abilities and uses."""
    from chop.actions.search import STRATEGIES

    table = _table("Search strategies", "name", "keys", "can", "what it is for")
    for column in table.columns[:3]:
        column.no_wrap = True
    table.columns[3].overflow = "fold"
    table.caption = escape(
        "Keys go under [search.strategy.setup]; indented are the values of optuna's key sampler (sampler = "
        '"tpe"). Fronts: searches for several objectives at once. Constraints: handles violations; other '
        "strategies get worse values instead. All points: ends when every point is measured."
    )
    table.caption_justify = "left"
    return _fill(table, STRATEGIES, _strategy_rows)


def _strategy_rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
    theirs = {key for variant in cls.variants for key in variant.keys}
    keys = [f.name for f in fields(cls.Options) if f.name not in theirs]
    own = "" if cls.variants else _known(cls.multi_objective, cls.constraints, cls.exhaustive)
    yield name, "\n".join(keys), own, cls.purpose or _first_line(cls)
    for variant in cls.variants:
        known = _known(variant.multi_objective, variant.constraints, cls.exhaustive)
        yield f"  {variant.name}", "\n".join(variant.keys), known, variant.purpose


def _known(fronts: bool, constraints: bool, all_points: bool) -> str:
    can = {"fronts": fronts, "constraints": constraints, "all points": all_points}
    return "\n".join(what for what, is_known in can.items() if is_known)


def runners() -> Table:
    """The runners, their needs, options and metrics."""
    from chop.actions.search import RUNNERS

    def rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
        metrics = [f"{m.name}{f' [{m.unit}]' if m.unit else ''}, {m.direction}" for m in cls.metrics_of(None)]
        yield name, cls.needs, escape("\n".join(metrics)), "\n".join(f.name for f in fields(cls.Options))

    return _fill(_table("Runners", "name", "needs", "metrics [unit], better", "keys"), RUNNERS, rows)


def executors() -> Table:
    """The executors, which run the calls of a search."""
    from chop.executors import EXECUTORS

    def rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
        yield name, str(cls.most_jobs or "any number"), _first_line(cls)

    return _fill(_table("Executors (setup.executor)", "name", "n_jobs", "what it is"), EXECUTORS, rows)


def exporters() -> Table:
    """The exporters and their options."""
    from chop.exporters import EXPORTERS

    def rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
        targets = dict.fromkeys((name, cls.target or name))
        yield (
            name,
            "\n".join(targets),
            "\n".join(f.name for f in fields(cls.Options)),
            cls.extra or "",
            _first_line(cls),
        )

    columns = ("--to", "--for", "--set", "extra", "what it writes")
    table = _table("Exporters", *columns)
    for column in table.columns[:-1]:
        column.no_wrap = True
    table.caption = (
        "`ch export --to` takes the name, `--set` its options; `ch search --for` takes the name or the group."
    )
    table.caption_justify = "left"
    return _fill(table, EXPORTERS, rows)


def trainings() -> Table:
    """The trainings whose snapshots a strategy may turn into trials."""
    from chop.training.snapshots import TRAININGS

    def rows(name: str, cls: Any) -> Iterator[tuple[str, ...]]:
        yield name, "\n".join(f.name for f in fields(cls.Options)), cls.purpose or _first_line(cls)

    return _fill(_table("Trainings", "name", "options (a strategy sets them)", "what it trains"), TRAININGS, rows)


SECTIONS: dict[str, Callable[[], Table]] = {
    "model": models,
    "dataset": datasets,
    "task": tasks,
    "format": formats,
    "weight_transform": weight_transforms,
    "op": ops,
    "pass": passes,
    "space": spaces,
    "strategy": strategies,
    "training": trainings,
    "runner": runners,
    "executor": executors,
    "exporter": exporters,
}
