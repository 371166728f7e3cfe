"""URLs of an object store go in; listings and bytes come out, in bounded time, and every failure as an OSError with words in it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from vibe_assets.storage.place import STORES, Url

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
TRIES = 3
AT_ONCE = 16  # requests in flight: a store answers slowly, but answers many
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class MissingExtra(OSError):
    """The library that speaks to a store is not installed; the message says how to install it."""


class Entry(NamedTuple):
    """An object, or a folder of objects, as a listing shows it."""

    name: bytes
    is_folder: bool
    size: int
    changed: int  # see `changed_token`


def s3_endpoint() -> str | None:
    """Address of an S3-compatible server, from the environment; None for Amazon's own."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def s3_region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if s3_endpoint() else None)


def filesystem(scheme: str) -> AbstractFileSystem:
    """The fsspec file system of a store; fsspec keeps one per process. Raises MissingExtra."""
    try:
        import fsspec

        system = fsspec.filesystem(scheme, **_options(scheme))
    except ImportError as error:
        raise MissingExtra(
            errno.ENOPKG, f"{scheme}:// needs a library that is not installed: pip install 'vibe-assets[{STORES[scheme]}]'"
        ) from error
    if scheme == "s3":
        system.retries = TRIES
    return system


def _options(scheme: str) -> dict[str, Any]:
    """Listings are never remembered: what is asked is how things are now."""
    if scheme != "s3":
        return {"use_listings_cache": False}
    region = s3_region()
    return {
        "use_listings_cache": False,
        "endpoint_url": s3_endpoint(),
        "client_kwargs": {"region_name": region} if region else {},
        "config_kwargs": {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"max_attempts": 0},  # s3fs tries again itself
            "max_pool_connections": 2 * AT_ONCE,
        },
    }


@contextmanager
def worded(scheme: str, where: str) -> Iterator[None]:
    """Turn whatever a store's library raises into an OSError whose strerror a user can act on."""
    try:
        yield
    except MissingExtra:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, _said(error) or "no such object", where) from error
    except PermissionError as error:
        raise PermissionError(
            errno.EACCES, f"access denied ({_said(error)}): check {CREDENTIALS[scheme]} in the environment, and what they may do", where
        ) from error
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, f"no answer from {server_of(scheme)} in time", where) from error
    except Exception as error:  # botocore, aiohttp, google and azure have their own kinds
        raise _unexpected(scheme, where, error) from error


def _unexpected(scheme: str, where: str, error: Exception) -> OSError:
    kind, text = type(error).__name__, _said(error)
    if "Credential" in kind or "credentials" in text.lower():
        return PermissionError(errno.EACCES, f"no usable credentials ({text}): set {CREDENTIALS[scheme]} in the environment", where)
    if any(word in kind for word in ("Connect", "Timeout", "Endpoint", "HTTPClient", "DNS")):
        return OSError(errno.EHOSTUNREACH, f"{server_of(scheme)} cannot be reached: {text}", where)
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    return OSError(number, f"{kind}: {text}", where)


def server_of(scheme: str) -> str:
    endpoint = s3_endpoint() if scheme == "s3" else None
    return f"the store at {endpoint} (AWS_ENDPOINT_URL)" if endpoint else f"the {scheme}:// store"


def _said(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:300]


def split(url: bytes) -> tuple[str, str]:
    """Scheme and 'bucket/key' of an object's URL; a key may hold any character. Raises ValueError where it is not UTF-8."""
    scheme, _, path = url.decode("utf-8").partition("://")
    return scheme, path


def read_object(url: bytes, *, most: int) -> bytes:
    """The object's first `most` bytes; never more are asked for. Raises OSError."""
    scheme, path = split(url)
    with worded(scheme, f"{scheme}://{path}"):
        try:
            return bytes(filesystem(scheme).cat_file(path, start=0, end=most))
        except OSError as error:
            if error.errno == errno.EINVAL and "range" in str(error).lower():
                return b""  # an object without bytes has no range
            raise


def list_folder(folder: Url) -> list[Entry]:
    """Objects and folders directly in `folder`, by name; none where nothing lies below it. Raises OSError."""
    path = f"{folder.bucket}/{folder.key}" if folder.key else folder.bucket
    with worded(folder.scheme, str(folder)):
        system = filesystem(folder.scheme)
        try:
            found = system.ls(path, detail=True)
        except FileNotFoundError:
            if folder.key and system.exists(folder.bucket):
                return []
            raise FileNotFoundError(errno.ENOENT, f"there is no bucket {folder.bucket!r}") from None
    return sorted(entry for info in found if (entry := _entry(info, path)) is not None)


def _entry(info: Mapping[str, Any], path: str) -> Entry | None:
    """None for the folder's own marker: an empty object that consoles leave so that a folder is shown."""
    name, is_folder = str(info["name"]).removeprefix(f"{path}/"), info["type"] == "directory"
    if not name:  # of a key with '//' where it is a folder
        return Entry(b"", True, 0, 0) if is_folder else None
    return Entry(name.rstrip("/").encode("utf-8", "surrogateescape"), is_folder, int(info.get("size") or 0), changed_token(info))


def changed_token(info: Mapping[str, Any]) -> int:
    """The second of an object's last change in ns since 1970, and below it digits of its ETag.

    Stores date to the second: another picture of the same size within it is told by the ETag.
    """
    at = next((info[name] for name in ("LastModified", "last_modified", "updated", "mtime", "created") if info.get(name)), 0)
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    seconds = int(at.timestamp() if isinstance(at, datetime) else at)
    tag = next((str(info[name]) for name in ("ETag", "etag", "md5Hash", "content_md5") if info.get(name)), "")
    digits = int.from_bytes(sha256(tag.encode()).digest()[:8]) % 1_000_000_000 if tag else 0
    return seconds * 1_000_000_000 + digits


def walk(root: Url, *, skip: Callable[[bytes], bool]) -> Iterator[tuple[bytes, list[Entry] | OSError]]:
    """(path below the root, its entries or why there are none) of every folder, the root first; names that `skip` is true for are left out.

    One listing per folder, many folders at once: a store takes tens of milliseconds for each.
    """

    def look(path: bytes) -> tuple[bytes, list[Entry] | OSError]:
        try:
            return path, [entry for entry in list_folder(root / path.decode("utf-8") if path else root) if not skip(entry.name)]
        except OSError as error:
            return path, error

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="vibe-list") as pool:
        level = [b""]
        while level:
            inner: list[bytes] = []
            for path, found in pool.map(look, level):
                yield path, found
                names = [entry.name for entry in found if entry.is_folder and usable(entry.name)] if isinstance(found, list) else []
                inner += [path + b"/" + name if path else name for name in names]
            level = inner


def usable(name: bytes) -> bool:
    """Whether a folder's name can be part of a path: keys with '//' or '..' have parts that cannot."""
    return name not in (b"", b".", b"..")
