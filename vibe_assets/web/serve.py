"""A host and a port become a server that this machine alone reaches: the names a browser may call it by, and a port that is free."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

from vibe_assets.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - every address of the machine: no name that a browser could send


class ServeError(UserError, RuntimeError):
    """A page cannot be served; the message says why and what to do."""


def served_hosts(host: str, port: int) -> set[str]:
    """Values of the Host header that a browser sends for this server."""
    names = {host, "127.0.0.1", "localhost"} if host in LOOPBACK else {host}
    return {f"{in_address(name)}:{port}" for name in names}


def answered_hosts(host: str, port: int, served_as: Iterable[str] = ()) -> set[str]:
    """Values of the Host header to answer where people come through a proxy or a forwarded port by the names `served_as` (HOST[:PORT]).

    Raises ServeError for a name that is none, and for every address of a machine without a name that people reach it by.
    """
    names = {name.lower() for name in served_as}
    for name in names:
        if not re.fullmatch(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", name):
            raise ServeError(f"--served-as {name}: give HOST or HOST:PORT as it stands in the browser's address, without http:// and path")
    if host not in ANY_ADDRESS:
        return served_hosts(host, port) | names
    if not names:
        raise ServeError(
            f"--host {host} needs --served-as HOST[:PORT]: the name that people type, that of the authenticating proxy in front of it"
        )
    return served_hosts("127.0.0.1", port) | names  # a container's own health check asks by loopback


def served_addresses(host: str, port: int, served_as: Iterable[str] = (), *, token: str | None = None) -> list[str]:
    """What people type, this machine's own address first; with the token that lets them in."""
    own = f"http://{in_address('127.0.0.1' if host in ANY_ADDRESS else host)}:{port}/"
    schemes = {name: "http" if re.search(r":(?!443$)\d+$", name) else "https" for name in served_as}
    return [f"{address}{f'?token={token}' if token else ''}" for address in (own, *(f"{schemes[name]}://{name}/" for name in served_as))]


def in_address(host: str) -> str:
    """The host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def ensure_free(host: str, port: int) -> int:
    """The port, or one that is free where it is 0. Raises ServeError when another server listens there, or the host is no address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "no host can have this name"
            raise ServeError(f"{host}:{port}: {said}. Another server may be running there; choose another with --port") from error
        return int(probe.getsockname()[1])
