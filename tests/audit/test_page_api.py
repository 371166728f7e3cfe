"""The audit page's requests as its OpenAPI document describes them, tried by machine: none breaks it, and what it keeps can be read."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from starlette.testclient import TestClient

from tests.audit.library import open_at
from vibe_assets.audit.log import VerdictLog
from vibe_assets.audit.openapi import document
from vibe_assets.stages.audit import desk_app, open_desk
from vibe_assets.stages.platform import Platform

load_all_checks()
ADDRESS = "http://127.0.0.1:3001"
HEADERS = {"host": "127.0.0.1:3001", "origin": ADDRESS, "sec-fetch-site": "same-origin"}  # what a browser on the page sends
QUICK = settings(
    max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.generate, Phase.explicit],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One installation that all examples share, its application, and its document."""

    platform: Platform
    app: Any
    schema: dict[str, Any]

    def kept(self) -> VerdictLog:
        """The log as another process would open it."""
        return VerdictLog(self.platform.settings.audit_dir / "verdicts", self.platform.questions)


@pytest.fixture(scope="module")
def place(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    platform = open_at(Path(shutil.copytree(built, tmp_path_factory.mktemp("api") / "home")))
    return Place(platform, desk_app(platform, host="127.0.0.1", port=3001), document(open_desk(platform)))


@pytest.fixture(scope="module")
def client(place: Place) -> TestClient:
    return TestClient(place.app, base_url=ADDRESS)


@pytest.fixture(scope="module")
def described(place: Place) -> Any:
    """The document with a way to ask the application."""
    schema = schemathesis.openapi.from_dict(place.schema)
    schema.app = place.app
    return schema


@pytest.fixture(scope="module")
def sent(place: Place) -> Iterator[list[str]]:
    """verdict_ids that were acknowledged; at the end every one of them is in the log."""
    acknowledged: list[str] = []
    yield acknowledged
    assert set(acknowledged) <= {verdict.verdict_id for verdict in place.kept().verdicts()}


OPERATIONS = [
    ("/", "GET"), ("/api/desk", "GET"), ("/api/queue", "GET"), ("/api/last", "GET"), ("/api/verdicts", "POST"), ("/api/done", "POST"),
    ("/photo/{image_id}", "GET"),
]  # fmt: skip


WITH_SOMETHING_TO_GET_WRONG = [one for one in OPERATIONS if one[0] not in ("/", "/api/desk")]


def test_the_served_document_is_the_one_tested_and_describes_every_request_of_the_page(place: Place, client: TestClient) -> None:
    answer = client.get("/api/openapi.json")
    assert answer.json() == place.schema
    assert {(path, method.upper()) for path, methods in place.schema["paths"].items() for method in methods} == set(OPERATIONS)
    routed = {"/static", "/api/openapi.json"}
    inner = place.app
    while not hasattr(inner, "routes"):  # the guard and the headers around it
        inner = (
            next(cell.cell_contents for cell in inner.__closure__ if callable(cell.cell_contents))
            if hasattr(inner, "__closure__")
            else inner.app
        )
    assert {route.path for route in inner.routes} - routed == set(place.schema["paths"])


CHECKED = CHECKS.get_by_names([
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance", "negative_data_rejection",
])  # fmt: skip


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=[" ".join(one) for one in OPERATIONS])
def test_what_the_document_allows_is_answered_as_it_says(described: Any, sent: list[str], path: str, method: str) -> None:
    tried(described, sent, path, method, schemathesis.GenerationMode.POSITIVE)


@pytest.mark.parametrize(("path", "method"), WITH_SOMETHING_TO_GET_WRONG, ids=[" ".join(one) for one in WITH_SOMETHING_TO_GET_WRONG])
def test_what_the_document_does_not_allow_is_refused_as_it_says(described: Any, sent: list[str], path: str, method: str) -> None:
    tried(described, sent, path, method, schemathesis.GenerationMode.NEGATIVE)


def tried(described: Any, sent: list[str], path: str, method: str, mode: schemathesis.GenerationMode) -> None:
    """Examples of one kind against one operation, with the headers of a browser on the page."""

    @given(case=described[path][method].as_strategy(generation_mode=mode))
    @QUICK
    def holds(case: Any) -> None:
        answer = case.call_and_validate(checks=CHECKED, headers=HEADERS, base_url=ADDRESS)
        if answer.status_code == HTTPStatus.OK and path == "/api/verdicts":
            sent.append(answer.json()["verdict_id"])

    holds()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=[]), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = ("verdict_id", "image_id", "annotator", "act", "labels", "spent_ms", "seen", "view", "changed", "reason", "undoes", "more")


@given(data=st.data())
@settings(QUICK, max_examples=150)
def test_what_is_kept_can_be_read_again_whatever_a_field_holds(place: Place, client: TestClient, data: st.DataObject) -> None:
    image_id = data.draw(st.sampled_from(sorted(open_photos(place))))
    said: dict[str, Any] = {
        "verdict_id": f"any-{uuid.uuid4()}", "image_id": image_id, "annotator": "Zoë", "act": data.draw(st.sampled_from(["label", "skip"])),
        "labels": {"scene": None, "attributes": {}, "objects": []}, "spent_ms": 1, "reason": "dark",
    }  # fmt: skip
    said |= data.draw(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=3))
    body = json.dumps(said).encode()  # lone surrogates, NaN and Infinity included
    answer = client.post("/api/verdicts", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 404, 409, 413, 422), answer.text
    if answer.status_code == HTTPStatus.OK:
        (kept,) = [verdict for verdict in place.kept().verdicts() if verdict.verdict_id == said["verdict_id"]]
        assert (kept.image_id, kept.act) == (said["image_id"], answer.json()["act"])


@pytest.mark.parametrize(
    "odd",
    [
        {"view": False},
        {"view": None},
        {"view": 0},
        {"seen": []},
        {"seen": False},
        {"changed": "no"},
        {"changed": None},
        {"labels": {"attributes": False}},
        {"labels": {"objects": False}},
        {"labels": {"attributes": None}},
        {"labels": {"objects": ""}},
    ],
    ids=str,
)
def test_what_is_empty_in_another_type_is_refused(place: Place, client: TestClient, odd: dict[str, Any]) -> None:
    """False, null and nothing at all are not an empty text or list."""
    said: dict[str, Any] = {
        "verdict_id": f"odd-{uuid.uuid4()}", "image_id": open_photos(place)[0], "annotator": "Zoë", "act": "label",
        "labels": {"scene": None}, "spent_ms": 1,
    }  # fmt: skip
    answer = client.post("/api/verdicts", json=said | odd)
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, answer.text
    assert "expected" in answer.text


def open_photos(place: Place) -> list[str]:
    return list(place.schema["components"]["schemas"]["ImageId"]["enum"])


@pytest.mark.parametrize("path", ["/", "/api/desk", "/api/queue?annotator=a", "/photo/{}"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"])
def test_what_no_page_asks_is_not_allowed_and_changes_nothing(place: Place, client: TestClient, path: str, method: str) -> None:
    answer = client.request(method, path.format(open_photos(place)[0]))
    assert answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert "GET" in answer.headers["allow"]
    assert "access-control-allow-origin" not in answer.headers


def test_photos_and_answers_are_kept_by_no_proxy(place: Place, client: TestClient) -> None:
    for path in ("/", "/api/desk", "/api/queue?annotator=a", "/api/last?annotator=a", "/api/openapi.json", "/photo/absent", "/absent"):
        assert client.get(path).headers["cache-control"] == "no-store", path
    assert client.get(f"/photo/{open_photos(place)[0]}").headers["cache-control"].startswith("private,")


def test_a_picture_that_cannot_be_made_says_so_and_names_no_path(place: Place, client: TestClient) -> None:
    folder = place.platform.settings.cache_dir / "audit"
    aside = folder.rename(folder.with_name("aside")) if folder.exists() else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    try:
        fresh = TestClient(desk_app(place.platform, host="127.0.0.1", port=3001), base_url=ADDRESS)
        answer = fresh.get(f"/photo/{open_photos(place)[1]}")
    finally:
        folder.unlink()
        if aside is not None:
            aside.rename(folder)
    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert str(place.platform.settings.home) not in answer.text
