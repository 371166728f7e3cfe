"""What is refused before any Ray process exists: no Ray, no token, no head, a head that is something else. Needs no Ray."""

from __future__ import annotations

import importlib.util
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from vibe_assets.engine import EngineError, Work, open_engine
from vibe_assets.engine.ray_session import HTTP2_HELLO, check_reachable, connect, has_token
from vibe_assets.operate.setup import Finding, examine
from vibe_assets.sections import EngineSettings
from vibe_assets.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USE_TLS"):
        monkeypatch.setenv(name, "")  # so that what is set by the code under test is taken back, too
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def remote(address: str, **more: object) -> EngineSettings:
    return EngineSettings.model_validate({"kind": "ray", "address": address, "connect_timeout_s": 0.5, **more})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_without_ray_the_message_names_setting_and_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=re.escape("""[engine] kind = "ray": Ray is not installed. pip install 'vibe-assets[ray]'""")):
        list(open_engine(EngineSettings(kind="ray")).arrivals(Work(lambda: lambda items, tries: items, [1])))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("address", ["10.1.2.3:6379", "127.0.0.1:6379"])
def test_a_cluster_is_not_joined_without_a_token(address: str) -> None:
    with pytest.raises(EngineError, match=r"no token for this cluster.*ray get-auth-token --generate"):
        connect(remote(address))


@pytest.mark.usefixtures("installed")
def test_a_switched_off_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(EngineError, match="RAY_AUTH_MODE=disabled: whoever reaches a Ray cluster without a token runs code on it"):
        connect(EngineSettings(kind="ray"))


@pytest.mark.usefixtures("installed")
def test_a_head_that_is_not_there_is_told_with_the_address(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    address = address_of(listener)
    listener.close()
    with pytest.raises(
        EngineError, match=re.escape(f"[engine] address = '{address}': no Ray cluster: ") + ".*refused.*is the head running"
    ):
        connect(remote(address))


def test_a_head_that_does_not_answer_is_given_up_in_time(listener: socket.socket) -> None:
    started = time.monotonic()
    with pytest.raises(EngineError, match="timed out"):
        check_reachable(remote(address_of(listener)))
    assert time.monotonic() - started < 5


def test_something_else_that_listens_there_is_no_head(listener: socket.socket) -> None:
    def answer() -> None:
        wire, _ = listener.accept()
        with wire:
            wire.recv(64)
            wire.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = threading.Thread(target=answer)
    server.start()
    with pytest.raises(EngineError, match="what listens there is not a Ray head"):
        check_reachable(remote(address_of(listener)))
    server.join()


def test_a_head_that_speaks_http2_passes(listener: socket.socket) -> None:
    heard = []

    def answer() -> None:
        wire, _ = listener.accept()
        with wire:
            heard.append(wire.recv(64))
            wire.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))

    server = threading.Thread(target=answer)
    server.start()
    check_reachable(remote(address_of(listener)))
    server.join()
    assert heard == [HTTP2_HELLO]


def test_a_token_is_found_where_ray_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_token()
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("\n")
    assert not has_token(), "an empty file is no token"
    file.write_text("abc")
    assert has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
    assert not has_token(), "a path that is named counts before the home folder"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    assert has_token()


def test_a_pool_of_fixed_size_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_workers must be above min_workers, got 2 and 2"):
        EngineSettings(min_workers=2, max_workers=2)


@pytest.mark.parametrize("address", ["ray://10.1.2.3:10001", "auto", "10.1.2.3", "10.1.2.3:port", "a b:1"])
def test_an_address_is_host_and_port(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "vibe.toml"
    config.write_text(f'[engine]\nkind = "ray"\naddress = "{address}"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    with pytest.raises(SettingsError, match=r"vibe.toml: \[engine\] address: "):
        load_settings()


def test_the_environment_chooses_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "vibe.toml"
    config.write_text("")
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    monkeypatch.setenv("VIBE_ENGINE__KIND", "ray")
    assert load_settings().engine.kind == "ray"


# -- what the doctor says ----------------------------------------------------------------------------------------------
def finding(engine: EngineSettings, tmp_path: Path) -> Finding:
    settings = Settings.model_validate({"library": {"root": tmp_path, "home": tmp_path / "data"}, "engine": engine})
    return next(found for found in examine(settings) if found.what == "engine")


def test_the_doctor_finds_the_local_engine_well(tmp_path: Path) -> None:
    assert finding(EngineSettings(), tmp_path) == Finding("engine", True, "local: the stages run in their own process")


def test_the_doctor_says_what_ray_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = finding(remote("127.0.0.1:1"), tmp_path)
    if importlib.util.find_spec("ray") is not None:
        assert not found.ok
        assert "no token" in found.detail
        assert "ray get-auth-token --generate" in found.remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = finding(remote("127.0.0.1:1"), tmp_path)
    assert not found.ok
    assert "pip install 'vibe-assets[ray]'" in found.detail + found.remedy
