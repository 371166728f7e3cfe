"""Text that orders: what teachers, file names and messages say is bound to the schema where it is read and escaped where it is shown."""

# ruff: noqa: PTH103, PTH104 -- names are bytes here, and pathlib takes text only
from __future__ import annotations

import csv
import io
import json
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from tests.export.library import build
from tests.photos.library import save
from tests.support.questions import ATTRIBUTES, PACKAGED
from tests.teacher.conftest import QUICK, make_library
from tests.test_bad_input import UP_TO_VECTORS, installation
from tests.trust.hostile import FOREIGN, FORMULAS, HONEST, LIES, MARKUP, ORDERS, TERMINAL
from vibe_assets.cli import main
from vibe_assets.defs.metadata import counts_table, rejects_table
from vibe_assets.export.sidecar import Entry, merged
from vibe_assets.names.results import per_name_csv
from vibe_assets.records import PREDICTIONS
from vibe_assets.settings import TeacherSettings
from vibe_assets.stages.index import write_labels
from vibe_assets.strangers import markdown_cell, spreadsheet_cell, visible
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.journal import Journal
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay

EVERYTHING = (*MARKUP, *FORMULAS, *TERMINAL, ORDERS)


# -- answers are bound -------------------------------------------------------------------------------------------------
def labels(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return PACKAGED.tell(dict(answer), min_confidence=0.7, include_non_main=False).values


def outcomes(tmp_path: Path, teacher: ReplayTeacher, photos: int) -> Counter[str]:
    """What became of the teacher's answers, by the labels that follow: refused, bound (nothing false is said), changed."""
    refs = make_library(tmp_path / "photos", photos)
    with running_replay(teacher) as url:
        settings = TeacherSettings.model_validate({"base_url": url, "retries": 0, "concurrency": 1, "timeout_s": 20})
        records = annotate(refs, settings=settings, journal=Journal(tmp_path / "journal", "w"), pace=QUICK, progress=False)
    counts: Counter[str] = Counter()
    honest = labels(HONEST)
    for record in records:
        if record["annotation"] is None:
            counts["refused"] += 1
            continue
        said = labels(record["annotation"])
        assert said["scene"] is None or said["scene"] in PACKAGED["scene"].keys
        assert set(said["objects"]) <= set(PACKAGED["objects"].keys)
        assert {type(said[name]) for name in ATTRIBUTES} <= {bool, type(None)}
        counts["changed" if tells(said, honest) else "bound"] += 1
    return counts


def tells(said: Mapping[str, Any], honest: Mapping[str, Any]) -> bool:
    """Whether anything false is said; to leave open is not to lie, and neither is scene.other."""
    scene = said["scene"] not in (None, "scene.other", honest["scene"])
    attributes = any(said[name] is not None and honest[name] not in (None, said[name]) for name in ATTRIBUTES)
    return scene or attributes or bool(set(said["objects"]) - set(honest["objects"]))


def documented(row: str) -> tuple[int, ...]:
    """The figures of a row of the table in docs/trust.md."""
    text = (Path(__file__).parents[2] / "docs" / "trust.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} |"))
    return tuple(int(number) for number in re.findall(r"\b\d+\b", line.removeprefix(f"| {row} |"))[:4])


def test_of_hostile_answers_as_many_change_a_label_as_the_docs_say(tmp_path: Path) -> None:
    replay = outcomes(tmp_path / "replay", ReplayTeacher(lambda *_: HONEST, faults=ReplayFaults(hostile=True)), 14)
    lies = iter(LIES.values())
    orders = outcomes(tmp_path / "orders", ReplayTeacher(lambda *_: next(lies)), len(LIES))
    for name, found in (("hostile mode of the replay teacher", replay), ("answers that obey an order in the photo", orders)):
        assert (found.total(), found["refused"], found["bound"], found["changed"]) == documented(name), found


# -- Markdown ----------------------------------------------------------------------------------------------------------
def loads(markdown: str) -> list[str]:
    """What a renderer would load, link or take for HTML."""
    found = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown):
        for part in [token, *(token.children or [])]:
            address = str(part.attrs.get("src") or part.attrs.get("href") or "")
            active = part.type in ("html_inline", "html_block", "link_open", "code_inline")
            if active or (part.type == "image" and not address.startswith("data:image/")):
                found.append(f"{part.type} {part.content} {address}")
    plain = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", markdown)
    return found + re.findall(r"https?://[-.\w]+|www\.[-.\w]+", plain)  # renderers of GitHub's dialect link bare addresses


def test_the_markdown_check_finds_what_loads() -> None:
    assert loads(f"![x]({FOREIGN}/a.png)")
    assert loads("<img src=x>")
    assert loads("see http://example.org")
    assert not loads("![x](data:image/jpeg;base64,AAAA) plain | text")


@pytest.mark.parametrize("text", EVERYTHING)
def test_a_markdown_cell_is_text_in_one_cell(text: str) -> None:
    table = f"| a | b |\n|---|---|\n| {markdown_cell(text)} | end |"
    assert loads(table) == []
    tokens = MarkdownIt("commonmark").enable("table").parse(table)
    cells = [token.content for at, token in enumerate(tokens) if token.type == "inline" and tokens[at - 1].type == "td_open"]
    assert len(cells) == 2
    assert cells[1] == "end"
    shown = "".join(part.content for token in tokens for part in token.children or [])
    assert " ".join(visible(text).split()) in shown.replace("\u200b", ""), "what was said can still be read"


def test_tables_of_metadata_are_text() -> None:
    rows = pl.DataFrame({"rel_path": list(EVERYTHING), "reason": list(EVERYTHING), "detail": list(EVERYTHING)})
    assert loads(rejects_table(rows, most=100)) == []
    assert loads(counts_table("reason", dict.fromkeys(EVERYTHING, 1)).md_str or "") == []


def metadata_of(instance: dg.DagsterInstance) -> list[str]:
    """Every Markdown and text value that a materialization or a check put into the event log, and every description."""
    found = []
    for record in instance.get_run_records():
        for entry in instance.all_logs(record.dagster_run.run_id):
            event = entry.dagster_event
            data = getattr(event, "event_specific_data", None)
            for holder in (getattr(data, "materialization", None), data):
                for value in (getattr(holder, "metadata", None) or {}).values():
                    if isinstance(value, dg.MarkdownMetadataValue):
                        found.append(value.md_str or "")
    return found


def test_what_dagster_shows_of_hostile_names_and_refusals_loads_nothing(tmp_path: Path) -> None:
    for number, text in enumerate((*MARKUP, *TERMINAL)):
        name = text.replace("/", "\u2215").encode()[:200]
        save(tmp_path / "photos" / "one" / f"{number}.jpg", seed=number)
        os.rename(tmp_path / "photos" / "one" / f"{number}.jpg", os.fsencode(tmp_path / "photos" / "one") + b"/" + name + b".jpg")
    (tmp_path / "photos" / "one" / f"![x]({FOREIGN.replace('/', ':')})broken.jpg").write_bytes(b"no picture")
    refusals = iter([*EVERYTHING] * 20)

    def obeys(image: bytes, request: Mapping[str, Any]) -> str:
        text = next(refusals)
        return json.dumps({text: text}) if len(text) % 2 else json.dumps({**HONEST, "scene": text, "objects": [{"name_free": text}]})

    with installation(tmp_path, ReplayTeacher(obeys)) as world:
        assert world.driver.run(UP_TO_VECTORS[:2], world.folders()[0])
        shown = metadata_of(world.instance)
        assert len(shown) >= 4
        assert any("broken" in text for text in shown)
        assert any("invalid" in text for text in shown)
        assert [found for text in shown for found in loads(text)] == []


# -- spreadsheets ------------------------------------------------------------------------------------------------------
def risky(cell: str) -> bool:
    """Whether a spreadsheet would run the cell; figures are none."""
    return cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)


def test_no_cell_of_any_table_for_spreadsheets_runs(tmp_path: Path) -> None:
    names = tuple(text.replace("/", "\u2215").encode() + b".jpg" for text in (*FORMULAS, *MARKUP))
    platform = build(tmp_path, names)
    rows = platform.lake.read(PREDICTIONS).with_columns(rel_path=pl.col("rel_path").str.strip_prefix("album/"))
    platform.lake.replace(PREDICTIONS, rows, folder_key="album-1")
    files = write_labels(platform)
    (tmp_path / "names.csv").write_text(per_name_csv([_score(text) for text in FORMULAS]))
    tables = [next(file for file in files if file.suffix == ".csv"), tmp_path / "names.csv"]
    for table in tables:
        with table.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert any("cmd|" in cell for cell in cells)
        assert [cell for cell in cells if risky(cell)] == []


def _score(name: str) -> Any:
    from vibe_assets.names.metrics import NameScore

    figures = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2, "predicted": 2, "hits": 1}
    return NameScore(name=name, **{key: value for key, value in figures.items() if key in NameScore.__dataclass_fields__})


@pytest.mark.parametrize("text", EVERYTHING)
def test_a_guarded_cell_is_what_it_was_behind_one_apostrophe(text: str) -> None:
    assert spreadsheet_cell(text) in (text, f"'{text}")
    assert not risky(next(csv.reader(io.StringIO(f'"{spreadsheet_cell(text).replace(chr(34), chr(34) * 2)}"', newline="")))[0])


# -- sidecars ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", [*EVERYTHING, "\x00\x0b\ufffe", "\ud800"])
def test_a_sidecar_is_well_formed_whoever_annotated(text: str) -> None:
    entry = Entry("scene.food", "people", text, None, None, None, None)
    first = merged(None, (entry,), min_precision=0.9, today="2026-11-22")
    assert first is not None
    tree = ET.fromstring(first)
    assert [element.text for element in tree.iter() if element.tag.endswith("}li")]
    again = merged(first, (entry,), min_precision=0.9, today="2026-11-22")
    assert again in (None, first), "the second time nothing changes"


# -- terminals ---------------------------------------------------------------------------------------------------------
def test_tables_and_errors_of_the_command_line_send_no_control_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(text.replace("/", "\u2215").encode() + b".jpg" for text in TERMINAL)
    build(tmp_path, names)
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    os.makedirs(os.fsencode(tmp_path / "photos") + b"/\x1b]0;folder\x07")
    save(tmp_path / "a.jpg")
    os.rename(tmp_path / "a.jpg", os.fsencode(tmp_path / "photos") + b"/\x1b]0;folder\x07/a.jpg")
    said = ""
    for command in (["sql", "select rel_path from predictions"], ["folders"], ["sql", "select '\x1b[2J' as \"\x1b[31m\""],
                    ["heads", "deploy", "\x1b[2J"], ["classify", os.fsdecode(b"\x1b]0;x.jpg")]):  # fmt: skip
        said += CliRunner().invoke(main, command).output
    assert "gpj" in said
    assert "folder" in said
    assert [character for character in said if character not in "\n\t" and (ord(character) < 32 or 127 <= ord(character) < 160)] == []
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", said)


# -- pages in a real browser -------------------------------------------------------------------------------------------
@pytest.mark.e2e
@pytest.mark.browser
@pytest.mark.slow
def test_pages_with_hostile_words_run_nothing_and_ask_nobody(tmp_path: Path) -> None:
    from tests.trust.pages import Watched, audit_page, report_page

    with Watched() as watched:
        report = report_page(tmp_path, watched.address)
        found = watched.open(report.as_uri())
        assert "Report of strangers" in found.text
        assert "onerror" in found.text, "the words are shown"
        assert found.ran == []
        with audit_page(tmp_path / "audit", watched.address) as (address, places):
            seen = [watched.open(f"{address}/?annotator=ann", wait=".done, #frame img")]
            assert seen[0].ran == []
            assert any("onerror" in text or "pwned" in text for text in [seen[0].text, *places])
        assert watched.asked == [], "nobody else was asked for anything"
