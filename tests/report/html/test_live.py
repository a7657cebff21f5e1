"""The live page follows the records alone, and answers only browsers that know its token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from shutil import copy, copytree, move
from urllib.parse import SplitResult, urlsplit

import pytest

from chop.config.examples import example
from chop.record.folder import SearchFolder
from chop.report.html.live import IDLE_SECONDS, LiveServer
from chop.report.html.live_address import announced, served_at
from chop.tools.folder_lock import only_writer
from tests.report.html.searches import small_search


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a search of which five trials are logged so far."""
    folder = tmp_path / "search"
    folder.mkdir()
    lines = (small_search().path / "trials.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join(lines[:6]), encoding="utf-8")
    return folder


@pytest.fixture
def server(run: Path) -> Iterator[LiveServer]:
    found = LiveServer(run)
    found.start()
    yield found
    found.close()


def ask(server: LiveServer, path: str, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def version(server: LiveServer) -> str | None:
    server.search._at = -1e9  # pages may be made one after the other
    found: str | None = json.loads(ask(server, f"/version?token={server.token}")[1])["version"]
    return found


def test_only_the_token_opens_it(server: LiveServer) -> None:
    alike = server.token[:-1] + ("y" if server.token.endswith("x") else "x")
    for path in ("/", "/version", "/report"):
        assert ask(server, path)[0] == 403
        assert ask(server, f"{path}?token={alike}")[0] == 403
        assert ask(server, f"{path}?token={server.token}")[0] == 200


def test_head_is_answered_without_a_body_and_no_version_is_told(server: LiveServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    for path, status in (("/", 403), (f"/?token={server.token}", 200)):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.headers["Server"]) == (status, b"", "chop")
        assert int(answer.headers["Content-Length"]) > 0


def test_second_server_of_a_folder_gives_way_to_the_first(run: Path, server: LiveServer) -> None:
    command = [sys.executable, "-m", "chop", "report", str(run), "--live"]
    with announced(run, server.address):
        told = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True).stderr
        assert told == f"live: {server.address}\n"
    assert not served_at(run)


def test_other_hosts_and_origins_are_refused(server: LiveServer) -> None:
    path = f"/report?token={server.token}"
    assert ask(server, path, Host="evil.example")[0] == 403
    assert ask(server, path, Origin="https://evil.example")[0] == 403
    assert ask(server, path, Origin=f"http://127.0.0.1:{server.port}")[0] == 200
    assert ask(server, f"/../etc/passwd?token={server.token}")[0] == 404


def test_page_grows_with_the_log_and_changes_at_the_end(server: LiveServer, run: Path) -> None:
    first = version(server)
    page = ask(server, f"/report?token={server.token}")[1]
    assert '"number":[0,1,2,3,4]' in page
    assert '"running":true' in page
    whole = small_search().path
    (run / "trials.jsonl").write_bytes((whole / "trials.jsonl").read_bytes())
    second = version(server)
    assert second != first
    for file in ("summary.json", "best.json", "log.json", "resolved.toml"):
        if (whole / file).exists():
            (run / file).write_bytes((whole / file).read_bytes())
    assert version(server) not in (first, second)
    assert '"running":false' in ask(server, f"/report?token={server.token}")[1]


def test_search_that_is_resumed_after_its_end_is_running_again(server: LiveServer, run: Path) -> None:
    for file in small_search().path.iterdir():
        if file.is_file():
            copy(file, run)
    first = version(server)
    assert '"running":false' in (server.search.page() or "")
    with only_writer(run):
        os.utime(run / "trials.jsonl")
        os.utime(run / "summary.json", ns=(0, 1))
        second = version(server)
        assert '"running":true' in (server.search.page() or "")
    assert len({first, second, version(server)}) == 3
    assert '"running":false' in (server.search.page() or "")


def test_search_that_is_begun_anew_is_followed(server: LiveServer, run: Path, tmp_path: Path) -> None:
    first = version(server)
    move(run, tmp_path / "search-1")
    assert version(server) == first  # the last page stays in sight
    copytree(small_search().path, run)
    assert version(server) != first


def test_server_is_needed_while_a_search_writes_or_a_browser_looks(run: Path, server: LiveServer) -> None:
    assert server.is_needed()
    server.last_request -= 2 * IDLE_SECONDS
    assert not server.is_needed()
    with only_writer(run):
        assert server.is_needed()
    assert not server.is_needed()
    ask(server, f"/version?token={server.token}")
    assert server.is_needed()


def test_pipe_behind_a_search_ends_with_the_search(tmp_path: Path) -> None:
    code = "from pathlib import Path; from chop.cli.report import serve_beside; "
    code += f"print(serve_beside(Path({str(tmp_path)!r})).pid)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True, timeout=60
    )
    address = urlsplit(done.stderr.strip().removeprefix("live: "))
    try:
        connection = HTTPConnection("127.0.0.1", address.port, timeout=20)
        connection.request("GET", f"/version?{address.query}")
        assert connection.getresponse().status == 200
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def answer(address: SplitResult, path: str) -> str:
    """What the server says now; empty where it has no page yet."""
    connection = HTTPConnection("127.0.0.1", address.port, timeout=60)
    connection.request("GET", f"{path}?{address.query}")
    found = connection.getresponse()
    return found.read().decode() if found.status == 200 else ""


def waits_for(text: str, address: SplitResult) -> bool:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer(address, "/version")
        if text in answer(address, "/report"):
            return True
        time.sleep(0.5)
    return False


def server_of(folder: Path) -> int:
    """The process that serves the page of a folder."""
    (found,) = [int(own.name) for own in Path("/proc").iterdir() if str(folder).encode() in command_line(own)]
    return found


def command_line(process: Path) -> bytes:
    """Empty for a process that has ended since, and for what is no process."""
    try:
        return (process / "cmdline").read_bytes() if process.name.isdigit() else b""
    except OSError:
        return b""


@pytest.mark.slow
def test_ctrl_c_leaves_the_page_which_follows_the_search_when_it_is_resumed(tmp_path: Path) -> None:
    path = str(example("jsc_s_brute_force").path)
    words = ["search", "--config", path, "--pretrained", "--project", "own", "--set", "strategy.setup.n_jobs=1"]

    def start(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "chop", *words, *more]
        return subprocess.Popen(
            command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, encoding="utf-8"
        )

    search = start("--live")
    assert search.stderr is not None
    told = next(line for line in search.stderr if line.startswith("live: "))
    address = urlsplit(told.strip().removeprefix("live: "))
    try:
        assert waits_for('"running":true', address)
        search.send_signal(signal.SIGINT)
        assert search.wait() == 130
        measured = SearchFolder(tmp_path / "mase_output/own/software/search_ckpts").summary.counts.measured
        assert waits_for('"running":false', address)
        search = start("--resume")
        assert waits_for('"running":true', address)
        search.send_signal(signal.SIGINT)
        assert search.wait() == 130
        assert SearchFolder(tmp_path / "mase_output/own/software/search_ckpts").summary.counts.measured >= measured
    finally:
        search.kill()
        os.kill(server_of(tmp_path), signal.SIGKILL)


def test_before_the_first_trial_a_note_says_so(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "nothing")
    server.start()
    try:
        status, text = ask(server, f"/version?token={server.token}")
        found = json.loads(text)
        assert status == 200
        assert found["version"] is None
        assert found["note"]
        assert ask(server, f"/report?token={server.token}")[0] == 404
    finally:
        server.close()
