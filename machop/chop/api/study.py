"""`Study`: the result of a search, and the networks that it measured."""

from __future__ import annotations

import tomllib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from chop.actions.calibration import calibrate
from chop.actions.replay import require_registered_formats
from chop.actions.search.measuring.baseline_check import of_the_float_baseline
from chop.actions.search.run.input_fingerprint import weights_digest
from chop.actions.search.run.job import SearchJob
from chop.actions.search.search import checked_call
from chop.actions.search.strategies.runners.base import RUNNERS, drawn_alike
from chop.actions.setup import resolve_accelerator
from chop.api.arguments import in_python, naming
from chop.api.data import data_module_of
from chop.api.tables import Row, Table, data_frame, table_of
from chop.config.options import RunOptions
from chop.config.units import parse_quantity
from chop.dataset import DATASETS
from chop.dataset.arrays import SPLIT
from chop.errors import SearchError
from chop.ir import MaseGraph
from chop.record.folder import SearchFolder
from chop.record.summary import FP32, SearchSummary
from chop.record.trial import BestRow, Objective, TestMetrics, Trial, TrialCounts
from chop.report.format_texts import describe_formats
from chop.tools.files import copied_folder

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Networks:
    """Builds the networks of a search exactly as it measured them."""

    job: SearchJob
    about: Mapping[str, Any]

    @classmethod
    def of(cls, job: SearchJob, options: RunOptions) -> Networks:
        """Those of a search that has run, whose graph is calibrated."""
        about = {"model": options.model, "dataset": options.dataset, "task": options.task} if options.model else {}
        return cls(job, {name: value for name, value in about.items() if value is not None})

    def build(self, config: Mapping[str, Any]) -> MaseGraph:
        """The network of a sampled config, fine-tuned where the search measured it so."""
        settings = self.job.settings
        graph = self.job.space.rebuild_model(config, settings.eval_mode)
        graph.model.to(self.job.device)
        for choice in settings.runners:
            with drawn_alike(), torch.enable_grad():
                RUNNERS[choice.name](self.job.data_module, choice.options).adapt(graph)
        return graph


class Network:
    """A network that a search measured: `number` of its trial, `config`, `metrics` and, for winners, `test_metrics`.

    `config` is a dictionary as `quantize_transform_pass` takes it. `test_metrics` are `{name: (value, low, high)}` with
    the bounds of the 95 % interval; None where it was not measured on the test set.
    """

    def __init__(
        self, trial: Trial, config: Mapping[str, Any], test_metrics: TestMetrics | None, networks: Networks | None
    ) -> None:
        self.trial = trial
        self.number = trial.number
        self.config = config
        self.metrics = trial.metrics
        self.test_metrics = test_metrics
        self._networks = networks

    @cached_property
    def graph(self) -> MaseGraph:
        """The network as a graph, with the formats of its nodes.

        Raises SearchError for a study that was loaded without its model.
        """
        if self._networks is None:
            raise SearchError("this study was loaded without its model: chop.load_study(folder, model=..., data=...)")
        return self._networks.build(self.config)

    @property
    def model(self) -> nn.Module:
        """The network as a module, which predicts as the search measured; it can be trained, copied and saved."""
        return self.graph.model

    @property
    def formats(self) -> str:
        """The formats of all layers in one line."""
        return describe_formats(self.config)

    def save(self, path: Path | str) -> Path:
        """Write the network as one safetensors file, which `MaseGraph.from_checkpoint` loads."""
        graph = self.graph
        assert self._networks is not None
        return graph.export(path, self._networks.about)

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"Network({self.number}: {figures or self.trial.failed}; {self.formats})"


class Study:
    """A finished search: its Pareto front, its trials and its networks.

    `study[17]` is the network of trial 17; `len` and iteration are of all trials. `front_networks` are those of
    the front.
    """

    def __init__(self, files: SearchFolder, networks: Networks | None = None) -> None:
        self._files = files
        self._networks = networks
        self.warnings: tuple[str, ...] = ()
        """What the search warned of; nothing of a study that was loaded."""

    def keep(self, stack: ExitStack) -> None:
        """Close `stack`, which holds the temporary folder, when the study is no longer needed."""
        weakref.finalize(self, stack.close)

    @property
    def folder(self) -> Path:
        """The folder of the study's files; a temporary one goes away with the study."""
        return self._files.path

    @cached_property
    def summary(self) -> SearchSummary:
        """Why the search ended, what it found and what its figures rest on."""
        return self._files.summary

    @property
    def reason(self) -> str:
        """Why the search ended: n_trials, timeout, patience, exhausted, strategy or interrupted."""
        return self.summary.reason

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics of objectives and constraints, then all others."""
        return list(dict.fromkeys([*self.summary.goals.metrics, *self.summary.metrics]))

    @property
    def front(self) -> Table | pandas.DataFrame:
        """The Pareto front by objectives and constraints, the best by the first objective first.

        `test_…` are the same on the test set, with the bounds of the 95 % interval. A DataFrame with pandas, else a
        `Table`.
        """
        return table_of(self._front_rows)

    @property
    def front_networks(self) -> list[Network]:
        """The networks of the front, in the order of `front`."""
        return [self[row["trial"]] for row in self._front_rows]

    @property
    def trials(self) -> Table | pandas.DataFrame:
        """Every trial, with its state: measured, repeat, stopped or failed; of more than 100,000 the front."""
        return table_of([self._trial_row(trial) for trial in self._trials.values()])

    def to_pandas(self) -> pandas.DataFrame:
        """Every trial with what was chosen for each layer. Raises ChopError where pandas is missing."""
        return data_frame([{**self._trial_row(own), **_choices(self._configs[n])} for n, own in self._trials.items()])

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What was optimised."""
        return self.summary.goals.objectives

    @property
    def _best_rows(self) -> list[BestRow]:
        """The rows of the front: none where no network satisfies all constraints."""
        goals = self.summary.goals
        return [row for row in self.summary.best if goals.is_within(row.trial.metrics)]

    def best(self, max_drop: float | str | None = None, metric: str | None = None) -> Network:
        """The network of the front that is best by `metric`: the first objective that is measured on samples.

        With `max_drop` it is the one that is best by the first other objective, among those whose `metric` is at most
        so much worse ("1 %", say) than that of the FP32 baseline. Raises SearchError where there is none.
        """
        quality = self._quality(metric)
        others = [own for own in self.objectives if own is not quality]
        rows, order = self._best_rows, [quality, *others]
        if not rows:
            raise self._no_network()
        if max_drop is not None:
            rows, order = self._within(rows, quality, self._drop(max_drop, quality.metric)), [*others, quality]
        best = min(rows, key=lambda row: [*(_cost(own, row.trial) for own in order), row.trial.number])
        return self[best.trial.number]

    def _quality(self, metric: str | None) -> Objective:
        measured = self.summary.best[0].trial.software_metrics
        names = [own.metric for own in self.objectives]
        wanted = metric or next((name for name in names if name in measured), names[0])
        if wanted not in names:
            raise SearchError(f"metric: '{wanted}' is no objective of this study ({', '.join(names)})")
        return next(own for own in self.objectives if own.metric == wanted)

    def _no_network(self) -> SearchError:
        (nearest,) = self.summary.best
        return SearchError(
            f"no measured network satisfies all constraints; the nearest is study[{nearest.trial.number}], which "
            f"misses {self.summary.goals.misses(nearest.trial.metrics)}"
        )

    def _drop(self, given: Any, metric: str) -> float:
        try:
            drop = parse_quantity(given, self.summary.metrics[metric].unit) if isinstance(given, str) else float(given)
        except (TypeError, ValueError) as error:
            raise SearchError(f"max_drop: expected a number, or text with a unit, got {given!r}") from error
        if not drop >= 0:
            raise SearchError(f"max_drop: must be 0 or more, got {given!r}: how much worse than the FP32 baseline")
        return drop

    def _within(self, rows: list[BestRow], quality: Objective, max_drop: float) -> list[BestRow]:
        baseline = self.summary.baselines.get(FP32)
        if baseline is None:
            raise SearchError("max_drop: the FP32 baseline was not measured, as the search was interrupted")
        reference, name = baseline.trial.metrics[quality.metric], quality.metric
        drops = {row.trial.number: quality.turn * (row.trial.metrics[name] - reference) for row in rows}
        kept = [row for row in rows if drops[row.trial.number] <= max_drop]
        if not kept:
            nearest = min(rows, key=lambda row: drops[row.trial.number]).trial
            raise SearchError(
                f"max_drop: no network of the front is within {max_drop:g} of FP32 ({name} {reference:.4g}); the "
                f"nearest is trial {nearest.number} with {nearest.metrics[name]:.4g}"
            )
        return kept

    def __getitem__(self, number: int) -> Network:
        """The network of a trial; raises SearchError for a number that no trial has."""
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise SearchError(f"study[...] takes the number of a trial, got {number!r}")
        number = int(number)
        if number not in self._trials:
            raise SearchError(f"there is no trial {number} (there are {len(self._trials)}, from 0)")
        if number not in self._made:
            tests = {row.trial.number: row.test_metrics for row in self.summary.best}
            own = Network(self._trials[number], self._configs[number], tests.get(number), self._networks)
            self._made[number] = own
        return self._made[number]

    def __iter__(self) -> Iterator[Network]:
        """The networks of all trials, in order; of more than 100,000 those of the front."""
        return (self[number] for number in self._trials)

    def __len__(self) -> int:
        """How many trials there are; of more than 100,000 how many the front has."""
        return len(self._trials)

    @cached_property
    def _made(self) -> dict[int, Network]:
        return {}

    @cached_property
    def _trials(self) -> dict[int, Trial]:
        return {trial.number: trial for trial in self._files.trials()}

    @cached_property
    def _configs(self) -> dict[int, Mapping[str, Any]]:
        return {row["number"]: row["sampled_config"] for row in self._files.rows()}

    @property
    def _front_rows(self) -> list[Row]:
        rows = sorted(self._best_rows, key=lambda row: (_cost(self.objectives[0], row.trial), row.trial.number))
        return [self._front_row(row) for row in rows]

    def _front_row(self, row: BestRow) -> Row:
        goals = self.summary.goals.metrics
        tests: dict[str, float] = {}
        for name, (value, low, high) in (row.test_metrics or {}).items():
            if name in goals:
                tests |= {f"test_{name}": value, f"test_{name}_low": low, f"test_{name}_high": high}
        figures = {name: row.trial.metrics[name] for name in goals}
        return {"trial": row.trial.number, **figures, **tests, "formats": describe_formats(row.sampled_config)}

    def _trial_row(self, trial: Trial) -> Row:
        figures = {name: trial.metrics.get(name) for name in self.metrics}
        formats = describe_formats(self._configs[trial.number])
        return {"trial": trial.number, **figures, "state": _state(trial), "seconds": trial.seconds, "formats": formats}

    def plot_front(self, x: str | None = None, y: str | None = None) -> Figure:
        """All trials and the front, by two metrics (the objectives, if not given), as a figure of matplotlib.

        Raises ChopError where matplotlib is missing.
        """
        from chop.report.front_plot import front_figure

        for name in (name for name in (x, y) if name is not None and name not in self.metrics):
            raise SearchError(f"'{name}' is no metric of this study ({', '.join(self.metrics)})")
        return front_figure(self.summary, list(self._trials.values()), x, y)

    def to_toml(self) -> str:
        """The TOML file that does the same search: `ch search --config FILE`.

        What is an object of Python, and what to give on the command line in place of it, comments say.
        """
        text = self._files.resolved
        if text is None:
            raise SearchError(f"{self.folder} has no resolved.toml: its search was not given the options of a file")
        return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# chop record"))

    def save(self, folder: Path | str) -> Path:
        """Keep the files of the study in `folder`, which `chop.load_study` reads; raises FolderError if it exists."""
        return copied_folder(self.folder, Path(folder))

    def __repr__(self) -> str:
        summary = self.summary
        counts = f"{summary.counts.measured} configurations measured of {summary.space_size:,}"
        title = f"Study({len(self._best_rows)} on the front; {counts}; ended by {summary.reason})"
        return "\n".join([title, repr(Table(self._front_rows)), *self._told()])

    def _repr_html_(self) -> str:
        counts = f"{self.summary.counts.measured} measured configurations of {self.summary.space_size:,} in the space"
        table = Table(self._front_rows)._repr_html_()
        told = "".join(f"<p>{escape(text)}</p>" for text in self._told())
        return f"<p>Pareto front: {len(self._best_rows)} of {counts}</p>{table}{told}"

    def _told(self) -> list[str]:
        """What is to be known beside the front."""
        return [*self.summary.remarks, *(f"warning: {text}" for text in self.warnings)]


def load_study(
    folder: Path | str,
    model: nn.Module | MaseGraph | None = None,
    data: Any = None,
    *,
    loss: Any = None,
    metrics: Mapping[str, Any] | None = None,
    split: Sequence[float] = SPLIT,
) -> Study:
    """The study in a folder, from its records alone. Its networks can be built where `model` is given.

    `model` must be the one that was searched, with its weights. `data`, `loss`, `metrics` and `split` are those of the
    search; data by name need not be given. Functions that were objectives are `metrics` here. Nothing that the folder
    holds is run. Raises SearchError for another model or other data.
    """
    if not isinstance(folder, (str, Path)):
        raise SearchError(f"folder: expected the path of a study's folder, got {folder!r}")
    files = SearchFolder(folder)
    with in_python():
        _require_whole(files)
    if model is None:
        return Study(files)
    with in_python():
        return Study(files, _networks_of(files, model, data, {"loss": loss, "metrics": metrics, "split": split}))


def _require_whole(files: SearchFolder) -> None:
    """Raise SearchError where the records of a search that has ended do not belong together."""
    counts, _ = files.summary.counts, files.resolved
    if files.is_by_trial and TrialCounts.of(files.trials()) != counts:
        raise SearchError(f"{files.log} has other trials than summary.json beside it: it was cut off or changed")


def _networks_of(files: SearchFolder, model: Any, data: Any, about_data: Mapping[str, Any]) -> Networks:
    from chop.api.search import module_of

    text = files.resolved
    if text is None:
        raise SearchError(f"{files.path} has no resolved.toml, without which its networks cannot be built")
    require_registered_formats((row.sampled_config for row in files.summary.best), files.path)
    document = tomllib.loads(text)
    options = RunOptions(**{key: value for key, value in document.items() if key != "search" and key in _OPTIONS})
    if data is None and options.dataset not in DATASETS:
        raise SearchError("data: give the data of the search: its networks are built with their help")
    module = data_module_of(
        options.dataset if data is None else data,
        task=options.task,
        batch_size=options.batch_size,
        max_token_len=options.max_token_len,
        seed=options.seed,
        **about_data,
    )
    with naming("model"):
        own = module_of(model)
    if weights_digest(own) != files.fingerprint.get("weights"):
        raise SearchError(f"model: has other weights than the one that the search in {files.path} measured")
    device = resolve_accelerator(options)
    job = checked_call(SearchJob, own, module, document["search"], files.path, options.seed, device)
    _require_same(job, files)
    if job.space.calibration_rows:
        with of_the_float_baseline():
            calibrate(job.space.graph, module, job.space.calibration_rows)
    return Networks.of(job, options)


_OPTIONS = ("model", "dataset", "task", "batch_size", "seed", "accelerator", "max_token_len")
_TOLD = {"layers": "layers", "choices": "choices", "dataset": "data"}


def _require_same(job: SearchJob, files: SearchFolder) -> None:
    """Raise SearchError where model or data are not those of the search."""
    then, now = files.fingerprint, job.fingerprint()
    other = [said for key, said in _TOLD.items() if then.get(key) != now.get(key)]
    if other:
        raise SearchError(
            f"the search in {files.path} had other {' and other '.join(other)}: give the model and the data that it "
            "was run on"
        )


def _cost(objective: Objective, trial: Trial) -> float:
    return objective.turn * trial.metrics[objective.metric]


def _state(trial: Trial) -> str:
    if trial.failed:
        return f"failed: {trial.failed}"
    if trial.stopped_at is not None:
        return f"stopped after {trial.stopped_at} samples"
    return "measured" if trial.repeats is None else f"repeats {trial.repeats}"


def _choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says of each node, `{"node/key": value}`."""
    nodes = {
        node: entry["config"] for node, entry in config.items() if isinstance(entry, Mapping) and node != "default"
    }
    return {f"{node}/{key}": value for node, own in nodes.items() for key, value in own.items()}
