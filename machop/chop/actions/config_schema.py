"""Makes the JSON schema of a whole TOML file, from the dataclasses and registries by which a file is checked."""

from __future__ import annotations

from typing import Any

from chop.actions.pass_settings import TransformTable
from chop.actions.search.search_space import SEARCH_SPACES
from chop.actions.search.search_space.choice_problems import all_config_keys
from chop.actions.search.settings.finish import Finish
from chop.actions.search.settings.metrics import MetricTable
from chop.actions.search.settings.strategy_setup import RETIRED_KEYS, StrategySetup
from chop.actions.search.strategies.base import STRATEGIES
from chop.actions.search.strategies.optuna.samplers import SAMPLERS
from chop.actions.search.strategies.runners.base import RUNNERS
from chop.config.json_schema import Schema, closed, each, joined, one_of, table_schema
from chop.config.options import RunOptions
from chop.config.run_config import SPACE_TRAINING
from chop.config.space_training import SpaceTrainingOptions
from chop.formats import FORMATS
from chop.registry import Registry

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The draft that editors of TOML read."""

VALUE: Schema = {"type": ["string", "number", "boolean"]}


def config_schema() -> Schema:
    """The schema of a file: options, `[search]`, `[passes.*]`, `[transform]`, `[train_for_space]`.

    It knows what is registered: load plug-ins first. It allows some files that `ch config check` refuses: what depends
    on other keys, or on the model, no schema says.
    """
    tables = {
        "search": _search(),
        "passes": each({"type": "object"}),
        "transform": table_schema(TransformTable),
        SPACE_TRAINING: table_schema(SpaceTrainingOptions),
    }
    options = table_schema(RunOptions)["properties"]
    return {"$schema": DRAFT, "title": "A TOML file of chop", **closed({**options, **tables})}


def _search() -> Schema:
    search = closed({"search_space": _space(), "strategy": _strategy(), "finish": table_schema(Finish)})
    return {**search, "required": ["search_space", "strategy"]}


def _space() -> Schema:
    setups = [table_schema(cls.Setup) for cls in SEARCH_SPACES.working().values()]
    layers = each({**closed({"config": _choices()}), "required": ["config"]})
    space = closed({"name": one_of(_names(SEARCH_SPACES)), "setup": joined(setups), "seed": layers, "override": layers})
    return {**space, "required": ["name"]}


def _choices() -> Schema:
    """The table `config` of a seed: for every key a list of choices, or one of them."""
    choices: Schema = {"anyOf": [VALUE, {"type": "array", "minItems": 1}]}
    name = one_of(["NA", *_names(FORMATS)])
    names = {"anyOf": [name, {"type": "array", "minItems": 1, "items": name}]}
    return closed({key: names if key == "name" else choices for key in all_config_keys()})


def _strategy() -> Schema:
    setups: list[type[Any]] = [StrategySetup, *(cls.Options for cls in STRATEGIES.working().values())]
    setup = joined(map(table_schema, setups))
    retired = {key: {"description": f"Has no effect: {why}"} for key, why in RETIRED_KEYS.items()}
    runners = closed({name: table_schema(RUNNERS[name].Options) for name in _names(RUNNERS)})
    keys = {
        "name": one_of([*_names(STRATEGIES), *SAMPLERS]),
        "eval_mode": {"type": "boolean", "default": True},
        "setup": closed({**setup["properties"], **retired}),
        "sw_runner": runners,
        "hw_runner": runners,
        "metrics": each(table_schema(MetricTable)),
    }
    return {**closed(keys), "required": ["name", "metrics"]}


def _names(registry: Registry[Any]) -> list[str]:
    """All spellings of what is registered."""
    return [spelling for name in registry.working() for spelling in (name, *registry.aliases_of(name))]
