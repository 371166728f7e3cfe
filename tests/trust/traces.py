"""A folder and a secret go in; every file that tells one comes out, with how: raw, encoded or in part, however the file is packed."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

PART = 12  # characters of a key that already tell too much


def forms(secret: str) -> dict[str, bytes]:
    """What to look for: the key's beginning (so also the whole of it), and its encodings, wherever they start in a longer text."""
    found = {"raw": secret[:PART], "end": secret[-PART:], "url": quote(secret, safe="")[: PART + 6], "hex": secret.encode().hex()[:24]}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        known = coded[-(-shift * 8 // 6) :][:16]
        found |= {f"base64 at {shift}": known, f"base64url at {shift}": known.replace("+", "-").replace("/", "_")}
    return {name: text.encode() for name, text in found.items()}


def traces(folder: Path, secrets: dict[str, str]) -> list[str]:
    """'file: which key, in which form' for everything below the folder."""
    wanted = {(name, form): text for name, secret in secrets.items() for form, text in forms(secret).items()}
    told = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for content in contents(path):
            told += [f"{path.relative_to(folder)}: {name}, {form}" for (name, form), text in wanted.items() if text in content]
    return sorted(set(told))


def contents(path: Path) -> Iterator[bytes]:
    """The file's bytes, and what is packed in them."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        yield _parquet(path)
    elif path.suffix == ".duckdb":
        yield from _duckdb(path)
    elif data.startswith(b"SQLite format 3"):
        yield from _sqlite(path)
    elif data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            yield from (packed.read(name) for name in packed.namelist())


def _parquet(path: Path) -> bytes:
    import pyarrow.parquet as pq

    table = pq.read_table(path, partitioning=None)
    texts = [
        name for name, kind in zip(table.schema.names, table.schema.types, strict=True) if "string" in str(kind) or "binary" in str(kind)
    ]
    return json.dumps(table.select(texts).to_pylist(), default=repr, ensure_ascii=False).encode("utf-8", "replace")


def _duckdb(path: Path) -> Iterator[bytes]:
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:
        for (name,) in connection.execute("select table_name from information_schema.tables").fetchall():
            yield repr(connection.execute(f'select * from "{name}"').fetchall()).encode("utf-8", "replace")


def _sqlite(path: Path) -> Iterator[bytes]:
    """Every value of every table; Dagster packs its snapshots with zlib."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        connection.text_factory = bytes
        for (name,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in connection.execute(f'select * from "{name.decode()}"'):
                for value in row:
                    if isinstance(value, bytes):
                        yield value
                        try:
                            yield zlib.decompress(value)
                        except zlib.error:
                            continue
