"""Random operations over the stages, held to the model: short in the unit suite, long with the marker `soak`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.soak.model import FOLDERS, REFUSALS, TEACHERS, check, check_against_rebuild, do, installation

NAMES = st.sampled_from("abcd")
SEEDS = st.integers(0, 40)
PLACES = st.integers(0, 3)


class Library(RuleBasedStateMachine):
    """Anything may happen in any order; a stage may decline, and then says why."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        self.made = self.stack.enter_context(installation(folder / "home"))
        for at, folder_name in enumerate(FOLDERS[:2]):  # something to begin with
            for name in "abc":
                do(self.made.config, "put", folder=folder_name, name=name, seed=10 * at + ord(name))
        do(self.made.config, "refresh")

    def do(self, operation: str, /, **arguments: object) -> None:
        try:
            promise = do(self.made.config, operation, **arguments)
        except REFUSALS:
            return
        if promise:
            self.made.promised.add(promise)

    @rule(folder=st.sampled_from(FOLDERS), name=NAMES, seed=SEEDS)
    def put(self, folder: str, name: str, seed: int) -> None:
        self.do("put", folder=folder, name=name, seed=seed)

    @rule(folder=st.sampled_from(FOLDERS), name=NAMES)
    def remove(self, folder: str, name: str) -> None:
        self.do("remove", folder=folder, name=name)

    @rule(folder=st.sampled_from(FOLDERS))
    def remove_folder(self, folder: str) -> None:
        self.do("remove_folder", folder=folder)

    @rule(folder=st.sampled_from(FOLDERS), into=st.sampled_from(FOLDERS))
    def copy(self, folder: str, into: str) -> None:
        self.do("copy", folder=folder, into=into)

    @rule(teacher=st.sampled_from(TEACHERS))
    def swap(self, teacher: str) -> None:
        self.do("swap", teacher=teacher)

    @rule(stage=st.sampled_from(["scan", "annotate", "embed", "predict"]), at=PLACES)
    def one_folder(self, stage: str, at: int) -> None:
        self.do(stage, at=at)

    @rule(stage=st.sampled_from(["look", "group", "convert", "sample", "settle", "deploy"]))
    def whole_library(self, stage: str) -> None:
        self.do(stage)

    @rule(at=st.integers(0, 30), scene=PLACES, done=st.booleans())
    def judge(self, at: int, scene: int, done: bool) -> None:
        self.do("judge", at=at, scene=scene, done=done)

    @rule(kind=st.sampled_from(["scene", "attribute"]))
    def train(self, kind: str) -> None:
        self.do("train", kind=kind)

    @rule()
    def tear_a_journal(self) -> None:
        """What a power cut leaves: half a line at the end."""
        for path in sorted((self.made.folder / "data" / "journal").rglob("*.jsonl"))[:1]:
            with path.open("ab") as file:
                file.write(b'{"image_id": "0123", "annot')

    @rule()
    def refresh(self) -> None:
        self.do("refresh")

    @invariant()
    def what_must_be_true(self) -> None:
        check(self.made)

    def teardown(self) -> None:
        try:
            check_against_rebuild(self.made)
        finally:
            self.stack.close()


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_a_short_life_of_random_operations_keeps_every_promise() -> None:
    short = settings(max_examples=2, stateful_step_count=10, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)
    run_state_machine_as_test(Library, settings=short)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_lives_of_random_operations_keep_every_promise() -> None:
    long = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=QUIET)
    run_state_machine_as_test(Library, settings=long)


def test_the_model_notices_what_was_lost(tmp_path: Path) -> None:
    with installation(tmp_path / "home") as made:
        for name, seed in zip("abcdef", range(6), strict=True):
            do(made.config, "put", folder="one", name=name, seed=seed)
        do(made.config, "refresh")
        made.promised.add(do(made.config, "judge", at=0, scene=1))
        do(made.config, "train", kind="attribute")
        check(made)
        data = made.folder / "data"
        for path, what in (
            (next((data / "journal").rglob("*.jsonl")), "paid answers are gone"),
            (next((data / "audit" / "verdicts").glob("*.jsonl")), "verdicts are lost"),
            (next((data / "heads").glob("attribute-*")), "names no head"),
        ):
            path.rename(tmp_path / "aside")
            with pytest.raises(AssertionError, match=what):
                check(made)
            (tmp_path / "aside").rename(path)
            check(made)
        do(made.config, "put", folder="one", name="new", seed=20)
        check_against_rebuild(made)
