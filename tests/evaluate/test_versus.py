"""The page of a comparison: one file that loads nothing, both sides' figures, tests, moves and photos."""

from __future__ import annotations

import pytest

from tests.evaluate.rows import KINDS, PACKAGED, library
from tests.evaluate.test_report import HOSTILE, Page
from vibe_assets.evaluate.compare import compare_paired
from vibe_assets.evaluate.flow import label_flow
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.evaluate.versus import Judged, render_comparison

PICTURE = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def page() -> str:
    truth, a, groups = library(120)
    _, b, _ = library(120, accuracy=0.3)
    flow = label_flow(a, b, kinds=KINDS, groups=groups, resamples=50, questions=PACKAGED)
    sides = [evaluate_labels(rows, truth, groups=groups, resamples=20, subject="trial", questions=PACKAGED) for rows in (a, b)]
    shown = flow.differing[:3]
    rows = {name: {row["image_id"]: row for row in side.iter_rows(named=True)} for name, side in (("people", truth), ("a", a), ("b", b))}
    return render_comparison(
        Judged("a@1", HOSTILE, sides[0]),
        Judged(HOSTILE, "the other", sides[1]),
        flow=flow,
        comparisons=[compare_paired(a, b, truth, groups=groups, what=kind, questions=PACKAGED) for kind in KINDS],
        scope="scene of 120 photos",
        thumbnails=dict.fromkeys(shown, PICTURE),
        names=dict.fromkeys(shown, HOSTILE),
        beside={image_id: {who: side[image_id] for who, side in rows.items()} for image_id in shown},
        footer={"A": HOSTILE},
        questions=PACKAGED,
    )


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    assert not {"script", "link", "iframe", "form"} & set(parsed.tags)
    assert all(value.startswith("data:") for _, name, value in parsed.attributes if name in ("src", "href"))
    assert "<script" not in page
    assert HOSTILE in parsed.text


def test_it_shows_both_sides_the_tests_the_moves_and_the_photos(page: str) -> None:
    text = Page(page).text
    for expected in (
        "Against people",
        "Worse by",
        "better in A",
        "Same scene",
        "Where the scenes went",
        "gained",
        "Photos where they differ",
    ):
        assert expected in text
    assert page.count(PICTURE) == 3
    assert page.count('<dl class="voices">') == 3


def test_without_people_nobody_is_right_or_wrong() -> None:
    _, a, _ = library(40)
    _, b, _ = library(40, accuracy=0.2)
    flow = label_flow(a, b, kinds=("scene",), questions=PACKAGED)
    rows = {image_id: {"a": a.row(0, named=True), "b": b.row(0, named=True)} for image_id in flow.differing[:2]}
    page = render_comparison(
        Judged("a", "", None), Judged("b", "", None), flow=flow, comparisons=(), scope="s", beside=rows, questions=PACKAGED
    )
    assert "Against people" not in page
    assert 'class="word right' not in page[page.index("Photos where") :]


def test_pictures_from_elsewhere_are_refused() -> None:
    _, a, _ = library(4)
    with pytest.raises(ValueError, match="data URL"):
        render_comparison(
            Judged("a", "", None), Judged("b", "", None), comparisons=(), scope="",
            flow=label_flow(a, a, kinds=("scene",), questions=PACKAGED),
            thumbnails={"x": "https://example.com/x.jpg"}, questions=PACKAGED,
        )  # fmt: skip
