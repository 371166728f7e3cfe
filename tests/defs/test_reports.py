"""What Dagster shows of a report: a link that `vibe ui` answers, and the page's content as Markdown with inline pictures."""

from __future__ import annotations

import re

import dagster as dg
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.defs.world import World
from vibe_assets.operate.ui import guarded_app


@pytest.mark.parametrize("name", ["teacher_report", "student_report", "drift_report"])
def test_every_report_is_reachable_from_its_asset_by_link(world: World, name: str) -> None:
    event = world.instance.get_latest_materialization_event(dg.AssetKey(name))
    assert event is not None
    metadata = event.asset_materialization.metadata
    reports = world.platform.settings.reports_dir
    client = TestClient(guarded_app(Starlette(), reports, {"127.0.0.1:3000"}), base_url="http://127.0.0.1:3000")
    for link, shown in (("open", reports / f"{name}.html"), ("all reports", reports / "index.html")):
        value = metadata[link]
        assert isinstance(value, dg.UrlMetadataValue)
        assert client.get(value.url).text == shown.read_text(encoding="utf-8")
    index = (reports / "index.html").read_text(encoding="utf-8")
    assert f'href="{name}.html"' in index


def test_the_content_of_a_report_is_on_its_asset(world: World) -> None:
    event = world.instance.get_latest_materialization_event(dg.AssetKey("student_report"))
    assert event is not None
    metadata = event.asset_materialization.metadata
    for name in ("headline", "by label", "confusion", "precision over recall", "calibration", "shares of the library"):
        value = metadata[name]
        assert isinstance(value, dg.MarkdownMetadataValue), name
    assert re.match(r"!\[.*\]\(data:image/png;base64,", metadata["calibration"].value)
