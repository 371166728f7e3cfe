"""kill -9 at every write boundary: what was acknowledged is there, all else is there whole or not at all, and the next writer goes on."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.faults import writers
from tests.faults.boundaries import Outcome, kill_at_every_boundary
from tests.support.questions import PACKAGED
from vibe_assets.audit.log import VerdictLog
from vibe_assets.encoders.cache import EmbeddingCache
from vibe_assets.heads.store import Deployments, load_head, save_head, saved_heads
from vibe_assets.lake import Lake, write_text
from vibe_assets.teacher.journal import Journal
from vibe_assets.triage.choices import ChoiceLog

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


def synced_before_said(outcome: Outcome, name: str) -> bool:
    """Whether the last change of the file (or folder) was followed by a sync of it."""
    calls = [call for call in outcome.before if name in call.rpartition(" ")[2]]
    return bool(calls) and calls[-1].split()[0] in ("fsync", "fdatasync")


@pytest.fixture(scope="module")
def second_write(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """A folder's rows replaced, killed everywhere; used by two tests."""
    base = tmp_path_factory.mktemp("table") / "base"
    base.mkdir()
    writers.replace_a_folder(base, print)
    return kill_at_every_boundary(writers.replace_a_folder, base, least=6)


def test_a_table_write_is_whole_or_not_there_and_the_next_one_goes_on(second_write: list[Outcome]) -> None:
    for outcome in second_write:
        found = writers.generation_of(outcome.folder)
        assert found == 2 if outcome.said else found in (1, 2), outcome
        assert Lake(outcome.folder / "lake").torn() == []
        writers.replace_a_folder(outcome.folder, print)
        assert writers.generation_of(outcome.folder) == found + 1, outcome


def test_an_acknowledged_table_write_has_reached_the_disk(second_write: list[Outcome]) -> None:
    calls = second_write[-1].before
    synced = {call.split()[1] for call in calls if call.startswith("fsync")}
    (data,) = [call.split()[2] for call in calls if call.startswith("rename") and call.endswith(".parquet")]
    (commit,) = [call.split()[2] for call in calls if call.startswith("link") and call.endswith(".json")]
    assert {data, commit, data.rpartition("/")[0], commit.rpartition("/")[0]} <= synced


def test_the_first_write_of_a_table_may_be_killed_anywhere(base: Path) -> None:
    for outcome in kill_at_every_boundary(writers.replace_a_folder, base, least=12):
        found = writers.generation_of(outcome.folder)
        assert found == 1 if outcome.said else found in (0, 1), outcome
        writers.replace_a_folder(outcome.folder, print)
        assert writers.generation_of(outcome.folder) == found + 1, outcome


def test_a_journal_keeps_every_acknowledged_answer_and_no_half_one(base: Path) -> None:
    Journal(base / "journal", "writer").append({"image_id": "old", "annotation": {}, "at": ""})
    for outcome in kill_at_every_boundary(writers.append_to_journal, base, least=6):
        journal = Journal(outcome.folder / "journal", "writer")
        assert {"old", *outcome.said} <= set(journal.known()), outcome
        journal.append({"image_id": "next", "annotation": {}, "at": ""})
        assert {"old", "next", *outcome.said} <= set(journal.known())
        assert all(line.endswith(b"}\n") for line in journal.path.read_bytes().splitlines(keepends=True))  # type: ignore[union-attr]
        journal.close()
        assert not outcome.said or synced_before_said(cut(outcome), "writer.jsonl")


def cut(outcome: Outcome) -> Outcome:
    """The outcome up to the sync that the last acknowledgement followed: three answers are three writes, each with its own."""
    syncs = [at for at, call in enumerate(outcome.before) if call.startswith("fsync") and call.endswith(".jsonl")]
    return Outcome(outcome.folder, outcome.boundary, outcome.before[: syncs[len(outcome.said) - 1] + 1], outcome.said)


def test_a_head_is_saved_whole_or_not_at_all(base: Path) -> None:
    old, new = writers.HEADS
    save_head(old, base / "heads")
    for outcome in kill_at_every_boundary(writers.save_a_head, base, least=8):
        heads = outcome.folder / "heads"
        assert set(saved_heads(heads)) - {new.version} == {old.version}
        assert not outcome.said or new.version in saved_heads(heads)
        for version in saved_heads(heads):
            load_head(heads / version)
        assert load_head(heads / save_head(new, heads)).version == new.version


def test_a_deployment_switches_or_the_one_before_stays_in_force(base: Path) -> None:
    old, new = writers.HEADS
    for head in (old, new):
        save_head(head, base / "heads")
    Deployments(base / "heads").deploy("scene", old.version, at=writers.AT.isoformat())
    for outcome in kill_at_every_boundary(writers.switch_deployment, base):
        log = Deployments(outcome.folder / "heads")
        in_force = log.current()["scene"]
        assert in_force == new.version if outcome.said else in_force in (old.version, new.version), outcome
        assert log.deploy("scene", new.version, at=writers.AT.isoformat()).version == new.version
        assert [entry.version for entry in log.history()] == [old.version, new.version]
    assert synced_before_said(outcome, "deployments.jsonl")


def test_an_acknowledged_verdict_is_kept(base: Path) -> None:
    for outcome in kill_at_every_boundary(writers.keep_verdicts, base, least=6):
        log = VerdictLog(outcome.folder / "verdicts", PACKAGED, writer="page")
        kept = [verdict.verdict_id for verdict in log.verdicts()]
        assert kept[: len(outcome.said)] == list(outcome.said), outcome
        assert not outcome.said or synced_before_said(cut(outcome), "page.jsonl")
        log.append(writers.said("verdict-next", second=60))
        assert [verdict.verdict_id for verdict in log.verdicts()] == [*kept, "verdict-next"]
        log.close()


def test_an_acknowledged_choice_is_kept(base: Path) -> None:
    for outcome in kill_at_every_boundary(writers.keep_choices, base, least=4):
        log = ChoiceLog(outcome.folder / "choices", writer="page")
        assert [choice.choice_id for choice in log.choices()][: len(outcome.said)] == list(outcome.said), outcome


def test_vectors_are_cached_whole_or_not_at_all(base: Path) -> None:
    EmbeddingCache(base / "cache", 4).add(*writers.vectors(1))
    (old, old_vectors), (new, new_vectors) = writers.vectors(1), writers.vectors(10)
    for outcome in kill_at_every_boundary(writers.cache_vectors, base, least=6):
        into = np.zeros((6, 4), np.float32)
        filled = EmbeddingCache(outcome.folder / "cache", 4).load([*old, *new], into)
        assert filled[:3].all()
        assert set(filled[3:]) == {bool(outcome.said)} or (outcome.killed and filled[3:].all()), outcome
        assert np.array_equal(into[filled], np.concatenate([old_vectors, new_vectors])[filled])
        assert not list((outcome.folder / "cache").glob("*.damaged"))


def test_a_file_is_the_old_one_or_the_new_one(base: Path) -> None:
    write_text(base / "vibe.toml", "old")
    for outcome in kill_at_every_boundary(writers.replace_a_file, base):
        found = (outcome.folder / "vibe.toml").read_text()
        assert found == "new" * 1000 if outcome.said else found in ("old", "new" * 1000), outcome
    kinds = [call.split()[0] for call in outcome.before]
    assert kinds.index("write") < kinds.index("fsync") < kinds.index("rename") < len(kinds) - 1 - kinds[::-1].index("fsync")


@pytest.mark.scale
@pytest.mark.parametrize("writer", [writers.publish, writers.rebuild], ids=lambda writer: writer.__name__)
def test_the_published_file_holds_all_new_tables_or_all_old_ones(base: Path, writer: writers.Writer) -> None:
    with duckdb.connect(str(base / "warehouse.duckdb")) as connection:
        connection.execute("CREATE TABLE photos AS SELECT 1 AS generation; CREATE TABLE predictions AS SELECT 1 AS generation")
    for outcome in kill_at_every_boundary(writer, base):
        query = "SELECT DISTINCT p.generation, q.generation FROM photos p, (SELECT DISTINCT generation FROM predictions) q"
        with duckdb.connect(str(outcome.folder / "warehouse.duckdb"), read_only=True) as connection:
            found = connection.sql(query).fetchall()
        assert found == [(2, 2)] if outcome.said else found in ([(1, 1)], [(2, 2)]), outcome
