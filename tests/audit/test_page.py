"""The audit page without a browser: what a photo's data hold, what a verdict may say, and what hostile requests get."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.audit.library import log_lines
from vibe_assets.audit.desk import Desk
from vibe_assets.stages.audit import desk_app, open_desk
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.verdicts import done_at

ADDRESS = "http://127.0.0.1:3001"


@pytest.fixture
def client(platform: Platform) -> TestClient:
    return TestClient(desk_app(platform, host="127.0.0.1", port=3001), base_url=ADDRESS)


def queue(client: TestClient, by: str = "ann", **asked: str) -> list[dict[str, Any]]:
    answer = client.get("/api/queue", params={"annotator": by, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def verdict(item: dict[str, Any], *, by: str = "ann", **more: Any) -> dict[str, Any]:
    labels = item.get("teacher") or {"scene": "scene.food", "attributes": {}, "objects": []}
    return {
        "verdict_id": f"{by}-{item['image_id']}", "image_id": item["image_id"], "annotator": by, "act": "label", "labels": labels,
        "spent_ms": 1200.5, "seen": item.get("seen"), "view": "all", **more,
    }  # fmt: skip


def test_a_verdict_is_in_the_log_when_it_is_acknowledged_and_only_once(client: TestClient, platform: Platform) -> None:
    item = next(item for item in queue(client) if not item["blind"])
    answers = [client.post("/api/verdicts", json=verdict(item)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    (line,) = log_lines(platform)
    assert (line["act"], line["blind"], line["spent_ms"], line["source"]) == ("accepted", False, 1200, "page")
    assert line["shown"]["teacher"]["scene"] == item["teacher"]["scene"]
    assert line["shown"]["versions"] == {"teacher": "t" * 16, "heads": "h-1"}
    assert item["image_id"] not in [left["image_id"] for left in queue(client)]
    again = TestClient(desk_app(platform, host="127.0.0.1", port=3001), base_url=ADDRESS)
    assert again.post("/api/verdicts", json=verdict(item)).json()["act"] == "accepted"
    assert len(log_lines(platform)) == 1


def test_a_changed_answer_is_a_correction_and_an_answer_to_an_older_page_says_so_itself(client: TestClient, platform: Platform) -> None:
    first, second = [item for item in queue(client) if not item["blind"]][:2]
    client.post("/api/verdicts", json=verdict(first, labels={**first["teacher"], "scene": "scene.screenshot"}))
    client.post("/api/verdicts", json=verdict(second, seen="older", changed=True))
    lines = log_lines(platform)
    assert [line["act"] for line in lines] == ["corrected", "corrected"]
    assert "teacher" not in lines[1]["shown"]


def test_a_blind_photo_tells_nothing_of_the_answers(client: TestClient, platform: Platform) -> None:
    items = queue(client)
    blind = [item for item in items if item["blind"]]
    assert 0 < len(blind) < len(items)
    assert all(item.keys() == {"image_id", "name", "width", "height", "blind"} for item in blind)
    ids = {item["image_id"] for item in blind}
    scenes = open_desk(platform).questions["scene"].keys
    for view in ({"view": "differ"}, {"view": "unsure"}, *({"view": "scene", "scene": scene} for scene in scenes)):
        assert not ids & {item["image_id"] for item in queue(client, **view)}, view
    assert client.post("/api/verdicts", json=verdict(blind[0])).json()["act"] == "labelled"
    assert log_lines(platform)[0]["blind"]
    assert log_lines(platform)[0]["shown"].keys() == {"inclusion_probability", "view"}


def test_the_blind_share_is_kept_and_differs_from_person_to_person(platform: Platform) -> None:
    desk = open_desk(platform)
    ids = [f"{at:032x}" for at in range(4000)]
    of = {by: [desk.blind(by, image_id) for image_id in ids] for by in ("ann", "ben")}
    assert of["ann"] == [desk.blind("ann", image_id) for image_id in ids]
    assert of["ann"] != of["ben"]
    for drawn in of.values():
        assert 0.17 < sum(drawn) / len(ids) < 0.23


def test_two_people_get_the_same_photos_in_the_same_order(client: TestClient) -> None:
    ann, ben = queue(client, "ann"), queue(client, "ben")
    assert [item["image_id"] for item in ann] == [item["image_id"] for item in ben]
    client.post("/api/verdicts", json=verdict(ann[0]))
    assert queue(client, "ben")[0]["image_id"] == ann[0]["image_id"]
    assert queue(client, "ann")[0]["image_id"] == ann[1]["image_id"]


def test_views_hold_what_they_say(client: TestClient, platform: Platform) -> None:
    items = [client_item for client_item in queue(client) if not client_item["blind"]]
    assert all(item["teacher"]["scene"] != item["student"]["scene"] for item in queue(client, view="differ"))
    assert all(item["confidence"]["scene"] < 0.7 for item in queue(client, view="unsure"))
    scene = items[0]["teacher"]["scene"]
    assert {item["teacher"]["scene"] for item in queue(client, view="scene", scene=scene)} == {scene}
    client.post("/api/verdicts", json=verdict(items[0], act="skip", reason="too dark"))
    assert [item["image_id"] for item in queue(client, view="skipped")] == [items[0]["image_id"]]
    assert not {items[1]["image_id"]} & {item["image_id"] for item in queue(client, without=items[1]["image_id"])}


def test_an_undo_brings_the_photo_back_with_what_was_said(client: TestClient, platform: Platform) -> None:
    item = queue(client)[0]
    client.post("/api/verdicts", json=verdict(item, labels={"scene": "scene.people", "attributes": {}, "objects": ["object.drink"]}))
    last = client.get("/api/last?annotator=ann").json()["last"]
    assert (last["item"]["image_id"], last["labels"]["scene"]) == (item["image_id"], "scene.people")
    undo = verdict(item, verdict_id="undo-00001", act="undo", undoes=last["verdict_id"])
    assert client.post("/api/verdicts", json=undo).status_code == 200
    assert queue(client)[0]["image_id"] == item["image_id"]
    assert client.get("/api/last?annotator=ann").json()["last"] is None
    assert [line["act"] for line in log_lines(platform)] == [log_lines(platform)[0]["act"], "undone"]


def test_done_is_kept(client: TestClient, platform: Platform) -> None:
    assert done_at(platform) is None
    assert client.post("/api/done", json={}).status_code == 200
    assert done_at(platform) is not None


def test_photos_come_upright_small_and_only_by_id(client: TestClient, platform: Platform) -> None:
    item = queue(client)[0]
    answer = client.get(f"/photo/{item['image_id']}")
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (item["width"], item["height"])
    for bad in ("..%2f..%2fvibe.toml", "0" * 32, "x", item["image_id"].upper() + "0", f"{item['image_id']}/../../vibe.toml"):
        assert client.get(f"/photo/{bad}").status_code == 404
    assert client.get(f"/photo/{item['image_id']}?size=huge").status_code == 404
    for path in ("/static/../page.py", "/static/%2e%2e/page.py", "/static/..%2fpage.py"):
        assert client.get(path).status_code == 404


def test_a_photo_that_changed_on_disk_is_not_shown_as_the_one_that_was_scanned(client: TestClient, platform: Platform) -> None:
    item = next(item for item in queue(client) if not item["blind"])
    (platform.settings.root / item["name"]).write_bytes(b"another file")
    answer = client.get(f"/photo/{item['image_id']}")
    assert (answer.status_code, "photo_changed" in answer.text) == (404, True)


def test_every_answer_carries_the_headers_that_lock_the_browser_in(client: TestClient) -> None:
    for answer in (client.get("/"), client.get("/api/desk"), client.get("/nothing"), client.get("/", headers={"host": "evil.example"})):
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    page = client.get("/").text
    assert "<script>" not in page
    assert "style=" not in page
    assert "onclick" not in page


def test_names_of_files_are_data_not_markup(client: TestClient) -> None:
    assert client.get("/api/queue", params={"annotator": "<img src=x>"}).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3999"},
    ],
)
def test_another_sites_page_gets_nothing(client: TestClient, platform: Platform, headers: dict[str, str]) -> None:
    item = queue(client)[0]
    for answer in (
        client.post("/api/verdicts", json=verdict(item), headers=headers),
        client.get(f"/photo/{item['image_id']}", headers=headers),
        client.post("/api/done", json={}, headers=headers),
    ):
        assert answer.status_code == 403
    assert log_lines(platform) == []


HOSTILE: list[tuple[str, Callable[[dict[str, Any]], Any], int, str]] = [
    ("not an object", lambda said: [said], 400, "JSON object"),
    ("no id", lambda said: said | {"verdict_id": None}, 422, "verdict_id"),
    ("path as id", lambda said: said | {"verdict_id": "../../../../x"}, 422, "verdict_id"),
    ("unknown photo", lambda said: said | {"image_id": "0" * 32}, 404, "not in the sample"),
    ("photo as path", lambda said: said | {"image_id": "../etc/passwd"}, 422, "image_id"),
    ("nobody", lambda said: said | {"annotator": "  "}, 422, "annotator"),
    ("control characters", lambda said: said | {"annotator": "a\u0000b"}, 422, "annotator"),
    ("long name", lambda said: said | {"annotator": "a" * 41}, 422, "annotator"),
    ("unknown act", lambda said: said | {"act": "delete"}, 422, "act"),
    ("unknown scene", lambda said: said | {"labels": {"scene": "scene.sauna"}}, 422, "labels.scene"),
    ("scene of another type", lambda said: said | {"labels": {"scene": ["scene.food"]}}, 422, "labels.scene"),
    ("unknown attribute", lambda said: said | {"labels": {"attributes": {"evil": True}}}, 422, "labels.attributes"),
    ("attribute as text", lambda said: said | {"labels": {"attributes": {"has_text": "yes"}}}, 422, "labels.attributes"),
    ("unknown object", lambda said: said | {"labels": {"objects": ["object.ufo"]}}, 422, "labels.objects"),
    ("object of another type", lambda said: said | {"labels": {"objects": [{}]}}, 422, "labels.objects"),
    ("too many objects", lambda said: said | {"labels": {"objects": ["object.food"] * 51}}, 422, "labels.objects"),
    ("time as text", lambda said: said | {"spent_ms": "long"}, 422, "spent_ms"),
    ("negative time", lambda said: said | {"spent_ms": -1}, 422, "spent_ms"),
    ("skip without reason", lambda said: said | {"act": "skip", "reason": " "}, 422, "reason"),
    ("undo of nothing", lambda said: said | {"act": "undo", "undoes": "verdict-9"}, 409, "undoes"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "status", "said"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_a_verdict_that_is_wrong_is_refused_by_field(desk_only: Any, change: Any, status: int, said: str) -> None:
    client, item, folder = desk_only
    answer = client.post("/api/verdicts", json=change(verdict(item)))
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert not list(folder.glob("**/verdicts/*.jsonl"))


@pytest.fixture(scope="module")
def desk_only(built: Any) -> tuple[TestClient, dict[str, Any], Any]:
    """The page of the installation that nobody writes to."""
    from tests.audit.library import open_at

    client = TestClient(desk_app(open_at(built), host="127.0.0.1", port=3001), base_url=ADDRESS)
    return client, next(item for item in queue(client) if not item["blind"]), built


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{" + b" " * 70_000 + b"}", "application/json", 413),
        (b"[" * 50_000, "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
    ],
    ids=["too long", "too deep", "cut off", "no text", "a form's type", "no type"],
)
def test_a_body_that_is_no_json_is_refused(desk_only: Any, body: bytes, kind: str, status: int) -> None:
    client, _, _ = desk_only
    assert client.post("/api/verdicts", content=body, headers={"content-type": kind}).status_code == status


def test_a_verdict_id_cannot_be_used_for_another_photo(client: TestClient, platform: Platform) -> None:
    one, two = queue(client)[:2]
    client.post("/api/verdicts", json=verdict(one, verdict_id="verdict-1"))
    assert client.post("/api/verdicts", json=verdict(two, verdict_id="verdict-1")).status_code == 409
    assert len(log_lines(platform)) == 1


def test_beyond_this_machine_a_token_opens_the_door_once_and_a_cookie_from_then_on(platform: Platform) -> None:
    app = desk_app(platform, host="photos.example", port=3001, token="secret-token")
    client = TestClient(app, base_url="http://photos.example:3001")
    for path in ("/", "/api/desk", "/?token=wrong", "/api/desk?token=secret-token", "/static/audit.js"):
        assert client.get(path).status_code == 403, path
    opened = client.get("/?token=secret-token")
    assert opened.status_code == 200
    assert {"HttpOnly", "SameSite=Strict"} <= set(opened.headers["set-cookie"].split("; "))
    assert client.get("/api/desk").status_code == 200
    assert client.get("/static/audit.js").status_code == 200
    assert TestClient(app, base_url="http://127.0.0.1:3001").get("/?token=secret-token").status_code == 403


def test_a_full_log_is_no_acknowledgement(client: TestClient, platform: Platform) -> None:
    item = queue(client)[0]
    folder = platform.settings.audit_dir / "verdicts"
    folder.write_text("in the way")
    assert client.post("/api/verdicts", json=verdict(item)).status_code == 503
    folder.unlink()
    assert client.post("/api/verdicts", json=verdict(item)).status_code == 200
    assert len(log_lines(platform)) == 1


def test_the_forecast_leaves_the_accuracy_itself_out(platform: Platform) -> None:
    desk: Desk = open_desk(platform)
    for image_id, photo in list(desk.photos.items())[:12]:
        labels = {"scene": photo.teacher.values["scene"] if photo.teacher else None, "attributes": {}, "objects": []}
        said = {"verdict_id": f"x-{image_id}", "image_id": image_id, "annotator": "ann", "act": "label", "labels": labels}
        desk.take({**said, "spent_ms": 1})
    known = desk.progress("ann")
    assert (known["judged"], known["photos"]) == (12, len(desk.photos))
    assert "scene accuracy to" in known["sentence"]
    assert "%" not in json.dumps(known["sentence"])


def test_behind_a_proxy_the_page_answers_to_the_proxys_name_and_wants_the_token(platform: Platform) -> None:
    app = desk_app(platform, host="127.0.0.1", port=3001, served_as=["photos.example.org"], token="secret-token")
    client = TestClient(app, base_url="https://photos.example.org")
    assert client.get("/").status_code == 403
    assert client.get("/?token=secret-token").status_code == 200
    assert client.get("/api/desk", headers={"origin": "https://photos.example.org"}).status_code == 200
    assert client.get("/api/desk", headers={"origin": "https://evil.example"}).status_code == 403
    assert TestClient(app, base_url="https://evil.example").get("/?token=secret-token").status_code == 403
