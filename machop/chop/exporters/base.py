"""The protocol of exporters, and the registry that finds them by name."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chop.dataset.data import Data, first_batch
from chop.errors import ExportError, UnknownNameError, did_you_mean
from chop.evaluation.predictions import stream
from chop.exporters.choices import Choices, Refused, refused_one_by_one
from chop.formats import Format
from chop.ir import MaseGraph
from chop.nn.ops import Op
from chop.registry import Registry, subclass_problem
from chop.scoring.intervals import Interval
from chop.tools.extras import install_command

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ExportNetwork:
    """A quantised network, in eval mode, with the data that its export is verified on.

    `about` says what it is (`model`, `dataset`, `trial` …), `scores` are its metrics on the test set, with intervals.
    """

    graph: MaseGraph
    data: Data
    about: Json = field(default_factory=dict)
    scores: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A name for files and modules, of the model's: a letter, then letters, digits and underscores."""
        return plain_name(str(self.about.get("model", "network")))

    def example(self, samples: int = 2) -> Any:
        """The first training samples, as the model takes them."""
        return first_batch(self.data, "train", samples, samples)[0]

    def predictions(self, part: str = "test", samples: int | None = None) -> Iterator[tuple[Any, NDArray[np.float64]]]:
        """Batches of inputs as the model takes them, and the network's outputs for them, `(samples, *output)`."""
        for x, y in self.data.batches(part, samples):
            ((found, _),) = stream(self.graph.model, [(x, y)], output=self.data.output)
            yield x, as_float64(found)


def plain_name(text: str) -> str:
    """A text as a name that every tool takes.

    >>> plain_name("jsc-toy"), plain_name("nets/my own.py:Deep"), plain_name("3x3")
    ('jsc_toy', 'deep', 'network_3x3')
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.rpartition(":")[2].lower()).strip("_")
    return name if name[:1].isalpha() else f"network_{name}".rstrip("_")


def as_float64(values: Tensor) -> NDArray[np.float64]:
    """A tensor as an array."""
    return np.asarray(values.detach().cpu().double().numpy())


@dataclass(frozen=True)
class Check:
    """How the outputs of exported files compare with those of the network on the same samples.

    `tool` computed them. Of `outputs` numbers, `differing` are not equal, by at most `largest`. A check that is not
    `required` is reported, and its differences are no error. Where both compute in float, numbers are taken for equal
    that differ by no more than `tolerance`, times their size where that is above 1.
    """

    tool: str
    outputs: int
    differing: int
    largest: float
    required: bool = True
    tolerance: float = 0.0

    @classmethod
    def of(
        cls,
        tool: str,
        pairs: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]],
        required: bool = True,
        tolerance: float = 0.0,
    ) -> Check:
        """The check of pairs of outputs: what the tool returned, what the network returned.

        NaN equals NaN. Raises ExportError where they have other numbers of values.
        """
        outputs, differing, largest = 0, 0, 0.0
        for returned, wanted in pairs:
            if returned.size != wanted.size:
                raise ExportError(f"{tool} returned outputs of shape {returned.shape} where {wanted.shape} were due")
            found = returned.reshape(wanted.shape)
            is_equal = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
            with np.errstate(invalid="ignore"):
                distance = np.where(is_equal, 0.0, np.abs(found - wanted))
                is_near = distance <= tolerance * np.maximum(np.abs(wanted), 1.0)
            outputs += wanted.size
            differing += int((~is_equal & ~is_near).sum())
            largest = max(largest, float(np.where(np.isnan(distance), np.inf, distance).max(initial=0.0)))
        return cls(tool, outputs, differing, largest, required, tolerance)

    def __str__(self) -> str:
        """One line for people.

        >>> str(Check("ONNX Runtime", 48815, 0, 0.0)), str(Check("ONNX Runtime", 10, 2, 0.5))
        ('ONNX Runtime: 0 of 48,815 outputs differ', 'ONNX Runtime: 2 of 10 outputs differ, by at most 0.5')
        """
        by = f", by at most {self.largest:.3g}" if self.largest else ""
        over = f" by more than {self.tolerance:g}" if self.tolerance else ""
        return f"{self.tool}: {self.differing:,} of {self.outputs:,} outputs differ{over}{by}"


@dataclass(frozen=True)
class Written:
    """What an exporter says of its files.

    `facts` go into the manifest (values of JSON), `usage` is a Markdown text on how to run the files, and `notes` are
    sentences that the user must know (what was left in float, what could not be verified and why).
    """

    facts: Json = field(default_factory=dict)
    usage: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoOptions:
    """The options of an exporter that has none."""


class Exporter(ABC):
    """Writes a network as files of another tool, and verifies them.

    A subclass needs `problems`, `write` and `checks`. `@EXPORTERS.register("name")` gives it a name; a package brings
    it by an entry point `chop.exporters`, a file of one's own by `--plugin FILE.py`. The first line of its docstring is
    what `ch info exporter` says of it. `chop.testing.ExporterConformance` tests it.

    `export` calls, in this order: `require_packages`; `problems`, with nothing written yet; `write`, into an empty
    folder; `not_verified`; `checks`, one after the other; `network_of_files`, for manifest and README. The folder
    takes the place of an earlier export only where no required check has differences. `ch export` asks `problems` about
    the same graph before it measures `scores`. The page of a search offers the exporters whose `refused`
    names nothing in the networks of its front.

    `ch search --for NAME` keeps a space to what can be written, by the exporter NAME or by all those whose `target` is
    NAME. Before the search it runs the `float_passes` that they share, on a model with batch norms, and asks
    `refused` about the choices of all nodes, which asks `format_problem` about each operand. Of several exporters
    with one target, the space is kept to the one that takes the most networks.

    Attributes of the class:

    - `Options`: a dataclass whose fields are the options, `--set KEY=VALUE` on the command line; their types and
      bounds are checked, and `self.options` is an instance.
    - `extra`: the extra of this package that brings the `modules`; None: the user installs them by their names.
    - `modules`: what the exporter imports, inside its methods and not at the top of its file.
    - `distributions`: the packages whose versions the manifest states.
    - `target`: a name for a group of exporters, as `fpga`; None: the exporter's own name alone.
    - `float_passes`: passes that make a network in float one that can be written, as `fold_batch_norm`.
    """

    Options: ClassVar[type[Any]] = NoOptions
    extra: ClassVar[str | None] = None
    modules: ClassVar[tuple[str, ...]] = ()
    distributions: ClassVar[tuple[str, ...]] = ()
    target: ClassVar[str | None] = None
    float_passes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: Any = None) -> None:
        self.options = options if options is not None else self.Options()

    @classmethod
    def require_packages(cls) -> None:
        """Raise ExportError, with the command that installs it, where a package is missing."""
        for module in cls.modules:
            try:
                import_module(module)
            except ImportError as error:
                how = install_command(cls.extra) if cls.extra else f"install {module}"
                raise ExportError(f"this export needs the package {module} ({error}): {how}") from error

    @classmethod
    def format_problem(cls, op: Op, operand: str, chosen: Format | None) -> str | None:
        """The reason why no network with this format at an operand can be exported, with the cure; None where it can.

        `chosen` is as a space has it: what it measures ("auto" fraction widths, scales) is not measured yet. None
        stands for an operand in float32.
        """
        return None

    @classmethod
    def refused(cls, graph: MaseGraph, example: Any, choices: Choices) -> Refused:
        """The choices of a space that no network with them can be exported with; nothing is written or measured.

        `graph` is in float, after the passes of the search; `example` is a batch as the model takes it.
        """
        return refused_one_by_one(choices, graph.quantizable_nodes(), cls.format_problem)

    @abstractmethod
    def problems(self, network: ExportNetwork) -> list[str]:
        """All reasons why the network cannot be exported, with what to change; of a node as `NodeProblem`.

        Empty where it can. Nothing has been written when this is called.
        """

    def network_of_files(self, network: ExportNetwork) -> ExportNetwork:
        """The network that the files compute, whose formats and scores manifest and README state."""
        return network

    @abstractmethod
    def write(self, network: ExportNetwork, folder: Path) -> Written:
        """Write the files into an empty folder, which is moved to another place afterwards."""

    def not_verified(self) -> str | None:
        """Why nothing that is written is run, where the options say so; None where `checks` runs it."""
        return None

    @abstractmethod
    def checks(self, network: ExportNetwork, folder: Path) -> Iterator[Check]:
        """Run what was written on the whole test set, by each tool there is, and compare with the network."""


EXPORTERS: Registry[type[Exporter]] = Registry(
    "chop.exporters",
    "exporter",
    ("chop.exporters.hls4ml", "chop.exporters.onnx", "chop.exporters.qonnx", "chop.exporters.rtl"),
    problem=subclass_problem(Exporter, "Options"),
)


def exporters_for(target: str) -> dict[str, type[Exporter]]:
    """The exporters of a target, by name: the one of that name first, then those that declare it.

    Of these the ones without a `format_problem` of their own come first, which take the most.

    Raises UnknownNameError for a name that is neither, ChopError for an exporter that cannot be loaded.
    """
    working = EXPORTERS.working()
    named = {EXPORTERS.canonical(target): EXPORTERS[target]} if target in EXPORTERS else {}
    declaring = [(name, cls) for name, cls in working.items() if cls.target == target]
    declaring.sort(
        key=lambda own: any("format_problem" in vars(base) for base in own[1].__mro__ if base is not Exporter)
    )
    if found := {**named, **dict(declaring)}:
        return found
    known = sorted({*working, *filter(None, (cls.target for cls in working.values()))})
    hint = did_you_mean(target, known)
    raise UnknownNameError(f"'{target}' is no target of an export{hint} (known: {', '.join(known) or 'none'})")
