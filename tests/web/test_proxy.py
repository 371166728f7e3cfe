"""deploy/proxy/nginx.conf before a guarded application: TLS and a password, then the guard, with Host and Origin as they were sent."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vibe_assets.operate.ui import guarded_app
from vibe_assets.web.serve import answered_hosts as ui_hosts

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "proxy" / "nginx.conf"
NGINX, OPENSSL = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"), shutil.which("openssl")
WORD = "correct horse"

pytestmark = pytest.mark.skipif(not (NGINX and OPENSSL), reason="nginx or openssl is not here: apt-get install nginx-light openssl")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def guarded(port: int, name: str, folder: Path) -> Iterator[None]:
    """What `vibe ui --host 0.0.0.0 --served-as NAME` serves, before an application that tells what reached it."""

    async def told(request: Asked) -> Response:
        return JSONResponse(
            {"host": request.headers["host"], "authorization": request.headers.get("authorization"), "path": request.url.path}
        )

    app = guarded_app(Starlette(routes=[Route("/{path:path}", told, methods=["GET", "POST"])]), folder, ui_hosts("0.0.0.0", port, [name]))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx with the configuration that we ship; ports, names and the places of secrets are those of a test."""
    folder = tmp_path_factory.mktemp("proxy")
    port, inner = free_port(), free_port()
    secrets = {"people": folder / "people", "certificate": folder / "certificate", "certificate_key": folder / "key"}
    made = [str(OPENSSL), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*made, "-keyout", secrets["certificate_key"], "-out", secrets["certificate"]], check=True, capture_output=True)
    hashed = subprocess.run([str(OPENSSL), "passwd", "-apr1", WORD], check=True, capture_output=True, text=True).stdout.strip()
    secrets["people"].write_text(f"ann:{hashed}\n", encoding="utf-8")
    text = (
        CONFIG.read_text(encoding="utf-8")
        .replace("/tmp/", f"{folder}/")
        .replace("ui:3000", f"127.0.0.1:{inner}")
        .replace("listen 8443", f"listen 127.0.0.1:{port}")
    )
    for name in sorted(secrets, key=len, reverse=True):
        text = text.replace(f"/run/secrets/{name};", f"{secrets[name]};")
    assert "/run/secrets" not in text
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    with guarded(inner, f"localhost:{port}", folder):
        process = subprocess.Popen(
            [
                str(NGINX),
                "-p",
                str(folder),
                "-c",
                str(folder / "nginx.conf"),
                "-g",
                "daemon off;" + ("user root;" if os.getuid() == 0 else ""),
            ]
        )
        try:
            deadline = time.monotonic() + 30
            while asked(f"https://localhost:{port}/healthy")[0] != 204:
                assert process.poll() is None, "nginx ended"
                assert time.monotonic() < deadline, "nginx does not answer"
                time.sleep(0.1)
            yield f"https://localhost:{port}"
        finally:
            process.terminate()
            process.wait(20)


def asked(address: str, body: bytes | None = None, *, word: str | None = None, **headers: str) -> tuple[int, str]:
    """Status and text; (0, reason) where nobody answers. The certificate is the test's own."""
    trusting = ssl._create_unverified_context()
    if word is not None:
        headers["authorization"] = "Basic " + base64.b64encode(f"ann:{word}".encode()).decode()
    request = Request(address, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urlopen(request, timeout=20, context=trusting) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def test_nobody_gets_past_the_proxy_without_the_password(address: str) -> None:
    for word in (None, "", "wrong"):
        for path in ("/", "/graphql", "/reports/", "/server_info"):
            assert asked(f"{address}{path}", word=word)[0] == 401, (word, path)
    assert asked(f"{address}/graphql", b"{}", content_type="application/json")[0] == 401


def test_with_the_password_the_pages_own_requests_pass_and_the_password_stays_at_the_door(address: str) -> None:
    status, text = asked(
        f"{address}/graphql", b"{}", word=WORD, origin=address, sec_fetch_site="same-origin", content_type="application/json"
    )
    assert status == 200
    assert f'"host":"{address.removeprefix("https://")}"' in text
    assert '"authorization":null' in text


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/graphql", {"origin": "https://evil.example"}), ("/graphql", {"sec_fetch_site": "cross-site"}), ("/graphql?query={version}", {}),
     ("/", {"host": "evil.example"})],
)  # fmt: skip
def test_a_page_of_another_site_is_refused_though_the_browser_knows_the_password(address: str, path: str, headers: dict[str, str]) -> None:
    status, text = asked(f"{address}{path}", word=WORD, **headers)
    assert (status, text.startswith("refused: ")) == (403, True)
