"""What a setting names goes in; a path, or the URL of a folder in an object store, comes out.

`file://` URLs become paths. An URL never holds a secret: keys of a store come from the environment.
"""

# ruff: noqa: PTH118 -- paths of photos are bytes, and pathlib takes text only
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

STORES = {"s3": "s3", "gs": "gcs", "az": "azure"}  # scheme -> the extra that brings its library
PREFIXES = tuple(f"{scheme}://" for scheme in STORES)
PREFIXES_BYTES = tuple(prefix.encode() for prefix in PREFIXES)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_PLAIN = re.compile(r"[A-Za-z0-9/._~+,@:=-]*")


@dataclass(frozen=True)
class Url:
    """A folder of an object store: all objects whose key begins with `key` and a slash."""

    scheme: str  # one of STORES
    bucket: str
    key: str = ""  # without slashes at its ends; "" is the whole bucket

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __truediv__(self, name: str) -> Url:
        return Url(self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def plain(self) -> bool:
        """Whether no library between us and the store could take a character of it for something else."""
        return _PLAIN.fullmatch(self.key) is not None


Place = Path | Url


def parse_place(value: str | Path | Url) -> Place:
    """The path or URL of a folder. Raises ValueError for an URL of another kind, one with a secret, or one without a bucket."""
    if isinstance(value, Url):
        return value
    text = str(value)
    found = _SCHEME.match(text)
    if found is None or (len(found[1]) == 1 and "://" not in text):  # C:/photos
        return Path(value)
    scheme, rest = found[1].lower(), text[found.end() :].removeprefix("/")
    if scheme == "file":
        return _local(rest)
    if scheme not in STORES:
        raise ValueError(f"{scheme}:// is not supported; use a path, or an URL that begins with file://, {', '.join(PREFIXES)}")
    return _in_store(scheme, rest)


def _local(rest: str) -> Path:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise ValueError("file:// takes an absolute path of this machine, for example file:///mnt/photos")
    return Path("/" + unquote(path))


def _in_store(scheme: str, rest: str) -> Url:
    bucket, _, key = rest.partition("/")
    if "@" in bucket or "?" in rest or "#" in rest:
        raise ValueError(
            f"{scheme}:// takes a bucket and a folder, nothing else: keys and tokens come from the environment (AWS_ACCESS_KEY_ID, ...), "
            "never from an URL"
        )
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(
            f"{scheme}:// needs a bucket's name, for example {scheme}://my-bucket/photos; the address of a server of your own comes from "
            "the environment (AWS_ENDPOINT_URL)"
        )
    key = key.strip("/")
    if any(part in ("", ".", "..") for part in key.split("/")) and key:
        raise ValueError(f"{scheme}://{bucket}/{key}: empty parts, '.' and '..' mean nothing in a store; take them out")
    return Url(scheme, bucket, key)


def shown_without_secrets(value: object) -> bool:
    """Whether a refused value may be repeated in an error: not where it may hold a key."""
    text = str(value)
    if not _SCHEME.match(text):
        return True
    parts = urlsplit(text)
    return not ("@" in text or parts.query or parts.fragment)


def is_url(path: str | bytes | Path) -> bool:
    """Whether an absolute path to a photo names an object of a store."""
    if isinstance(path, bytes):
        return path.startswith(PREFIXES_BYTES)
    return isinstance(path, str) and path.startswith(PREFIXES)


def below(root: Place, path_bytes: bytes) -> bytes:
    """Absolute path, or URL, of a file or folder below `root`, as bytes: names on a disk need not be UTF-8. b"" is the root itself."""
    base = str(root).encode() if isinstance(root, Url) else os.fsencode(root)
    return os.path.join(base, path_bytes) if path_bytes else base
