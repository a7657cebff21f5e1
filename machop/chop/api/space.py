"""`Space`: the search space as Python arguments, and as the table of a TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from annotated_types import Ge

from chop.api.arguments import naming
from chop.api.plain_values import plain
from chop.api.written_keys import WrittenKeys
from chop.config.toml_document import TomlDocument
from chop.config.typed import check_value
from chop.errors import ConfigError, did_you_mean
from chop.formats import FORMATS, Format
from chop.formats.integer import FixedPoint
from chop.nn.node_config import (
    FLOAT_NAMES,
    GLOBAL_KEYS,
    split_key,
    transform_keys,
)
from chop.nn.ops import OP_TABLE, Op
from chop.passes.graph.node_selection import matches
from chop.report.notebook.space_display import space_html

MIXED_PRECISION = "graph/quantize/mixed_precision_ptq"
OPERANDS = ("data_in", "weight", "bias")
"""The operands that choices without an operand are for: what a layer computes with, not its result."""

By = Literal["type", "name", "regex_name"]
Choices = Mapping[str, Any]


@dataclass(frozen=True, init=False)
class Space:
    """The choices of every layer: the search space is their product.

    `formats` are names of `ch info format`, classes, or format objects; None among them leaves a layer in float.
    `widths` are bits, for inputs, weights and biases. More `choices` are lists: a parameter of the formats
    (`frac_width`, `exponent_width`, `block_size` …), which then holds for inputs, weights and biases, or a key of a
    seed in a TOML file (`weight_width`, `data_out_width`, `weight_sparsity`, `bias_correction` …). A single value is a
    list of one. Fixed point without `frac_width` measures its ranges ("auto").

    `layers` says which layers have choices: a list, or a mapping to choices of their own, which go before the others.
    They are ops such as "linear" (`by="type"`), names of nodes ("name") or patterns ("regex_name"). None: every layer
    that multiplies matrices. `overrides` maps patterns of nodes to choices that go before all of these; `exclude` are
    patterns of nodes that stay in float; `ties` are groups of patterns that have one choice together, and
    `tie_operands` operands of a layer that have one together (None: weight and bias, where their lists are equal).
    Ranges of activations are measured on `calibration_samples` training samples; so are the statistics of batch
    norms with `batch_norm="measured"`, for each configuration anew. `passes` change the float network before
    ("fold_batch_norm", "equalise" …), and keep what it computes. `export_to` ("fpga", "onnx", or a name
    of `ch info exporter`) leaves out what cannot be exported there, so that every network of the space can be.

    >>> space = Space(["integer"], [4, 8], exclude=["head"], overrides={"stem": {"widths": [8]}})
    >>> space.seed["linear"]["config"]["weight_width"], space.setup["exclude"]
    ([4, 8], ['head'])
    """

    seed: Mapping[str, Any]
    override: Mapping[str, Any]
    setup: Mapping[str, Any]
    name: str
    _of_all_layers: bool = field(default=False, repr=False, compare=False)
    _written: WrittenKeys | None = field(default=None, repr=False, compare=False)

    def __init__(
        self,
        formats: Iterable[Any] | str | None = None,
        widths: Iterable[int] | int | None = None,
        *,
        layers: Mapping[str, Choices] | Sequence[str] | None = None,
        by: By = "type",
        overrides: Mapping[str, Choices] | None = None,
        exclude: Sequence[str] = (),
        ties: Sequence[Sequence[str]] = (),
        tie_operands: Sequence[str] | None = None,
        calibration_samples: int = 512,
        batch_norm: str = "float",
        passes: Sequence[str] = (),
        export_to: str | None = None,
        **choices: Any,
    ) -> None:
        given = {"formats": formats, "widths": widths, **choices}
        base = {key: value for key, value in given.items() if value is not None}
        own = {key: {**_shared(base, more), **more} for key, more in _layers(layers, by).items()}
        seed = {key: {"config": _lists(all_of, f"layers[{key!r}]" if layers else "")} for key, all_of in own.items()}
        override = {
            key: {"config": _lists(_with_widths(more, base), f"overrides[{key!r}]", base.get("formats"))}
            for key, more in (overrides or {}).items()
        }
        setup: dict[str, Any] = {"by": by, "exclude": _patterns(exclude, "exclude"), "tie": _groups(ties)}
        setup["tie_operands"] = _tied([*seed.values(), *override.values()]) if tie_operands is None else [*tie_operands]
        setup["calibration_rows"] = plain(calibration_samples)
        if wrong := check_value(Annotated[int, Ge(1)], setup["calibration_rows"]):
            raise ConfigError([f"space: calibration_samples: {wrong}"])
        if wrong := check_value(Literal["float", "measured"], batch_norm):
            raise ConfigError([f"space: batch_norm: {wrong}"])
        setup |= {} if batch_norm == "float" else {"batch_norm": batch_norm}
        setup |= {"passes": _patterns(passes, "passes", "names of passes (ch info pass)")} if passes else {}
        setup |= {} if export_to is None else {"export_to": export_to}
        self._set(seed, override, setup, MIXED_PRECISION)
        object.__setattr__(self, "_of_all_layers", layers is None)
        object.__setattr__(self, "_written", WrittenKeys(frozenset(base), _layers(layers, by), overrides or {}))

    def _set(self, seed: Mapping[str, Any], override: Mapping[str, Any], setup: Mapping[str, Any], name: str) -> None:
        for key, value in {"seed": seed, "override": override, "setup": setup, "name": name}.items():
            object.__setattr__(self, key, value)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Space:
        """The space of a table `[search.search_space]`; raises ConfigError for a key that it does not have."""
        known = ("name", "setup", "seed", "override")
        wrong = [key for key in table if key not in known]
        if wrong:
            raise ConfigError([f"space: unknown key '{key}'{did_you_mean(key, known)}" for key in wrong])
        space = object.__new__(cls)
        seed, override, setup = (table.get(key, {}) for key in ("seed", "override", "setup"))
        space._set(seed, override, setup, table.get("name", MIXED_PRECISION))
        return space

    @classmethod
    def from_toml(cls, path: Path | str) -> Space:
        """The space of a TOML file; raises ConfigError where it has none."""
        data = TomlDocument.read(Path(path)).data
        table = data.get("search", {}).get("search_space")
        if not isinstance(table, Mapping):
            raise ConfigError([f"{path}: has no table [search.search_space]"])
        return cls.from_table(table)

    def fitting(self, nodes: Mapping[str, Op]) -> Space:
        """The same space for a model that has these nodes: all others are left out, unless `layers` named them.

        So are keys without effect, unless they were written for these layers alone.
        """
        if self._written is None:
            return self
        if wrong := [text for key in self._written.for_seed if (text := self._misread(key, nodes))]:
            raise ConfigError(wrong)
        ops = {op.name for op in nodes.values()}
        seed = {key: own for key, own in self.seed.items() if key in ops or not self._of_all_layers}
        space = object.__new__(Space)
        space._set(*self._written.fitted(seed, self.override, self.setup["by"], nodes), self.setup, self.name)
        return space

    def _misread(self, key: str, nodes: Mapping[str, Op]) -> str | None:
        """The problem of an entry of `layers` that `by` reads as the name of no node, though it is for some."""
        by = self.setup["by"]
        if any(matches(key, by, name, op.name) for name, op in nodes.items()):
            return None
        if by == "type" and key in nodes:
            cure = f'give the choices of one node by overrides={{{key!r}: …}}, or of all by name with by="name"'
            return f'space: layers[{key!r}]: by="type" reads types of layers, and this is the name of a node: {cure}'
        if by != "type" and any(matches(key, "type", name, op.name) for name, op in nodes.items()):
            cure = 'choose by="type", and overrides={…} for single nodes'
            return f'space: layers[{key!r}]: by="{by}" reads names of nodes, and this is a type of layers: {cure}'
        return None

    def written_argument(self, path: Sequence[str]) -> str | None:
        """The argument that a key of its table was made of; None where that is unknown, or no key of a layer."""
        if self._written is None or len(path) < 4:
            return None
        table, entry, _, key = path[:4]
        return self._written.argument(table, entry, key)

    def __repr__(self) -> str:
        """All that it says, as its table does."""
        by = {key: entry["config"] for key, entry in self.seed.items()}
        first: Mapping[str, Any] = next(iter(by.values()), {})
        told = {", ".join(by): first} if all(own == first for own in by.values()) else by
        layers = "; ".join(f"{keys}: {_listed(own)}" for keys, own in told.items())
        override = [f"override {key}: {_listed(entry['config'])}" for key, entry in self.override.items()]
        setup = [f"{key} {value}" for key, value in self.setup.items() if key != "by" and value]
        return f"Space({'; '.join(['by ' + str(self.setup.get('by', 'name')), layers, *override, *setup])})"

    def _repr_html_(self) -> str:
        return space_html(self.seed, self.override, self.setup)

    def table(self) -> dict[str, Any]:
        """The table `[search.search_space]` of a TOML file."""
        parts = {"setup": self.setup, "seed": self.seed, "override": self.override}
        return {"name": self.name, **{key: dict(part) for key, part in parts.items() if part}}


def _shared(base: Choices, own: Choices) -> Choices:
    """What a layer has of the choices of all layers; where its formats are objects, these say their widths."""
    return {key: value for key, value in base.items() if key != "widths" or not _objects(own.get("formats"))}


def _with_widths(choices: Choices, base: Choices) -> Choices:
    """The choices of an override; formats that take widths have those of all layers, unless it has its own."""
    formats = choices.get("formats")
    if formats is None or "widths" in choices or "widths" not in base or _objects(formats):
        return choices
    classes = [FORMATS[name] for name in _format_names(formats, {}, "overrides") if name not in FLOAT_NAMES]
    takes_widths = all({"width", "element_bits"} & set(cls.keys()) for cls in classes)
    return {**choices, "widths": base["widths"]} if takes_widths else choices


def _patterns(given: Any, where: str, wanted: str = "patterns of nodes") -> list[str]:
    """Patterns, or other texts, as a list; one may stand alone."""
    found = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(own, str) for own in found):
        raise ConfigError([f"{where}: expected {wanted}, got {given!r}"])
    return found


def _groups(ties: Sequence[Sequence[str]]) -> list[list[str]]:
    if isinstance(ties, str) or any(isinstance(group, str) for group in ties):
        raise ConfigError([f"ties: expected groups, each a list of patterns of nodes: [['a', 'b']]; got {ties!r}"])
    return [_patterns(group, "ties") for group in ties]


def _layers(layers: Mapping[str, Choices] | Sequence[str] | None, by: By) -> dict[str, Choices]:
    """The choices of its own for each kind of layer."""
    if by not in get_args(By):
        raise ConfigError([f"by: expected one of {', '.join(get_args(By))}, got {by!r}"])
    if layers is None and by != "type":
        raise ConfigError([f'layers: name the layers that have choices, where by="{by}"'])
    if layers is None:
        return {op.name: {} for op in OP_TABLE.working().values() if op.multiplies and op.quantizable}
    if isinstance(layers, str):
        return {layers: {}}
    return dict(layers) if isinstance(layers, Mapping) else {key: {} for key in layers}


def _lists(choices: Choices, where: str, formats: Any = None) -> dict[str, list[Any]]:
    """The lists of a node as the TOML file has them; `formats` are those of choices that name none."""
    given = dict(choices)
    named = given.pop("formats", given.pop("name", None))
    if named is None and formats is None:
        raise ConfigError([f"{_at(where, 'formats')}: name the number formats to choose from (ch info format)"])
    found: dict[str, list[Any]] = {}
    names = _format_names(formats if named is None else named, found, _at(where, "formats"))
    lists = {"name": names} if named is not None else {}
    classes = [FORMATS[name] for name in names if name not in FLOAT_NAMES]
    if "widths" in given:
        _require_no_width(formats if named is None else named, _at(where, "widths"))
        found |= _widths(given.pop("widths"), classes, _at(where, "widths"))
        if "frac_width" not in given and any(issubclass(cls, FixedPoint) for cls in classes):
            given = {"frac_width": ["auto"], **given}
    for key, value in given.items():
        found |= _expanded(key, _as_list(value), classes, _at(where, key))
    return {**lists, **found}


def _at(where: str, key: str) -> str:
    return f"{where}[{key!r}]" if where else key


def _format_names(formats: Any, found: dict[str, list[Any]], where: str) -> list[str]:
    """The names of formats; what a format object holds is added to the lists `found`."""
    _require_agreement(_objects(formats), where)
    names = []
    for own in [formats] if isinstance(formats, (str, type, Format)) or formats is None else formats:
        with naming(where):
            name = _format_name(own, where)
        if isinstance(own, Format):
            if name in names:
                raise ConfigError([f"{where}: has two objects of '{name}'; give its name, and lists of its values"])
            found |= _of_object(own)
        names.append(name)
    return names


def _objects(formats: Any) -> list[Format]:
    """The format objects among formats."""
    found = formats if isinstance(formats, (list, tuple)) else [formats]
    return [own for own in found if isinstance(own, Format)]


def _require_no_width(formats: Any, where: str) -> None:
    """Raise ConfigError for widths beside a format object, which has its own."""
    for own in _objects(formats):
        if {"width", "element_bits"} & set(own.keys()):
            raise ConfigError([f"{where}: '{own}' has its own: give the name of the format in place of the object"])


def _require_agreement(objects: Sequence[Format], where: str) -> None:
    """Raise ConfigError where format objects differ in a key, since all formats of a layer share its lists."""
    known: dict[str, tuple[Any, Format]] = {}
    for own in objects:
        for key in own.keys():  # noqa: SIM118
            value, first = known.setdefault(key, (getattr(own, key), own))
            if getattr(own, key) != value:
                raise ConfigError(
                    [
                        f"{where}: '{first}' and '{own}' differ in {key}, which formats of one layer share: give names "
                        "of formats, and lists of values"
                    ]
                )


def _format_name(given: Any, where: str) -> str:
    if given in FLOAT_NAMES:
        return "NA"
    if isinstance(given, str):
        FORMATS.canonical(given)
        return given
    cls = type(given) if isinstance(given, Format) else given
    if isinstance(cls, type) and issubclass(cls, Format):
        return FORMATS.adopt(cls, cls.__name__)
    raise ConfigError([f"{where}: expected names, classes or objects of number formats, got {given!r}"])


def _of_object(own: Format) -> dict[str, list[Any]]:
    """The keys of a format object; those that have their default are left out."""
    defaults = {field.name: field.default for field in fields(own)}
    values = {key: value for key in own.keys() if (value := getattr(own, key)) != defaults[key]}  # noqa: SIM118
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return {f"{operand}_{key}": [value] for operand in OPERANDS for key, value in plain.items()}


def _widths(widths: Any, classes: Sequence[type[Format]], where: str) -> dict[str, list[Any]]:
    values = _as_list(widths)
    wrong = [value for value in values if isinstance(value, bool) or not isinstance(value, int) or value < 1]
    if wrong or not values:
        raise ConfigError([f"{where}: expected whole numbers from 1 (bits), got {wrong[0] if wrong else values!r}"])
    keys = {_width_key(cls, where) for cls in classes}
    return {f"{operand}_{key}": values for operand in OPERANDS for key in sorted(keys)}


def _width_key(cls: type[Format], where: str) -> str:
    for key in ("width", "element_bits"):
        if key in cls.keys():  # noqa: SIM118
            return key
    raise ConfigError([f"{where}: {cls.__name__} has no width: give {', '.join(cls.keys())} in place of it"])


def _expanded(key: str, values: list[Any], classes: Sequence[type[Format]], where: str) -> dict[str, list[Any]]:
    """A key with its operand; one without is for inputs, weights and biases."""
    if key in GLOBAL_KEYS or split_key(key) is not None:
        return {key: values}
    known = sorted({own for cls in classes for own in cls.keys()})  # noqa: SIM118
    if key in known:
        return {f"{operand}_{key}": values for operand in OPERANDS}
    names = [*known, *GLOBAL_KEYS, *transform_keys(), "formats", "widths"]
    raise ConfigError([f"{where}: no parameter of these formats{did_you_mean(key, names)} (known: {', '.join(known)})"])


def _as_list(value: Any) -> list[Any]:
    """A list of plain values of Python."""
    if isinstance(value, np.ndarray | range | tuple | set | frozenset):
        value = list(value)
    return [plain(own) for own in value] if isinstance(value, list) else [plain(value)]


def _tied(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Weight and bias, where no lists for them differ."""
    for entry in entries:
        bias = {
            key: value for key, value in entry["config"].items() if key.startswith("bias_") and key not in GLOBAL_KEYS
        }
        if any(entry["config"].get(key.replace("bias_", "weight_", 1)) != value for key, value in bias.items()):
            return []
    return ["weight", "bias"]


def _listed(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in config.items())
