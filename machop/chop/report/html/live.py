"""Serves the page of a search on this machine while the search runs, from its records alone."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chop.errors import ChopError
from chop.record.folder import SearchFolder
from chop.record.names import BLOCKS_FILE, SUMMARY_FILE, TRIALS_FILE, search_folder
from chop.report.html.page import frame_page
from chop.report.html.search_page import running_page, search_page
from chop.tools.folder_lock import in_use
from chop.tools.logger import get_logger

logger = get_logger(__name__)

LOOPBACK = "127.0.0.1"
IDLE_SECONDS = 600.0
"""How long a server waits for a browser when no search is running."""

LEAST_SECONDS = 1.0
"""The least time between two pages, which take some time to make."""


@dataclass
class FollowedSearch:
    """The newest page of the search in a folder, which may be moved aside and begun anew."""

    run: Path
    _lock: Lock = field(default_factory=Lock)
    _made: tuple[str, str] | None = None
    _at: float = 0.0
    _problem: str = ""

    def version(self) -> tuple[str | None, str]:
        """The version of the newest page (None: there is none yet), and a note for people."""
        with self._lock:
            self._refresh()
            return (self._made[0] if self._made else None), self._problem

    def page(self) -> str | None:
        """The newest page; None where there is none yet."""
        with self._lock:
            self._refresh()
            return self._made[1] if self._made else None

    @property
    def has_ended(self) -> bool:
        """Whether the search has reached its end, and no command goes on with it."""
        folder = search_folder(self.run)
        summary = _changed(folder / SUMMARY_FILE)
        log = max(_changed(folder / name) for name in (TRIALS_FILE, BLOCKS_FILE))
        return bool(summary) and (summary >= log or not in_use(folder))

    def _refresh(self) -> None:
        folder = search_folder(self.run)
        stamp = f"{_stamp(folder)}|{self.has_ended}"
        is_new = self._made is None or self._made[0] != stamp
        if not is_new or (self._made is not None and time.monotonic() - self._at < LEAST_SECONDS):
            return
        try:
            files = SearchFolder(folder)
            made = search_page(files) if self.has_ended else running_page(files)
        except (ChopError, OSError) as error:
            self._problem = str(error)
            return
        self._made, self._at, self._problem = (stamp, made), time.monotonic(), ""


def _stamp(folder: Path) -> str:
    """Changes whenever the log grows, or the search ends."""
    return "|".join(f"{name}:{_changed(folder / name)}" for name in (TRIALS_FILE, BLOCKS_FILE, SUMMARY_FILE))


def _changed(file: Path) -> int:
    """When a file was changed, in nanoseconds; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


class LiveServer:
    """A server on the loopback interface, for browsers that know its token.

    It answers no other host name and no other origin, so that no page of a web site can read it.
    """

    def __init__(self, run: Path, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        self.search = FollowedSearch(run)
        self.last_request = time.monotonic()
        self._server = ThreadingHTTPServer((LOOPBACK, port), _handler_of(self))
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port that the system chose, or the one asked for."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://{LOOPBACK}:{self.port}/?token={self.token}"

    def start(self) -> None:
        """Answer requests from now on, in a thread."""
        Thread(target=self._server.serve_forever, daemon=True).start()

    def wait(self) -> None:
        """Return when no command writes to the search's folder and no browser has asked for ten minutes."""
        while self.is_needed():
            time.sleep(1)

    def is_needed(self) -> bool:
        """Whether the search runs, or a browser has asked a short while ago."""
        is_fresh = time.monotonic() - self.last_request < IDLE_SECONDS
        return is_fresh or in_use(search_folder(self.search.run))

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _handler_of(live: LiveServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD requests of browsers that have the token."""

        def version_string(self) -> str:
            return "chop"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if problem := self._refusal():
                self._answer(HTTPStatus.FORBIDDEN, "text/plain", problem)
                return
            live.last_request = time.monotonic()
            answers: dict[str, Callable[[], tuple[str, str | None]]] = {
                "/": lambda: ("text/html", frame_page()),
                "/version": lambda: ("application/json", _version(live.search)),
                "/report": lambda: ("text/html", live.search.page()),
            }
            answer = answers.get(urlsplit(self.path).path)
            kind, text = answer() if answer else ("text/plain", None)
            status = HTTPStatus.NOT_FOUND if text is None else HTTPStatus.OK
            self._answer(status, kind, text or "there is nothing here")

        def _refusal(self) -> str:
            own = f"{LOOPBACK}:{live.port}"
            if self.headers.get("Host") not in (own, f"localhost:{live.port}"):
                return "this server answers to its own address alone"
            origin = self.headers.get("Origin")
            if origin is not None and origin not in (f"http://{own}", f"http://localhost:{live.port}"):
                return "this server answers no other site"
            given = parse_qs(urlsplit(self.path).query).get("token", [""])[0]
            if not secrets.compare_digest(given.encode(), live.token.encode()):
                return "the address lacks the token that `ch` printed"
            return ""

        def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            headers = {
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "SAMEORIGIN",
            }
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            logger.debug(format, *args)

    return Handler


def _version(search: FollowedSearch) -> str:
    version, note = search.version()
    return json.dumps({"version": version, "note": note})
