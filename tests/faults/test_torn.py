"""Files that a power cut tore at any byte: named with a remedy that works, or passed over at the cost of what was torn alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.faults import writers
from tests.support.questions import PACKAGED
from vibe_assets.audit.log import VerdictLog
from vibe_assets.cli import main
from vibe_assets.encoders.cache import EmbeddingCache
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.store import Deployments, load_head, save_head
from vibe_assets.lake import Lake, LakeError
from vibe_assets.records import ANNOTATIONS
from vibe_assets.teacher.journal import Journal

SHARES = (0.0, 0.001, 0.3, 0.5, 0.9, 0.999)


def torn_copies(folder: Path, file: Path) -> list[Path]:
    """Copies of the folder in which the file ends at another byte, in the middle of a line; the last lacks it altogether."""
    text, copies = file.read_bytes(), []
    size = len(text.rstrip(b"\n"))  # without its last newline a text is still the same
    cuts = {int(size * share) for share in SHARES} | {size - 1}
    cuts = {cut - (text[cut : cut + 1] == b"\n") for cut in cuts}
    for number, cut in enumerate([*sorted(cuts), None]):
        copy = folder.with_name(f"{folder.name}-{file.name}.{number}")
        shutil.copytree(folder, copy)
        torn = copy / file.relative_to(folder)
        if cut is None:
            torn.unlink()
        else:
            with torn.open("r+b") as handle:
                handle.truncate(cut)
        copies.append(copy)
    return copies


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def twice_written(home: Path) -> Path:
    for _ in range(2):
        writers.replace_a_folder(home, print)
    return home / "lake" / ANNOTATIONS.name


def vibe(home: Path, *arguments: str) -> tuple[int, str]:
    environment = {"VIBE_LIBRARY__HOME": str(home), "VIBE_LIBRARY__ROOT": str(home), "COLUMNS": "300"}
    result = CliRunner().invoke(main, list(arguments), env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.output


def test_a_torn_commit_is_named_and_one_command_goes_back_to_the_one_before(home: Path) -> None:
    commit = sorted((twice_written(home) / "_delta_log").glob("*.json"))[-1]
    *torn, without = torn_copies(home, commit)
    assert writers.generation_of(without) == 1
    for copy in torn[1:]:
        with pytest.raises(LakeError, match=rf"table annotations: .*{commit.name}: a commit that ends .*`vibe repair`"):
            writers.generation_of(copy)
        assert vibe(copy, "repair", "--check")[0] == 1
    for copy in torn:
        code, said = vibe(copy, "repair")
        assert (code, "every table is whole" in said) == (0, True), said
        assert writers.generation_of(copy) == 1
        writers.replace_a_folder(copy, print)
        assert (writers.generation_of(copy), vibe(copy, "repair", "--check")[0]) == (2, 0)


def test_torn_data_of_a_table_is_named_and_goes_with_its_commit_or_the_next_write(home: Path) -> None:
    data = max(twice_written(home).rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    for number, copy in enumerate(torn_copies(home, data)):
        with pytest.raises(LakeError, match=rf"table annotations: .*{data.name}: .*`vibe repair`"):
            writers.generation_of(copy)
        if number % 2:
            Lake(copy / "lake").replace(ANNOTATIONS, writers.rows(5), folder_key=writers.KEY)
            assert writers.generation_of(copy) == 5
        else:
            assert vibe(copy, "repair")[0] == 0
            assert writers.generation_of(copy) == 1


def test_a_torn_checkpoint_is_set_aside_and_costs_no_commit(home: Path) -> None:
    from deltalake import DeltaTable

    table = twice_written(home)
    DeltaTable(table).create_checkpoint()
    checkpoint, last = next(table.rglob("*.checkpoint.parquet")), table / "_delta_log" / "_last_checkpoint"
    for file in (checkpoint, last):
        for copy in torn_copies(home, file)[1:-1]:
            assert vibe(copy, "repair", "--check")[0] == 1, copy
            assert vibe(copy, "repair")[0] == 0
            assert writers.generation_of(copy) == 2, (file, copy)
            shutil.rmtree(copy)


def test_a_sound_lake_is_left_alone(home: Path) -> None:
    twice_written(home)
    before = sorted(home.rglob("*"))
    assert vibe(home, "repair", "--check")[0] == vibe(home, "repair")[0] == 0
    assert sorted(home.rglob("*")) == before


def test_a_torn_head_is_named_and_training_again_mends_it(home: Path) -> None:
    head = writers.HEADS[0]
    save_head(head, home)
    for name in ("head.safetensors", "card.json"):
        for copy in torn_copies(home, home / head.version / name):
            with pytest.raises(HeadError, match=name.replace(".", r"\.")):
                load_head(copy / head.version)
            assert load_head(copy / save_head(head, copy)).version == head.version
            shutil.rmtree(copy)


def test_a_torn_journal_costs_its_last_line(home: Path) -> None:
    writers.append_to_journal(home, print)
    for copy in torn_copies(home, home / "journal" / "writer.jsonl")[:-1]:
        whole = (copy / "journal" / "writer.jsonl").read_bytes().count(b"\n")
        journal = Journal(copy / "journal", "writer")
        assert len(journal.known()) in (whole, whole + 1)  # a line may lack its newline alone
        journal.append({"image_id": "next", "annotation": {}, "at": ""})
        assert len(journal.known()) in (whole + 1, whole + 2)


def test_a_torn_verdict_log_costs_its_last_line(home: Path) -> None:
    writers.keep_verdicts(home, print)
    for copy in torn_copies(home, home / "verdicts" / "page.jsonl")[:-1]:
        whole = (copy / "verdicts" / "page.jsonl").read_bytes().count(b"\n")
        log = VerdictLog(copy / "verdicts", PACKAGED, writer="page")
        kept = [verdict.verdict_id for verdict in log.verdicts()]
        assert kept == [f"verdict-{number}" for number in range(len(kept))]
        assert len(kept) in (whole, whole + 1)
        log.append(writers.said("verdict-next", second=60))
        assert [verdict.verdict_id for verdict in log.verdicts()] == [*kept, "verdict-next"]


def test_a_torn_deployment_is_none_and_the_one_before_is_in_force(home: Path) -> None:
    for head in writers.HEADS:
        save_head(head, home / "heads")
    Deployments(home / "heads").deploy("scene", writers.HEADS[0].version, at="")
    writers.switch_back_and_forth(home, print)
    for copy in torn_copies(home, home / "heads" / "deployments.jsonl")[:-1]:
        log = Deployments(copy / "heads")
        entries = len(log.history())
        assert entries < 2
        log.deploy("scene", writers.HEADS[1].version, at="")
        assert (len(log.history()), log.current()["scene"]) == (entries + 1, writers.HEADS[1].version)


def test_a_torn_shard_of_vectors_is_set_aside_and_the_others_are_believed(home: Path) -> None:
    EmbeddingCache(home, 4).add(*writers.vectors(1))
    old = set(home.glob("*.parquet"))
    EmbeddingCache(home, 4).add(*writers.vectors(10))
    (shard,) = set(home.glob("*.parquet")) - old
    (known, known_vectors), (lost, _) = writers.vectors(1), writers.vectors(10)
    for copy in torn_copies(home, shard):
        into = np.zeros((6, 4), np.float32)
        assert EmbeddingCache(copy, 4).load([*known, *lost], into).tolist() == [True] * 3 + [False] * 3
        assert np.array_equal(into[:3], known_vectors)
