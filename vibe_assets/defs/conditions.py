"""When an asset is rebuilt by itself, in words that read like the sentence they implement."""

import dagster as dg
from dagster import AutomationCondition as A

# `&` and `|` inside .since() drop the moment of the event, so that an update which lands in the tick after a request is lost
# (dagster issue 33587). The booleans therefore stay outside of .since().
dep_updated = A.any_deps_match(A.newly_updated()).since(A.newly_requested()).with_label("an input was updated")
appeared = A.newly_missing().since_last_handled().with_label("it is new")
recoded = A.code_version_changed().since(A.newly_requested()).with_label("its code version changed")

# all_deps_blocking_checks_passed() opens when any upstream partition passed; this one wants all of them.
gates_open = (~A.any_deps_match(A.any_checks_match(~A.check_passed(), blocking_only=True))).with_label("every gate upstream is open")

UPSTREAM_DEPTH = 6  # the longest way from a folder to a report


def upstream(what: dg.AutomationCondition, depth: int) -> dg.AutomationCondition:
    """True where `what` holds for an input, or for an input of an input, `depth` steps up."""
    reached = A.any_deps_match(what)
    for _ in range(depth - 1):
        reached = A.any_deps_match(what | reached)
    return reached


def quiet(depth: int) -> dg.AutomationCondition:
    """Nothing is on its way: no input missing, and nothing upstream running or about to run.

    Looking further than one step up is what makes one change lead to one rebuild where branches meet again: the heads wait
    for the teacher's report although the labels they train on are ready.
    """
    busy = A.in_progress() | A.will_be_requested()
    return (~A.any_deps_missing() & ~A.in_progress() & ~upstream(busy, depth)).with_label("nothing upstream is moving")


def follow(depth: int = UPSTREAM_DEPTH) -> dg.AutomationCondition:
    """Rebuild when an input moved, once everything upstream has settled and every gate is open."""
    return ((appeared | dep_updated | recoded) & quiet(depth) & gates_open).with_label("follow the inputs")


def once(depth: int = UPSTREAM_DEPTH) -> dg.AutomationCondition:
    """Build when it does not exist yet, then leave it alone: what people work on must not change under their hands."""
    return (appeared & quiet(depth) & gates_open).with_label("build once")
