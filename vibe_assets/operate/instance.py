"""The Dagster instance of a library: where it lies, that it belongs to this library and no other, and who works on it now."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.errors import UserError
from vibe_assets.lake import write_text
from vibe_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from sqlalchemy.exc import DBAPIError

HOME_ENV = "DAGSTER_HOME"
IDENTITY = "library.json"  # below library.home: which library this is, whatever it is called and wherever it lies
BELONGS = "vibe/library"  # in the instance: whose it is
ALIVE_S = 60.0  # a daemon writes its heartbeat every 30 s


class InstanceError(UserError, RuntimeError):
    """The Dagster instance belongs to another library, or somebody works on it already; the message says which and what to do."""


def dagster_home(settings: Settings) -> Path:
    """Folder of the library's Dagster instance: $DAGSTER_HOME, else `dagster` below library.home."""
    named = os.environ.get(HOME_ENV)
    return Path(named).expanduser().resolve() if named else settings.home / "dagster"


@contextmanager
def _prepared_home(settings: Settings) -> Iterator[Path]:
    """The folder of the instance, made with our dagster.yaml when absent; and meanwhile named in $DAGSTER_HOME."""
    home, before = dagster_home(settings), os.environ.get(HOME_ENV)
    home.mkdir(parents=True, exist_ok=True)
    packaged = Path(__file__).with_name("dagster.yaml")  # a link to dagster_home/ in a checkout, a file in a wheel
    if not (home / "dagster.yaml").exists():
        shutil.copy(packaged, home / "dagster.yaml")
    os.environ[HOME_ENV] = str(home)
    try:
        yield home
    finally:
        if before is None:
            os.environ.pop(HOME_ENV, None)
        else:
            os.environ[HOME_ENV] = before


@contextmanager
def open_instance(settings: Settings, *, only_look: bool = False) -> Iterator[DagsterInstance]:
    """The library's own instance. Raises InstanceError when it is another library's, or its database cannot be used, also while it is open.

    With `only_look` a new instance is not claimed, and one that was moved with its library keeps what it knew.
    """
    from dagster import DagsterInstance
    from sqlalchemy.exc import DBAPIError

    with _prepared_home(settings) as home:
        try:
            with DagsterInstance.get() as instance:
                claim(settings, instance, only_look=only_look)
                yield instance
        except DBAPIError as error:
            raise _unusable(home, error) from error


def _unusable(home: Path, error: DBAPIError) -> InstanceError:
    """What the database said, in one line, and what to do: SQLite calls a full disk an I/O error."""
    from sqlalchemy.exc import OperationalError

    said = " ".join(str(error.orig).split())
    if not isinstance(error.orig, sqlite3.Error):
        remedy = "start it, or correct its address in dagster.yaml"
    elif isinstance(error, OperationalError):
        remedy = f"free some space ({shutil.disk_usage(home).free >> 20} MiB are free) or repair access, then run again"
    else:
        remedy = "restore the folder from a copy, or move it away: everything is then looked at once more, and nothing is paid for twice"
    return InstanceError(f"{home}: the database of Dagster's history cannot be used: {said}", remedy=remedy)


def has_instance(settings: Settings) -> bool:
    """Whether the library has an instance: looking must not make one."""
    return (dagster_home(settings) / "dagster.yaml").is_file()


# -- whose it is -------------------------------------------------------------------------------------------------------
def library_id(settings: Settings) -> str:
    """What tells this library from every other, kept below library.home; made when absent."""
    file = settings.home / IDENTITY
    if (known := _identity(file)) is None:
        made = write_text(settings.home / f".{IDENTITY}.{os.getpid()}", json.dumps({"library": uuid.uuid4().hex}) + "\n")
        with suppress(FileExistsError):  # another process was first
            os.link(made, file)
        made.unlink()
        known = _identity(file)
    return str(known)


def _identity(file: Path) -> str | None:
    """None where there is no library. Raises InstanceError for a file that is not what was written."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["library"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise InstanceError(f"{file} is damaged ({error}): restore it, or remove it and run `vibe adopt`") from error


def claim(settings: Settings, instance: DagsterInstance, *, by_force: bool = False, only_look: bool = False) -> None:
    """Make a new instance this library's; raise InstanceError where it is another's, or that of a library this one is a copy of.

    A library that was moved keeps its instance. With `by_force` it changes hands. Where the home is read-only, as for the pages in a
    container of their own, nothing is claimed; nor with `only_look`, which writes nothing.
    """
    try:
        identity = (_identity(settings.home / IDENTITY) or "") if only_look else library_id(settings)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return
    mine = {"library": identity, "home": str(settings.home), "instance": _place(instance)}
    text = instance.daemon_cursor_storage.get_cursor_values({BELONGS}).get(BELONGS)
    known = json.loads(text) if text else mine
    if not by_force:
        where = f"the Dagster instance in {_place(instance)}"
        if known["library"] != mine["library"]:
            gone = _identity(Path(known["home"]) / IDENTITY) != known["library"]
            state = f"which is no longer there (deleted, or replaced by {settings.home})" if gone else f"not to that in {settings.home}"
            raise InstanceError(
                f"{where} belongs to the library in {known['home']}, {state}: its history is not about these photos. {REMEDY}"
            )
        if known["home"] != mine["home"] and known["instance"] == mine["instance"] and _is_there(known, settings):
            raise InstanceError(f"{where} belongs to the library in {known['home']}, of which {settings.home} is a copy. {REMEDY}")
    if (text is None or known != mine) and not only_look:
        instance.daemon_cursor_storage.set_cursor_values({BELONGS: json.dumps(mine)})


REMEDY = (
    f"Unset {HOME_ENV} (every library then has an instance of its own, below library.home), or run `vibe adopt`: the instance forgets "
    "the other library and serves this one"
)


def _is_there(known: dict[str, str], settings: Settings) -> bool:
    """Whether the library still lies where the instance knew it, and that is not this folder under another name."""
    other = Path(known["home"])
    return _identity(other / IDENTITY) == known["library"] and not (settings.home.exists() and other.samefile(settings.home))


def _place(instance: DagsterInstance) -> str:
    return os.environ.get(HOME_ENV) or instance.root_directory


def adopt(settings: Settings, instance: DagsterInstance) -> int:
    """Make the instance forget every asset and folder of the library it belonged to, and give it to this one; how many assets it forgot.

    Photos, lake, journal and everything else below either library's home stay as they are.
    """
    from dagster import DagsterRunStatus, RunsFilter

    waiting = [DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]
    if runs := instance.get_runs_count(RunsFilter(statuses=waiting)):
        raise InstanceError(f"{runs} runs of the other library are not over: end the daemon that works on it, then run `vibe adopt` again")
    keys = list(instance.all_asset_keys())
    instance.wipe_assets(keys)
    for partitions in ("photo_folders", "tag_batches", "tag_models", "name_shards"):
        for key in instance.get_dynamic_partitions(partitions):
            instance.delete_dynamic_partition(partitions, key)
    for state in instance.all_instigator_state():
        instance.schedule_storage.delete_instigator_state(state.instigator_origin_id, state.selector_id)  # type: ignore[union-attr]
    instance.daemon_cursor_storage.set_cursor_values(dict.fromkeys((HEARD, TABLES_SEEN), ""))
    claim(settings, instance, by_force=True)
    return len(keys)


HEARD = "vibe/heard"  # in the instance: how far into the notes of commands it has listened
TABLES_SEEN = "vibe/tables"  # in the instance: versions of the lake's tables when it last looked


# -- who works on it ---------------------------------------------------------------------------------------------------
@contextmanager
def working(settings: Settings, who: str) -> Iterator[None]:
    """Hold the instance for one process that lets the graph move. Raises InstanceError when another one does."""
    with _prepared_home(settings) as home, (home / "working.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = lock.read().strip() or "another process"
            raise InstanceError(f"{who} works on {home} already and does all there is to do; `vibe status` shows how far it is") from None
        lock.truncate(0)
        lock.write(f"{who} (process {os.getpid()})")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def refuse_daemon(instance: DagsterInstance) -> None:
    """Raise InstanceError when a daemon works on the instance: both would run the same."""
    if daemon_alive(instance):
        raise InstanceError(
            f"a daemon works on the Dagster instance in {_place(instance)} and does what `vibe run` would do; `vibe status` shows how far. "
            f"(If it was killed just now: wait {ALIVE_S:.0f} seconds)"
        )


def daemon_alive(instance: DagsterInstance) -> bool:
    """Whether some daemon, here or on another machine, gave a sign of life within the last minute."""
    return any(beat.timestamp > time.time() - ALIVE_S for beat in instance.get_daemon_heartbeats().values())
