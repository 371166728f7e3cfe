"""One S3 server for all tests of the room; every test has a bucket of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.object_store import ObjectStore, running_store
from vibe_assets.storage import Url


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with running_store(tmp_path_factory.mktemp("s3") / "requests.log") as running:
        yield running


@pytest.fixture
def bucket(store: ObjectStore) -> Url:
    return store.bucket()
