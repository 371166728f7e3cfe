"""What is made next, as a pure function of what is there: nothing is lost, nothing is made twice, nothing waits for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vibe_assets.defs.plan import (
    GIVEN_UP,
    NONE,
    PAUSES_S,
    Attempt,
    Cell,
    Graph,
    Made,
    Seen,
    State,
    Status,
    input_version,
    plan,
    seen_version,
)

GRAPH = Graph(
    inputs={
        "raw_photos": ("folder_listing",),
        "annotations": ("raw_photos", "teacher"),
        "auto_ground_truth": ("annotations", "folder_set"),
        "audit_sample": ("auto_ground_truth",),
        "audited_ground_truth": ("audited_verdicts", "audit_sample"),
        "scene_head": ("auto_ground_truth", "audited_ground_truth"),
        "deployed_heads": ("scene_head", "audited_ground_truth"),
        "predictions": ("raw_photos", "deployed_heads", "auto_ground_truth"),
        "student_report": ("predictions", "audited_ground_truth"),
    },
    by_folder=frozenset({"folder_listing", "raw_photos", "annotations", "predictions"}),
    once=frozenset({"audit_sample"}),
    codes={},
    pools={},
    checks={},
    gates={},
)
FOLDERS = ("a", "b", "c")
NOW = 1_000_000.0


class Library:
    """A library in memory: what is wanted is made at once, with the inputs noted as a run notes them."""

    def __init__(self) -> None:
        self.seen = Seen(FOLDERS, now=NOW)
        self.events = 0
        self.people = False

    def source(self, name: str, version: str, folder: str | None = None) -> None:
        self._put(Cell(name, folder), version, None)

    def bring(self, *, teacher: str = "t1", people: bool = False) -> Library:
        for folder in FOLDERS:
            self.source("folder_listing", f"listing of {folder}", folder)
        self.source("folder_set", "abc")
        self.source("teacher", teacher)
        if people:
            self.source("audited_verdicts", "v1")
        return self

    def plan(self) -> dict[Cell, Status]:
        return plan(GRAPH, self.seen)

    def wanted(self) -> list[Cell]:
        return [cell for cell, status in self.plan().items() if status.state == State.WANTED]

    def inputs(self, cell: Cell) -> dict[str, str]:
        made, found = self.seen.made, {}
        for name in GRAPH.inputs[cell.asset]:
            version = input_version(made, FOLDERS, name, cell.folder, by_folder=name in GRAPH.by_folder)
            found[name] = seen_version(cell.asset, name, version, shut=Cell(name) in self.seen.shut)
        return found

    def make(self, cell: Cell, version: str | None = None) -> None:
        """A run of the cell that ends well; by default its content is decided by its inputs."""
        inputs = self.inputs(cell)
        self._put(cell, version or f"{cell} from {sorted(inputs.items())}", inputs)
        self.seen = replace(self.seen, failed={one: attempt for one, attempt in self.seen.failed.items() if one != cell})

    def fail(self, cell: Cell, *, tries: int = 1, cancelled: bool = False) -> None:
        attempt = Attempt(f"run {tries}", NOW, tries, self.plan()[cell].inputs, cancelled)
        self.seen = replace(self.seen, failed={**self.seen.failed, cell: attempt})

    def later(self, seconds: float) -> None:
        self.seen = replace(self.seen, now=self.seen.now + seconds)

    def change(self, **fields: Any) -> None:
        self.seen = replace(self.seen, **fields)

    def settle(self) -> list[Cell]:
        """Make what is wanted until nothing is."""
        ran: list[Cell] = []
        while wanted := self.wanted():
            for cell in wanted:
                self.make(cell)
            ran += wanted
            assert len(ran) < 200, "it never ends"
        return ran

    def _put(self, cell: Cell, version: str, inputs: Mapping[str, str] | None) -> None:
        self.events += 1
        self.seen = replace(self.seen, made={**self.seen.made, cell: Made(self.events, version, inputs)})


def names(cells: list[Cell]) -> list[str]:
    return sorted(str(cell) for cell in cells)


def settled() -> Library:
    library = Library().bring(people=True)
    library.settle()
    return library


def test_a_first_build_makes_every_cell_once() -> None:
    library = Library().bring(people=True)
    ran = library.settle()
    assert len(ran) == len(set(ran)) == 3 * 3 + 6
    assert library.settle() == []


def test_a_library_without_an_audit_gets_predictions_with_the_labels_of_the_teacher() -> None:
    library = Library().bring()
    ran = {cell.asset for cell in library.settle()}
    assert ran == {"raw_photos", "annotations", "auto_ground_truth", "audit_sample", "predictions"}
    assert library.inputs(Cell("predictions", "a"))["deployed_heads"] == NONE
    library.source("audited_verdicts", "v1")
    assert names(library.settle()) == names(
        [Cell(one) for one in ("audited_ground_truth", "scene_head", "deployed_heads", "student_report")]
        + [Cell("predictions", f) for f in FOLDERS]
    )


def test_the_same_content_written_again_wakes_nobody() -> None:
    library = settled()
    library.source("folder_listing", "touched", "a")
    library.make(Cell("raw_photos", "a"), library.seen.made[Cell("raw_photos", "a")].version)
    assert library.wanted() == []


def test_an_input_that_moves_while_it_is_used_is_not_lost() -> None:
    library = settled()
    library.source("teacher", "t2")
    library.change(running=frozenset({Cell("annotations", "a")}))
    stale = library.inputs(Cell("annotations", "a"))
    library.source("teacher", "t3")
    library.change(running=frozenset())
    library._put(Cell("annotations", "a"), "answers of t2", stale)
    assert Cell("annotations", "a") in library.wanted()


def test_a_request_that_came_to_nothing_is_asked_again() -> None:
    """Killed between the decision and the run: there is no memory that could say it was asked for."""
    library = Library().bring()
    assert library.wanted() == library.wanted() != []


def test_what_failed_is_tried_again_with_growing_pauses() -> None:
    library = Library().bring()
    cell = Cell("raw_photos", "a")
    for tries, pause in enumerate((*PAUSES_S, PAUSES_S[-1]), start=1):
        library.fail(cell, tries=tries)
        library.change(now=NOW + pause - 1)
        assert library.plan()[cell].state == State.PAUSED
        library.later(2)
        assert library.plan()[cell].state == State.WANTED


def test_a_cancelled_run_is_tried_again_later_than_a_failed_one() -> None:
    library = Library().bring()
    library.fail(Cell("raw_photos", "a"), cancelled=True)
    library.later(PAUSES_S[0] + 1)
    assert library.plan()[Cell("raw_photos", "a")].state == State.PAUSED
    library.later(PAUSES_S[1])
    assert library.plan()[Cell("raw_photos", "a")].state == State.WANTED


def test_other_inputs_are_tried_at_once() -> None:
    library = Library().bring()
    library.fail(Cell("raw_photos", "a"), tries=5)
    library.source("folder_listing", "mended", "a")
    assert library.plan()[Cell("raw_photos", "a")].state == State.WANTED


def test_a_clock_that_went_back_does_not_hold_anything_up() -> None:
    library = Library().bring()
    library.fail(Cell("raw_photos", "a"), tries=5)
    library.change(now=NOW - 86_400)
    assert library.plan()[Cell("raw_photos", "a")].state == State.WANTED


def test_an_asset_that_is_there_and_whose_last_run_failed_is_tried_again() -> None:
    library = settled()
    library.fail(Cell("scene_head"))
    library.later(PAUSES_S[0] + 1)
    assert library.wanted() == [Cell("scene_head")]


def test_all_wait_for_a_folder_that_failed_until_it_is_given_up() -> None:
    library = Library().bring()
    for folder in FOLDERS:
        library.make(Cell("raw_photos", folder))
    for folder in "bc":
        library.make(Cell("annotations", folder))
    for tries in range(1, GIVEN_UP):
        library.fail(Cell("annotations", "a"), tries=tries)
        assert library.plan()[Cell("auto_ground_truth")].state == State.WAITING
    library.fail(Cell("annotations", "a"), tries=GIVEN_UP)
    assert Cell("auto_ground_truth") in library.wanted()
    library.settle()
    library.later(PAUSES_S[-1] + 1)  # and then it works
    assert Cell("annotations", "a") in library.wanted()
    assert Cell("auto_ground_truth") in library.settle()


def test_a_folder_that_cannot_be_scanned_holds_up_nobody_once_it_is_given_up() -> None:
    library = Library().bring()
    library.fail(Cell("raw_photos", "a"), tries=GIVEN_UP)
    ran = library.settle()
    assert Cell("auto_ground_truth") in ran
    assert Cell("predictions", "b") in ran
    assert Cell("annotations", "a") not in ran


def test_a_shut_gate_holds_back_what_is_made_from_it_and_opens() -> None:
    library = settled()
    library.change(shut={Cell("auto_ground_truth"): ("library_annotated",)})
    library.source("audited_verdicts", "v2")
    assert names(library.settle()) == ["audited_ground_truth", "deployed_heads", "student_report"]
    waiting = library.plan()[Cell("scene_head")]
    assert waiting.state == State.WAITING
    assert waiting.waits_for == ("auto_ground_truth: library_annotated",)
    library.change(shut={})
    assert Cell("scene_head") in library.settle()


def test_a_head_whose_gate_is_shut_does_not_hold_up_the_others() -> None:
    library = settled()
    library.change(shut={Cell("scene_head"): ("beats_majority",)})
    assert Cell("deployed_heads") in library.settle()
    assert library.settle() == []
    library.change(shut={})
    assert Cell("deployed_heads") in library.settle()


def test_what_no_gate_has_judged_is_made_again() -> None:
    library = settled()
    library.change(unjudged=frozenset({Cell("scene_head")}))
    assert library.wanted() == [Cell("scene_head")]


def test_nothing_is_made_while_what_it_is_made_from_is_made() -> None:
    library = settled()
    library.source("teacher", "t2")
    library.change(running=frozenset({Cell("annotations", "a")}))
    assert names(library.wanted()) == ["annotations of b", "annotations of c"]
    for cell in library.wanted():
        library.make(cell)
    assert library.wanted() == []  # students and predictions too: they are made from what is made from the answers


def test_a_sample_that_people_work_on_is_never_drawn_again_by_itself() -> None:
    library = settled()
    library.source("teacher", "t2")
    assert Cell("audit_sample") not in library.settle()


def test_a_changed_code_version_makes_an_asset_again() -> None:
    library = settled()
    graph = replace(GRAPH, codes={"scene_head": "3"})
    assert [cell for cell, status in plan(graph, library.seen).items() if status.state == State.WANTED] == [Cell("scene_head")]


def test_a_removed_folder_moves_what_is_made_from_all_of_them() -> None:
    library = settled()
    library.change(folders=("a", "b"))
    library.source("folder_set", "ab")
    ran = names(library.wanted())
    assert "auto_ground_truth" in ran
    assert not [name for name in ran if name.startswith(("raw_photos", "annotations"))]


def test_a_folder_that_is_called_otherwise_moves_nothing_that_is_made_from_all_of_them() -> None:
    library = settled()
    moved = {Cell(cell.asset, "z"): made for cell, made in library.seen.made.items() if cell.folder == "a"}
    library.change(folders=("b", "c", "z"), made={**library.seen.made, **moved})
    assert library.wanted() == []


EVENTS = st.sampled_from(["teacher", "listing", "people", "kill", "fail", "cancel", "again", "shut", "open", "forget"])


@settings(max_examples=150)
@given(st.lists(st.tuples(EVENTS, st.integers(0, 40)), max_size=25))
def test_whatever_happens_the_library_comes_home(story: list[tuple[str, int]]) -> None:
    """After any story of failures, kills, changes and gates, once all is well again everything is made from what is there now."""
    library = Library().bring(people=True)
    for event, number in story:
        cells = list(library.plan())
        cell = cells[number % len(cells)]
        wanted = library.wanted()
        match event:
            case "teacher":
                library.source("teacher", f"t{number % 3}")
            case "listing":
                library.source("folder_listing", f"listing {number % 4}", FOLDERS[number % 3])
            case "people":
                library.source("audited_verdicts", f"v{number % 3}")
            case "kill" | "fail" if wanted:
                library.fail(wanted[number % len(wanted)], tries=1 + number % 5)
            case "cancel" if wanted:
                library.fail(wanted[number % len(wanted)], cancelled=True)
            case "again" if wanted:
                library.make(wanted[number % len(wanted)])
            case "shut" if cell in library.seen.made:
                library.change(shut={**library.seen.shut, cell: ("gate",)})
            case "open":
                library.change(shut={})
            case "forget" if cell in library.seen.made:
                library.change(made={one: made for one, made in library.seen.made.items() if one != cell})
            case _:
                pass
    library.change(shut={}, now=NOW + 10 * PAUSES_S[-1])
    library.settle()
    states = {cell: status for cell, status in library.plan().items() if status.state != State.UP_TO_DATE}
    assert not states
    for cell, made in library.seen.made.items():
        if cell.asset in GRAPH.inputs and cell.asset not in GRAPH.once:
            assert made.inputs == library.inputs(cell)
