"""A teacher whose bodies never end, drip or are no HTTP costs one photo, bounded in time by `timeout_s` and in memory by a cap."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.teacher.conftest import QUICK, make_library
from vibe_assets.settings import TeacherSettings
from vibe_assets.teacher import client
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.client import MAX_BODY_BYTES, MAX_ERROR_BYTES, probe
from vibe_assets.teacher.journal import Journal

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = OK.replace(b"200 OK", b"500 Broken")
TIMEOUT_S, TRIES = 0.5, 2
IN_PIPES = 16 << 20  # socket buffers of both sides and what the HTTP library reads at once; far below what is offered
OFFERED = 256 << 20


@dataclass
class Rude:
    """A server that answers every request by one function of its socket; counts what it could send."""

    answer: Callable[[socket.socket, Rude], None]
    url: str = ""
    sent: int = 0
    connections: int = 0
    open: list[socket.socket] = field(default_factory=list)

    def send(self, peer: socket.socket, data: bytes) -> None:
        peer.sendall(data)
        self.sent += len(data)


@contextmanager
def rude_server(answer: Callable[[socket.socket, Rude], None]) -> Iterator[Rude]:
    rude = Rude(answer)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        rude.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

        def serve(peer: socket.socket) -> None:
            with suppress(OSError), peer:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += peer.recv(65536)
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                body = len(head.partition(b"\r\n\r\n")[2])
                while body < length:
                    body += len(peer.recv(65536))
                answer(peer, rude)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listening.accept()
                    rude.connections += 1
                    rude.open.append(peer)
                    threading.Thread(target=serve, args=(peer,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield rude
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for peer in rude.open:
                peer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def never_ending(start: bytes) -> Callable[[socket.socket, Rude], None]:
    def answer(peer: socket.socket, rude: Rude) -> None:
        peer.sendall(start)
        while rude.sent < OFFERED:
            rude.send(peer, chunk(b"x" * 65536))

    return answer


def dripping(start: bytes, drop: bytes) -> Callable[[socket.socket, Rude], None]:
    """A byte now and then, so that no single read ever waits long."""

    def answer(peer: socket.socket, rude: Rude) -> None:
        peer.sendall(start)
        while True:
            time.sleep(TIMEOUT_S / 10)
            rude.send(peer, drop)

    return answer


def sending(data: bytes, *, reset: bool = False) -> Callable[[socket.socket, Rude], None]:
    def answer(peer: socket.socket, rude: Rude) -> None:
        rude.send(peer, data)
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    return answer


def asked(url: str, tmp_path: Path) -> tuple[dict[str, object], float]:
    """The one photo's record, and how long it took."""
    settings = TeacherSettings(base_url=url, model="m", timeout_s=TIMEOUT_S, retries=TRIES - 1, concurrency=1)
    client.http_library()  # importing the SDK takes longer than a time-out here
    began = time.monotonic()
    (record,) = annotate(
        make_library(tmp_path / "photos", 1), settings=settings, journal=Journal(tmp_path / "j", "w"), progress=False, pace=QUICK
    )
    return record, time.monotonic() - began


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (dripping(OK, chunk(b" ")), "timeout"),
        (dripping(BROKEN, chunk(b" ")), "timeout"),
        (dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"), "timeout"),
        (dripping(b"", b""), "timeout"),
    ],
    ids=["body", "error", "headers", "silence"],
)
def test_a_drip_is_bounded_by_the_timeout_as_a_whole(answer: Callable[[socket.socket, Rude], None], reason: str, tmp_path: Path) -> None:
    with rude_server(answer) as rude:
        record, took = asked(rude.url, tmp_path)
    assert (record["reason"], record["annotation"]) == (reason, None)
    assert TIMEOUT_S <= took < TRIES * TIMEOUT_S + 5
    assert rude.connections == TRIES


@pytest.mark.parametrize(("start", "reason", "most"), [(OK, "invalid_answer", MAX_BODY_BYTES), (BROKEN, "server_error", MAX_ERROR_BYTES)])
def test_a_body_without_an_end_is_cut_off_and_not_held(
    start: bytes, reason: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.faults.test_teacher.TIMEOUT_S", 30.0)  # the cap has to end it, not the clock
    with rude_server(never_ending(start)) as rude:
        record, took = asked(rude.url, tmp_path)
    assert (record["reason"], record["annotation"]) == (reason, None)
    assert rude.sent <= TRIES * (most + IN_PIPES)
    assert took < 20


@pytest.mark.parametrize(
    ("data", "reset"),
    [
        (b"\x00\xff garbage\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\xff\xff\xff\xff", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe{]", False),
        (b"", True),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20), False),
    ],
    ids=["no-http", "short", "reset", "chunks", "gzip", "no-json", "reset-at-once", "headers"],
)
def test_garbage_is_a_reason_and_the_run_goes_on(data: bytes, reset: bool, tmp_path: Path) -> None:
    with rude_server(sending(data, reset=reset)) as rude:
        settings = TeacherSettings(base_url=rude.url, model="m", timeout_s=5, retries=0, concurrency=1)
        photos = make_library(tmp_path / "photos", 2)
        records = annotate(photos, settings=settings, journal=Journal(tmp_path / "j", "w"), progress=False, pace=QUICK)
    assert [record["reason"] in ("unreachable", "invalid_answer") for record in records] == [True, True], records
    assert rude.connections >= 2


def test_the_doctor_does_not_hang_on_a_drip() -> None:
    with rude_server(dripping(OK, chunk(b" "))) as rude:
        began = time.monotonic()
        seen = probe(TeacherSettings(base_url=rude.url, model="m", timeout_s=TIMEOUT_S), pace=QUICK)
    assert not seen.ok
    assert "timeout" in seen.detail
    assert time.monotonic() - began < 2 * TIMEOUT_S + 5


def test_the_caps_are_what_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert f"{client.MAX_BODY_BYTES >> 20} MiB" in page
    assert f"{client.MAX_ERROR_BYTES >> 10} KiB" in page
