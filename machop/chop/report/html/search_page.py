"""The page of a search: one HTML file, made from the records of the search alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from chop.errors import SearchError
from chop.record import trials
from chop.record.damage import DAMAGES
from chop.record.folder import SearchFolder
from chop.report.commands import with_own_code
from chop.report.html.page import SEARCH_SCRIPTS, page
from chop.report.html.running_search import running_summary
from chop.report.html.search_data import Json, search_data
from chop.tools.folder_lock import in_use
from chop.tools.logger import silenced

FOLLOWS = "The search is running; this page follows its log."
RUNS = "The search was running when this page was written; `ch report RUN --live` follows it."


def search_page(files: SearchFolder, lite: bool = False) -> str:
    """The page of a finished search. With `lite` it holds few of very many trials.

    Raises SearchError for a search that has not ended, or whose files are damaged.
    """
    return _page(_finished(files, lite))


def running_page(files: SearchFolder, lite: bool = False, note: str = FOLLOWS) -> str:
    """The page of a search that has not ended, from its log alone. Raises SearchError as `running_summary` does."""
    return _page(_running(files, lite, note))


def page_of_what_is_sound(files: SearchFolder, lite: bool = False) -> tuple[str, list[str]]:
    """The page of a search, and what is missing on it, a sentence each: the notes at its top."""
    data, problem = data_of_what_is_sound(files, lite)
    return _page(data), [f"the page is of the log alone: {own}" if own == problem else own for own in data["notes"]]


def data_of_what_is_sound(files: SearchFolder, lite: bool = False) -> tuple[Json, str]:
    """The data of a search, and the reason if they come from its log alone: it runs, was cut off, or is damaged.

    What is damaged in the log is among its notes, and is not logged. Raises SearchError where the log has nothing that
    could be shown.
    """
    with silenced(trials.__name__):
        try:
            return _finished(files, lite), ""
        except SearchError as error:
            note = RUNS if in_use(files.path) else str(error)
            try:
                return _running(files, lite, note), note
            except (SearchError, *DAMAGES):
                raise error from None


def _finished(files: SearchFolder, lite: bool) -> Json:
    summary = files.summary
    exporters = ("onnx",) if summary.exporters is None else summary.exporters
    forms = sorted(exporters, key=lambda name: name != "onnx")
    commands = _commands(files, forms) if summary.origin.command else _calls(files.path, forms)
    return {**search_data(files, lite), "commands": commands}


def _running(files: SearchFolder, lite: bool, note: str) -> Json:
    return {**search_data(files, lite, running_summary(files), [note]), "commands": []}


def _page(data: Json) -> str:
    return page(data, f"{data['name']}: {data['title']}", "search", SEARCH_SCRIPTS)


def _commands(files: SearchFolder, forms: Sequence[str]) -> list[list[str]]:
    """Commands that take a network of `ch search` away: what each is for, its text, and a flag.

    `{trial}` stands for its number, `{untuned}` for the flag, where the network was tuned and is wanted as before.
    `forms` are the exporters that take the networks.
    """
    run, flag = shlex.quote(str(files.path)), " --untuned"
    exported = f"export {run} --trial {{trial}}{{untuned}} --to "
    commands = {
        **({_told(forms, "with --to "): exported + forms[0]} if forms else {}),
        "Its graph and weights in one file": f"transform --from-search {run} --trial {{trial}}{{untuned}}",
        "Its scores on the test set": f"test --from-search {run} --trial {{trial}}{{untuned}}",
    }
    typed = files.summary.origin.command
    return [[what, with_own_code(f"ch {command}", files, typed), flag] for what, command in commands.items()]


def _calls(folder: Path, forms: Sequence[str]) -> list[list[str]]:
    """The same for a search from Python, where model and data are objects of the user's program."""
    load = f"net = chop.load_study({str(folder)!r}, model=model, data=data)[{{trial}}]{{untuned}}"
    return [
        ["The network, as a module of torch", f"{load}.model", ".untuned"],
        *([[_told(forms), f'{load}\nnet.export("{forms[0]}", "exported")', ".untuned"]] if forms else []),
    ]


def _told(forms: Sequence[str], way: str = "") -> str:
    """The forms that a network can be exported in, the first of which is in the command.

    >>> _told(["onnx", "verilog", "vhdl"], "with --to "), _told(["onnx"])
    ('As onnx, or with --to verilog, vhdl', 'As onnx')
    """
    return f"As {forms[0]}" + (f", or {way}{', '.join(forms[1:])}" if len(forms) > 1 else "")
