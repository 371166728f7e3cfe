"""A real S3 server under listings and reads: awkward keys, caps, and every way in which a store says no."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.object_store import PAGE, ObjectStore
from vibe_assets.photos.decode import PhotoRejected, read_photo
from vibe_assets.storage import Url, below, objects
from vibe_assets.storage.objects import Entry, list_folder, read_object, walk

pytestmark = pytest.mark.scale
NAMES = ["a/1.jpg", "a/é #?%41[1]*.jpg", "a/deep/er/2.jpg", "top.jpg", "a/ ", "a"]


def names(entries: list[Entry] | OSError) -> list[tuple[bytes, bool]]:
    assert not isinstance(entries, OSError)
    return [(entry.name, entry.is_folder) for entry in entries]


def test_a_listing_gives_names_sizes_and_changes_and_no_more_than_one_level(store: ObjectStore, bucket: Url) -> None:
    for name in NAMES:
        store.put(bucket / "root", name, name.encode())
    found = dict(walk(bucket / "root", skip=lambda name: False))
    assert names(found[b""]) == [(b"a", False), (b"a", True), (b"top.jpg", False)]
    assert names(found[b"a"]) == [(b" ", False), (b"1.jpg", False), (b"deep", True), ("é #?%41[1]*.jpg".encode(), False)]
    assert names(found[b"a/deep"]) == [(b"er", True)]
    for name in NAMES:
        assert read_object(below(bucket / "root", name.encode()), most=100) == name.encode()


def test_an_object_put_anew_has_changed_even_within_a_second(store: ObjectStore, bucket: Url) -> None:
    store.put(bucket, "x", b"one")
    (first,) = list_folder(bucket)
    store.put(bucket, "x", b"two")
    (second,) = list_folder(bucket)
    assert first.size == second.size == 3
    assert first.changed != second.changed
    assert abs(second.changed / 1e9 - time.time()) < 100


def test_a_folder_s_own_marker_is_no_photo_and_keys_with_empty_parts_end_nowhere(store: ObjectStore, bucket: Url) -> None:
    for name in ["a/", "a//x.jpg", "a/../y.jpg", "a/b/z.jpg"]:
        filesystem_put(store, bucket, name)
    found = dict(walk(bucket, skip=lambda name: False))
    assert set(found) == {b"", b"a", b"a/b"}
    assert names(found[b"a"]) == [(b"", True), (b"..", True), (b"b", True)]


def filesystem_put(store: ObjectStore, bucket: Url, key: str) -> None:
    objects.filesystem("s3").call_s3("put_object", Bucket=bucket.bucket, Key=key, Body=b"" if key.endswith("/") else b"x")


def test_more_objects_than_a_page_of_the_listing_are_all_seen(store: ObjectStore, bucket: Url) -> None:
    for number in range(2 * PAGE + 1):
        store.put(bucket, f"f/{number:05d}.jpg", b"x")
    assert len(list_folder(bucket / "f")) == 2 * PAGE + 1


def test_never_more_than_the_cap_is_asked_for(store: ObjectStore, bucket: Url) -> None:
    store.put(bucket, "large", bytes(1_000_000))
    store.put(bucket, "exact", bytes(1000))
    store.put(bucket, "empty", b"")
    with store.asked() as requests, pytest.raises(PhotoRejected) as refused:
        read_photo(below(bucket, b"large"), max_bytes=1000)
    assert refused.value.reason == "too_many_bytes"
    assert requests == [f"GET /{bucket.bucket}/large bytes=0-1000"]
    assert len(read_photo(below(bucket, b"exact"), max_bytes=1000)) == 1000
    for name, reason in [(b"empty", "empty"), (b"none", "io_error")]:
        with pytest.raises(PhotoRejected) as refused:
            read_photo(below(bucket, name), max_bytes=1000)
        assert refused.value.reason == reason


def test_an_empty_folder_is_empty_and_a_missing_bucket_is_not(store: ObjectStore, bucket: Url) -> None:
    assert list_folder(bucket) == list_folder(bucket / "none") == []
    for url in (Url("s3", "no-such-bucket"), Url("s3", "no-such-bucket", "x")):
        with pytest.raises(FileNotFoundError, match="there is no bucket 'no-such-bucket'"):
            list_folder(url)


def test_keys_that_are_no_good_are_named_by_their_variables(store: ObjectStore, bucket: Url) -> None:
    store.put(bucket, "x/y", b"1")
    with store.closed_to_everybody():
        with pytest.raises(PermissionError, match=r"access denied.*AWS_ACCESS_KEY_ID"):
            list_folder(bucket / "x")
        with pytest.raises(PhotoRejected, match="io_error: access denied"):
            read_photo(below(bucket, b"x/y"))
    assert len(list_folder(bucket / "x")) == 1


@pytest.fixture
def hanging() -> Iterator[str]:
    """Address of a server that takes every connection and never says a word."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=lambda: _take(listening, taken), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def _take(listening: socket.socket, taken: list[socket.socket]) -> None:
    try:
        while True:
            taken.append(listening.accept()[0])
    except OSError:
        return


def test_a_server_that_is_down_or_hangs_is_given_up_in_bounded_time(
    store: ObjectStore, bucket: Url, hanging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "READ_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        down = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for endpoint in (down, hanging):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        started = time.monotonic()
        with pytest.raises(OSError, match=rf"the store at {endpoint} \(AWS_ENDPOINT_URL\) cannot be reached"):
            list_folder(bucket)
        assert time.monotonic() - started < 10
