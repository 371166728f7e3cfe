"""docs/reliability.md is true: every row has tests that exist and a mutation that applies, every fault test is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.mutations import MUTATIONS
from tests.faults.table import ROOT, Row, rows

ROWS = rows()
HERE = Path(__file__).parent


def test_functions(file: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))


test_functions.__test__ = False  # type: ignore[attr-defined]


def test_every_fault_has_one_row() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) >= 40
    assert set(names) == set(MUTATIONS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_states_a_promise_names_tests_that_exist_and_was_shown_by_mutation(row: Row) -> None:
    assert row.fault
    assert row.promise
    assert row.without
    assert row.tests
    for node in row.tests:
        file, _, name = node.partition("::")
        assert (ROOT / file).is_file(), node
        assert name.partition("[")[0] in test_functions(ROOT / file), node
    if row.shown == "not run":
        pytest.skip(f"not shown by mutation yet: tests/faults/mutate.py --write {row.name}")
    assert row.shown.startswith("fails: ")


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_mutation_applies_to_the_source_as_it_is(name: str) -> None:
    text = (ROOT / MUTATIONS[name].file).read_text(encoding="utf-8")
    for old, new in MUTATIONS[name].edits:
        assert text.count(old) == 1, f"{MUTATIONS[name].file}: {old!r}"
        assert old != new


def test_every_test_of_this_room_is_in_the_table() -> None:
    told = {node.partition("[")[0] for row in ROWS for node in row.tests}
    here = {
        f"tests/faults/{file.name}::{name}" for file in HERE.glob("test_*.py") if file != Path(__file__) for name in test_functions(file)
    }
    told |= {
        "tests/faults/test_teacher.py::test_the_caps_are_what_the_page_says",
        "tests/faults/test_daemon_killed.py::test_a_daemon_killed_in_mid_build_is_gone_on_with_where_it_ended",  # not promised
    }
    assert here <= told
