"""An S3 server on loopback for tests, its buckets, and what it was asked."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

from vibe_assets.photos.workers import stop_idle_workers
from vibe_assets.storage import Url
from vibe_assets.storage.objects import filesystem

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
PAGE = 25  # objects that one answer lists: tests meet the second page
OTHERS = ("AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION")


@dataclass
class ObjectStore:
    endpoint: str
    log: Path

    def bucket(self) -> Url:
        """A new bucket of its own."""
        url = Url("s3", f"bucket-{secrets.token_hex(6)}")
        filesystem("s3").call_s3("create_bucket", Bucket=url.bucket)
        return url

    def put(self, folder: Url, name: str, data: bytes) -> None:
        """As it is: no client library in between that tidies a key."""
        filesystem("s3").call_s3("put_object", Bucket=folder.bucket, Key=(folder / name).key, Body=data)

    def delete(self, folder: Url, name: str) -> None:
        filesystem("s3").call_s3("delete_object", Bucket=folder.bucket, Key=(folder / name).key)

    def names(self, folder: Url) -> list[str]:
        found = filesystem("s3").find(f"{folder.bucket}/{folder.key}".rstrip("/"))
        return sorted(name.removeprefix(f"{folder.bucket}/") for name in found)

    def upload(self, root: Path, folder: Url) -> None:
        """Every file below `root`, links and hidden ones left out."""
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                self.put(folder, path.relative_to(root).as_posix(), path.read_bytes())

    @contextmanager
    def asked(self) -> Iterator[list[str]]:
        """Requests that arrive while the block runs, as 'METHOD path range'; filled when it ends."""
        before, requests = len(self.log.read_text().splitlines()), list[str]()
        yield requests
        requests += self.log.read_text().splitlines()[before:]

    @contextmanager
    def closed_to_everybody(self) -> Iterator[None]:
        """No key is good any more."""
        self._free_requests(0)
        try:
            yield
        finally:
            self._free_requests(10**9)

    def _free_requests(self, count: int) -> None:
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth", str(count).encode(), {"Content-Type": "application/octet-stream"}, method="POST"
        )
        urllib.request.urlopen(request, timeout=10).read()


@contextmanager
def running_store(log: Path) -> Iterator[ObjectStore]:
    """The server, and the environment that points to it."""
    before = dict(os.environ)
    command = [sys.executable, "-m", "tests.support.s3_server", str(log)]
    environment = {**before, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=environment
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for name in OTHERS:
            os.environ.pop(name, None)
        os.environ |= {**KEYS, "AWS_ENDPOINT_URL": endpoint}
        _end_workers()
        try:
            yield ObjectStore(endpoint, log)
        finally:
            server.stdin.close()
            server.wait(timeout=20)
            os.environ.clear()
            os.environ |= before
            _end_workers()


def _end_workers() -> None:
    """Decoding workers, and the process that forks them, keep the environment that they were started in."""
    stop_idle_workers()
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
