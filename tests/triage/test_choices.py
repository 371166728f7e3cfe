"""What people pick is on disk at once, ties and "none" included, and can be taken back; the page shows no photo it should not."""

from __future__ import annotations

import json

import pytest

from vibe_assets.triage.choices import Choice, ChoiceError, ChoiceLog
from vibe_assets.triage.desk import DeskSeries, TriageDesk

MEMBERS = ("a" * 32, "b" * 32, "c" * 32)


@pytest.fixture
def desk(tmp_path):
    series = [DeskSeries("s1", MEMBERS, "x"), DeskSeries("s2", MEMBERS[:2], "y")]
    return TriageDesk(series, dict.fromkeys(MEMBERS, b"/nowhere.jpg"), ChoiceLog(tmp_path))


def test_a_pick_beats_the_others_and_a_tie_is_half_a_vote_each():
    pick = Choice.now("s", MEMBERS, MEMBERS[:1], "pick", "me").preferences()
    assert [(p.a[0], p.b[0], p.votes_a, p.votes_b) for p in pick] == [("a", "b", 1, 0), ("a", "c", 1, 0)]
    tie = Choice.now("s", MEMBERS, MEMBERS[:2], "tie", "me").preferences()
    assert [(p.a[0], p.b[0], p.votes_a, p.votes_b) for p in tie] == [("a", "c", 1, 0), ("b", "c", 1, 0), ("a", "b", 0.5, 0.5)]
    assert Choice.now("s", MEMBERS, (), "none", "me").preferences() == []


@pytest.mark.parametrize(
    ("winners", "kind"), [((), "pick"), (("a" * 32,), "tie"), (("z",), "pick"), (("a" * 32,), "none"), ((), "whatever")]
)
def test_a_choice_that_makes_no_sense_is_refused(winners, kind):
    with pytest.raises(ChoiceError):
        Choice.now("s", MEMBERS, winners, kind, "me")


def test_undo_takes_back_the_newest_and_shows_its_series_again(desk):
    first = desk.state("me")["series"]
    after = desk.choose("me", first["series_id"], "pick", first["members"][:1])
    assert (after["done"], after["series"]["series_id"] != first["series_id"]) == (1, True)
    back = desk.undo("me")
    assert (back["done"], back["series"]["series_id"]) == (0, first["series_id"])
    with pytest.raises(ChoiceError, match="nothing to undo"):
        desk.undo("me")


def test_a_second_answer_replaces_the_first_and_people_do_not_disturb_each_other(desk):
    desk.choose("me", "s1", "pick", MEMBERS[:1])
    desk.choose("me", "s1", "pick", MEMBERS[1:2])
    desk.choose("you", "s1", "none", [])
    standing = desk.log.standing()
    assert standing["s1", "me"].winners == MEMBERS[1:2]
    assert standing["s1", "you"].kind == "none"
    assert desk.undo("me")["choice"]["winners"] == [MEMBERS[0]]


def test_a_torn_line_costs_nothing_but_itself(desk, tmp_path):
    desk.choose("me", "s1", "pick", MEMBERS[:1])
    file = next(tmp_path.glob("*.jsonl"))
    file.write_text(file.read_text() + '{"image_id": "a", "torn', encoding="utf-8")
    assert [choice.series_id for choice in ChoiceLog(tmp_path).choices()] == ["s1"]


# -- the page ----------------------------------------------------------------------------------------------------------
HOST = "127.0.0.1:3002"


def call(app, method: str, path: str, body: object = None, **headers: str):
    from starlette.testclient import TestClient

    data = b"" if body is None else json.dumps(body).encode()
    answer = TestClient(app, base_url=f"http://{HOST}").request(
        method, path, content=data, headers={"content-type": "application/json", **headers}
    )
    return answer.status_code, answer.headers, answer.content


@pytest.fixture
def app(desk, tmp_path):
    from vibe_assets.audit.pictures import Pictures
    from vibe_assets.triage.review import review_app

    return review_app(desk, Pictures(tmp_path / "pictures"), hosts={HOST})


def test_the_page_loads_only_from_itself_and_answers_only_its_own_host(app):
    status, headers, body = call(app, "GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"http" not in body.replace(b"http-equiv", b"")
    assert b'src="/static/review.js"' in body
    assert call(app, "GET", "/", host="evil.example")[0] == 403
    assert call(app, "POST", "/choose", {}, origin="http://evil.example")[0] == 403


def test_a_choice_arrives_in_the_log_and_nonsense_does_not(app, desk):
    told = {"reviewer": "me", "series_id": "s1", "kind": "pick", "winners": [MEMBERS[2]]}
    status, _, body = call(app, "POST", "/choose", told)
    assert (status, json.loads(body)["done"]) == (200, 1)
    assert desk.log.standing()["s1", "me"].winners == (MEMBERS[2],)
    for wrong in (
        {**told, "series_id": "s9"},
        {**told, "winners": "x"},
        {**told, "kind": "undo", "winners": []},
        {**told, "reviewer": "<b>"},
    ):
        assert call(app, "POST", "/choose", wrong)[0] == 422
    assert call(app, "POST", "/choose", told, **{"content-type": "text/plain"})[0] == 422
    assert len(desk.log.choices()) == 1


def test_photos_are_reached_by_image_id_only(app):
    assert call(app, "GET", "/photo/" + "f" * 32)[0] == 404
    assert call(app, "GET", "/photo/..%2f..%2fetc%2fpasswd")[0] == 404
    assert call(app, "GET", "/photo/" + MEMBERS[0])[0] == 410  # on the desk, but the file is gone
    assert call(app, "GET", "/state?reviewer=me&at=s2")[0] == 200
