"""A Postgres server of Debian's package for tests: a data folder of its own, loopback, a password, gone at the end of the block."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.processes import running, until

PACKAGED = Path("/usr/lib/postgresql")
USER, PASSWORD, DATABASE = "vibe", "only for the length of a test: ü/@%", "dagster"


def program(name: str) -> str | None:
    """Path of a server program: on the PATH, else the newest of Debian's, which are not on it."""
    versions = sorted(PACKAGED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return shutil.which(name) or (str(versions[-1]) if versions else None)


def why_no_postgres() -> str | None:
    """Why no server can be started here; None when one can."""
    absent = [name for name in ("initdb", "postgres") if program(name) is None]
    if absent:
        return f"no {absent[0]} here: apt-get install postgresql"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "initdb refuses root, and setpriv, which could make it another user, is not here"
    return None


@dataclass(frozen=True)
class Server:
    """A running server, with an empty database."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What dagster.postgres.yaml asks the environment for."""
        return {
            "DAGSTER_PG_HOST": "127.0.0.1", "DAGSTER_PG_PORT": str(self.port), "DAGSTER_PG_DB": DATABASE,
            "DAGSTER_PG_USERNAME": USER, "DAGSTER_PG_PASSWORD": PASSWORD,
        }  # fmt: skip

    def ask(self, query: str, *values: object, database: str = DATABASE) -> list[tuple[object, ...]]:
        """Rows of a query, asked past Dagster."""
        import psycopg2

        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(query, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres() -> Iterator[Server]:
    """A server on a free port, as another user where we are root."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not below pytest's folders, which no other user may enter
    try:
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        aside = _as_nobody(folder) if os.getuid() == 0 else []
        data, port = folder / "data", free_port()
        made = [
            *aside, str(program("initdb")), "-D", str(data), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(folder / "password"),
            "-E", "UTF8", "--locale=C", "--no-sync",
        ]  # fmt: skip
        subprocess.run(made, check=True, capture_output=True, cwd=folder, timeout=120)
        command = [
            *aside, str(program("postgres")), "-D", str(data), "-p", str(port), "-k", str(folder),
            "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
        ]  # fmt: skip
        server = Server(port)
        with running(command, folder / "log", cwd=folder) as process:
            until(lambda: _answers(server), seconds=60, what="Postgres to answer", process=process)
            server.ask(f"CREATE DATABASE {DATABASE}", database="postgres")
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_nobody(folder: Path) -> Sequence[str]:
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.iterdir()):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


def _answers(server: Server) -> bool:
    import psycopg2

    try:
        return server.ask("SELECT 1", database="postgres") == [(1,)]
    except psycopg2.OperationalError:
        return False
