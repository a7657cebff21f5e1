"""`chop` finds the best number format for every layer of a neural network.

study = chop.search(model, data, formats=["integer"], widths=[2, 4, 8],
                    objectives=["accuracy", "average_bitwidth"], n_trials=100)
net = study.best(max_drop=0.01).model
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chop.api.curves import plot_curves
    from chop.api.load import load_study
    from chop.api.network import Network
    from chop.api.search import search
    from chop.api.space import Space
    from chop.api.study import Study
    from chop.api.toml import load_config
    from chop.api.train import train_for_space
    from chop.errors import ChopError
    from chop.ir.graph.mase_graph import MaseGraph
    from chop.models import get_model

__version__ = "0.1.0"

_PLACES = {
    "ChopError": "chop.errors",
    "MaseGraph": "chop.ir.graph.mase_graph",
    "Network": "chop.api.network",
    "Space": "chop.api.space",
    "Study": "chop.api.study",
    "get_model": "chop.models",
    "load_config": "chop.api.toml",
    "load_study": "chop.api.load",
    "plot_curves": "chop.api.curves",
    "search": "chop.api.search",
    "train_for_space": "chop.api.train",
}
"""Where each name comes from; it is imported when it is asked for, since torch takes seconds."""

__all__ = [
    "ChopError",
    "MaseGraph",
    "Network",
    "Space",
    "Study",
    "__version__",
    "get_model",
    "load_config",
    "load_study",
    "plot_curves",
    "search",
    "train_for_space",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'chop' has no attribute '{name}'")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
