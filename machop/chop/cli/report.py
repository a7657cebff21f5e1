"""The command `ch report`: writes the page of a search or a comparison, and opens it."""

from __future__ import annotations

import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from chop.errors import ConfigError

RUN = Annotated[Path, typer.Argument(help="The folder of a search or a comparison, as mase_output/NAME.")]
OUTPUT = Annotated[
    Path | None, typer.Option("--output", help="The file to write. [default: report.html in that folder]")
]
LITE = Annotated[bool, typer.Option("--lite", help="Fewer networks, for a file that can be mailed.")]
OPEN = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]
LIVE = Annotated[
    bool, typer.Option("--live", help="Serve the page on this machine and follow the search; Ctrl-C ends it.")
]
FIGURES = Annotated[
    Path | None, typer.Option("--figures", help="Write the pictures for a paper (PDF, SVG, PNG) into this folder.")
]
CURVE = Annotated[
    str | None,
    typer.Option("--curve", help="Draw curves as well: the first objective against this key (weight_width) or metric."),
]
BY = Annotated[str | None, typer.Option("--by", help="A curve for each value of this key: name (the format) …")]


def report(
    run: RUN,
    output: OUTPUT = None,
    lite: LITE = False,
    open_it: OPEN = False,
    figures: FIGURES = None,
    curve: CURVE = None,
    by: BY = None,
    live: LIVE = False,
) -> None:
    """Write a search as one HTML page that needs no network: ch report mase_output/NAME --open"""
    from chop.record.names import PAGE_FILE, search_folder
    from chop.report.html.pages import page_folder, page_of
    from chop.tools.files import place_given_by, write_whole
    from chop.tools.terminal import terminal

    run = run.parent if run.name == PAGE_FILE else run
    if live:
        serve(run, open_it)
        return
    if curve is not None and figures is None:
        raise ConfigError(["ch report: --curve needs a folder for the pictures: --figures DIR"])
    if by is not None and curve is None:
        raise ConfigError(["ch report: --by needs what the curves are drawn against: --curve weight_width, say"])
    if output is not None and output.is_dir():
        raise ConfigError([f"ch report: --output {output} is a folder: give a file, as {output / PAGE_FILE}"])
    folder = search_folder(run)
    if not folder.is_dir():
        raise ConfigError([f"ch report: there is no folder {run}; give that of a search, as mase_output/NAME"])
    written = [write_whole(output or page_folder(folder) / PAGE_FILE, page_of(folder, lite))]
    if figures is not None:
        from chop.report.figures import Against, write_figures

        with place_given_by("figures"):
            written += write_figures(folder, figures, None if curve is None else Against(curve, by))
    for path in written:
        terminal().print(f"written: {path}", soft_wrap=True, highlight=False, markup=False)
    if open_it:
        webbrowser.open(written[0].resolve().as_uri())


def serve(run: Path, opens: bool) -> None:
    """Serve the page of a running search until Ctrl-C, or until it has ended and nobody looks any more.

    Where a process serves it already, its address is told, and nothing else is done.
    """
    from chop.report.html.live import LiveServer
    from chop.report.html.live_address import announced, served_at
    from chop.tools.terminal import terminal

    def tell(address: str) -> None:
        terminal(stderr=True).print(f"live: {address}", soft_wrap=True, highlight=False, markup=False)
        if opens:
            webbrowser.open(address)

    if running := served_at(run):
        tell(running)
        return
    server = LiveServer(run)
    server.start()
    try:
        with announced(run, server.address):
            tell(server.address)
            server.wait()
    finally:
        server.close()


def serve_beside(run: Path) -> subprocess.Popen[str]:
    """Start `ch report RUN --live` as a process of its own, which a search that is begun anew does not end.

    It holds nothing of this process, so that a pipe behind the search ends with the search.
    """
    command = [sys.executable, "-m", "chop", "report", str(run.resolve()), "--live"]
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    assert server.stderr is not None
    with server.stderr as told:
        print(told.readline().rstrip(), file=sys.stderr)  # noqa: T201 - the address
    return server
