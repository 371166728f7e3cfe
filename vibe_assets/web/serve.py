"""A host and a port become a server that this machine alone reaches: the names a browser may call it by, and whether the port is free."""

from __future__ import annotations

import socket

from vibe_assets.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - every address of the machine: no name that a browser could send


class ServeError(UserError, RuntimeError):
    """A page cannot be served; the message says why and what to do."""


def served_hosts(host: str, port: int) -> set[str]:
    """Values of the Host header that a browser sends for this server."""
    names = {host, "127.0.0.1", "localhost"} if host in LOOPBACK else {host}
    return {f"{in_address(name)}:{port}" for name in names}


def in_address(host: str) -> str:
    """The host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def ensure_free(host: str, port: int) -> None:
    """Raises ServeError when another server listens there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(f"{host}:{port}: {error.strerror}. Another server may be running there; choose another with --port") from error
