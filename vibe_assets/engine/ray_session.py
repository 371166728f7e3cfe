"""`[engine]` goes in, a connection to a Ray cluster comes out: one given by address, or one of our own on this machine.

Whoever reaches a Ray cluster without a token runs code on it: a cluster of our own is on loopback, without a dashboard, with a token
made for it; to any other we only connect with a token.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import secrets
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.engine.base import EngineError

if TYPE_CHECKING:
    from vibe_assets.sections import EngineSettings

INSTALL = "pip install 'vibe-assets[ray]'"
OBJECT_STORE_BYTES = 256 * 1024 * 1024  # of a cluster of our own: chunks and their results are small, and are let go when read
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113, section 3.4: preface, empty SETTINGS
SETTINGS_FRAME = 4
ASK_HEAD = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_keys(b"", b"session", float(sys.argv[2]))
"""
IMPORT_S = 60.0  # that Ray may take to be imported
_QUIET = {  # before Ray is imported: it reads them once
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # the stages have their own
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0: Ray is for this machine alone, its servers listen on 127.0.0.1; on Linux, too


def require_ray() -> None:
    """Raise EngineError where the extra is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise EngineError(f'[engine] kind = "ray": Ray is not installed. {INSTALL}, or set kind = "local"')


def connect(settings: EngineSettings) -> Any:
    """The module `ray`, connected. A second call of this process finds the connection there. Raises EngineError."""
    require_ray()
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    _settle_token(settings)
    if settings.address:
        check_reachable(settings)
    else:
        os.environ.setdefault(_LOOPBACK, "0")
    before = set(sys.modules)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own imports, deprecations and left-open files are not ours to mend
        import ray
        import ray.data

        ray.data.DataContext.get_current()
        if not ray.is_initialized():
            if "ray" in before:  # somebody imported it, and it took the environment as it was then
                _read_environment_again(ray, settings)
            try:
                ray.init(**_options(settings), logging_level=logging.ERROR, log_to_driver=False)
            except Exception as error:  # whatever it was, the user needs to know which setting it belongs to
                raise EngineError(_unusable(settings, error)) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _refuse_open(ray, settings)
    _refuse_too_small(ray, settings)
    return ray


def _read_environment_again(ray: Any, settings: EngineSettings) -> None:
    ray._raylet.Config.initialize("")
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = bool(settings.address)


def _no_token(settings: EngineSettings) -> str:
    return (
        f"[engine] address = {settings.address!r}: no token for this cluster; make one (`ray get-auth-token --generate`), start every "
        "node with RAY_AUTH_MODE=token and that token, and give it here as RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    )


def _options(settings: EngineSettings) -> dict[str, Any]:
    if settings.address:
        return {"address": settings.address}
    cores = max(os.cpu_count() or 1, math.ceil(settings.cpus * settings.min_workers))
    return {
        "address": "local", "include_dashboard": False, "num_cpus": cores, "object_store_memory": OBJECT_STORE_BYTES,
    }  # fmt: skip


def _settle_token(settings: EngineSettings) -> None:
    """Token mode, always: with the token that is given, or one made for a cluster of our own."""
    if os.environ.setdefault("RAY_AUTH_MODE", "token").lower() != "token":
        raise EngineError(
            f"RAY_AUTH_MODE={os.environ['RAY_AUTH_MODE']}: whoever reaches a Ray cluster without a token runs code on it; "
            "unset it, or set it to token here and on every node"
        )
    if has_token():
        return
    if settings.address:
        raise EngineError(_no_token(settings))
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def describe(settings: EngineSettings) -> str:
    """What a run would find, for `vibe doctor`: looks whether a head answers, starts nothing. Raises EngineError."""
    from importlib.metadata import version

    require_ray()
    if not settings.address:
        return f"Ray {version('ray')}: every run starts one of its own on 127.0.0.1, up to {settings.max_workers} workers"
    if not has_token():
        raise EngineError(_no_token(settings))
    check_reachable(settings)
    check_token(settings)
    return f"Ray {version('ray')}: the head at {settings.address} answers, up to {settings.max_workers} workers"


def has_token() -> bool:
    """Whether Ray will find a token, in its own order of places."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return file.is_file() and bool(file.read_text(encoding="utf-8").strip())


def check_reachable(settings: EngineSettings) -> None:
    """Raise EngineError unless something that speaks gRPC answers in time; Ray itself would try for minutes, then end the process."""
    host, _, port = settings.address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=settings.connect_timeout_s) as wire:
            if os.environ.get("RAY_USE_TLS", "0") == "1":
                return
            wire.settimeout(settings.connect_timeout_s)
            wire.sendall(HTTP2_HELLO)
            answer = wire.recv(9)
    except OSError as error:
        raise EngineError(_unusable(settings, error)) from error
    if len(answer) < 4 or answer[3] != SETTINGS_FRAME:
        raise EngineError(_unusable(settings, ConnectionError("what listens there is not a Ray head")))


def check_token(settings: EngineSettings) -> None:
    """Raise EngineError unless the head takes the token: a process of its own asks, for Ray keeps the first token it read and may abort."""
    command = [sys.executable, "-c", ASK_HEAD, settings.address, str(settings.connect_timeout_s)]
    environment = {**_QUIET, "RAY_AUTH_MODE": "token", **os.environ}
    try:
        limit_s = settings.connect_timeout_s + IMPORT_S
        asked = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=limit_s)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise EngineError(_unusable(settings, ConnectionError("the head does not answer a question"))) from error
    if asked.returncode == 0:
        return
    said = asked.stderr.strip().splitlines() or ["the question ended without a message"]
    if "AuthenticationError" in said[-1] or "Unauthenticated" in asked.stderr:
        raise EngineError(
            f"[engine] address = {settings.address!r}: the head refuses the token; give the token of its cluster as RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH"
        )
    raise EngineError(_unusable(settings, ConnectionError(said[-1])))


def _unusable(settings: EngineSettings, error: Exception) -> str:
    where = f"[engine] address = {settings.address!r}" if settings.address else '[engine] kind = "ray"'
    said = str(error).strip().splitlines() or [type(error).__name__]
    remedy = (
        f"is the head running, can this machine reach it within {settings.connect_timeout_s:g} s, is this machine a node of the cluster "
        "(`ray start --address ...`), with the cluster's token and the same versions of Python and Ray?"
        if settings.address
        else 'is there memory and room in /tmp and /dev/shm? kind = "local" works without Ray'
    )
    return f"{where}: no Ray cluster: {said[0]}; {remedy}"


def _refuse_open(ray: Any, settings: EngineSettings) -> None:
    """A cluster of our own that listens on more than loopback: somebody else set it so."""
    if not settings.address and not ray.util.get_node_ip_address().startswith("127."):
        ray.shutdown()
        raise EngineError(f"Ray listens beyond this machine; start the program with {_LOOPBACK}=0, or name a cluster with [engine] address")


def _refuse_too_small(ray: Any, settings: EngineSettings) -> None:
    """A pool that no node can hold would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= settings.cpus and node.get("GPU", 0) >= settings.gpus for node in nodes):
        best = max(((node.get("CPU", 0), node.get("GPU", 0)) for node in nodes), default=(0, 0))
        raise EngineError(
            f"[engine] cpus = {settings.cpus:g}, gpus = {settings.gpus:g} for each worker: no node of the cluster has that many, the "
            f"largest has {best[0]:g} and {best[1]:g}; lower them, or start a larger node"
        )
