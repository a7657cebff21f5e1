"""`ch info`: everything that can be named in a TOML file or on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from rich.markup import escape
from rich.table import Table

from chop.errors import ConfigError, did_you_mean
from chop.tools.terminal import terminal


def show_info(what: str) -> None:
    """Show one section, or all; raises ConfigError for a section that there is not."""
    sections = [*SECTIONS] if what == "all" else [what]
    for name in sections:
        if name not in SECTIONS:
            known = ["all", *SECTIONS]
            raise ConfigError([f"ch info: unknown section '{name}'{did_you_mean(name, known)} ({', '.join(known)})"])
        terminal().print(SECTIONS[name]())


def _table(title: str, *columns: str) -> Table:
    return Table(*(escape(column) for column in columns), title=title, title_justify="left", header_style="bold")


def _names(name: str, aliases: list[str]) -> str:
    return ", ".join([name, *aliases])


def _first_line(item: object) -> str:
    return (item.__doc__ or "").strip().partition("\n")[0]


def models() -> Table:
    """The models that ship, with their parameters."""
    from chop.models import MODELS, get_model

    table = _table("Models", "name", "parameters", "weights trained on", "what it is")
    for name in MODELS:
        info = MODELS[name].info
        parameters = sum(parameter.numel() for parameter in get_model(name).parameters())
        table.add_row(name, f"{parameters:,}", info.trained_on or "", info.description)
    return table


def datasets() -> Table:
    """The data sets that ship."""
    from chop.dataset import DATASETS

    table = _table("Data sets", "name", "features", "classes", "rows", "what it is")
    for name in DATASETS:
        info = DATASETS[name].info
        names = _names(name, DATASETS.aliases_of(name))
        features = " x ".join(str(size) for size in (info.num_features, *(info.image_size or ())))
        table.add_row(names, features, str(info.num_classes), f"{info.rows:,}", info.provenance)
    return table


def formats() -> Table:
    """The number formats and their keys."""
    from chop.formats import FORMATS

    table = _table("Number formats", "name", "keys (after data_in_, weight_, bias_ or data_out_)", "what it is")
    for name in FORMATS:
        cls = FORMATS[name]
        table.add_row(_names(name, FORMATS.aliases_of(name)), ", ".join(cls.keys()), _first_line(cls))
    return table


def passes() -> Table:
    """The passes that `[passes.*]` of a TOML file may name."""
    from chop.passes.graph import PASSES

    table = _table("Passes", "name", "what it does")
    for name in PASSES:
        table.add_row(_names(name, PASSES.aliases_of(name)), _first_line(PASSES[name]))
    return table


def strategies() -> Table:
    """The search strategies, their keys, what each can and what it is for."""
    from chop.actions.search import STRATEGIES

    table = _table("Search strategies", "name", "keys", "knows", "what it is for")
    for column in table.columns[:3]:
        column.no_wrap = True
    table.columns[3].overflow = "fold"
    table.caption = escape(
        "Keys stand under [search.strategy.setup]; indented are the values of optuna's key sampler (sampler = "
        '"tpe"). Fronts: searches for several objectives at once. Limits: knows how far a network is beyond them; any '
        "other is told values that are worse. All points: ends with every point measured."
    )
    table.caption_justify = "left"
    for name in STRATEGIES:
        cls = STRATEGIES[name]
        theirs = {key for variant in cls.variants for key in variant.keys}
        keys = [f.name for f in fields(cls.Options) if f.name not in theirs]
        own = "" if cls.variants else _known(cls.multi_objective, cls.constraints, cls.exhaustive)
        table.add_row(name, "\n".join(keys), own, cls.purpose or _first_line(cls))
        for variant in cls.variants:
            known = _known(variant.multi_objective, variant.constraints, cls.exhaustive)
            table.add_row(f"  {variant.name}", "\n".join(variant.keys), known, variant.purpose)
    return table


def _known(fronts: bool, limits: bool, all_points: bool) -> str:
    can = {"fronts": fronts, "limits": limits, "all points": all_points}
    return "\n".join(what for what, is_known in can.items() if is_known)


def runners() -> Table:
    """The runners, what they need, their options and metrics."""
    from chop.actions.search import RUNNERS

    table = _table("Runners", "name", "needs", "metrics [unit], better", "keys")
    for name in RUNNERS:
        cls = RUNNERS[name]
        metrics = [f"{m.name}{f' [{m.unit}]' if m.unit else ''}, {m.direction}" for m in cls.metrics_of(None)]
        table.add_row(name, cls.needs, escape("\n".join(metrics)), "\n".join(f.name for f in fields(cls.Options)))
    return table


SECTIONS: dict[str, Callable[[], Table]] = {
    "model": models,
    "dataset": datasets,
    "format": formats,
    "pass": passes,
    "strategy": strategies,
    "runner": runners,
}
