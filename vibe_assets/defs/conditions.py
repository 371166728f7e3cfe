"""When an asset is rebuilt by itself, in words that read like the sentence they implement."""

import functools
import operator
from collections.abc import Sequence

import dagster as dg
from dagster import AutomationCondition as A

# `&` and `|` inside .since() drop the moment of the event, so that an update which lands in the tick after a request is lost
# (dagster issue 33587). The booleans therefore stay outside of .since().
dep_updated = A.any_deps_match(A.newly_updated()).since(A.newly_requested()).with_label("an input was updated")
recoded = A.code_version_changed().since(A.newly_requested()).with_label("its code version changed")

# Not since_last_handled(): that counts the very first look as handled, and a library that was there before it would never be built.
appeared = (A.newly_missing().since(A.newly_requested()) & A.missing()).with_label("it does not exist yet")

# all_deps_blocking_checks_passed() opens when any upstream partition passed; this one wants all of them.
gates_open = (~A.any_deps_match(A.any_checks_match(~A.check_passed(), blocking_only=True))).with_label("every gate upstream is open")


def quiet(ancestors: Sequence[str]) -> dg.AutomationCondition:
    """Nothing is on its way: no input missing, and none of the assets upstream running or about to run.

    Looking at all of them, not at the inputs alone, is what makes one change lead to one rebuild where branches meet again: the
    heads wait for the teacher's report although the labels they train on are ready.
    """
    moving = A.in_progress() | A.will_be_requested()
    elsewhere = [~A.asset_matches(dg.AssetKey(name), moving) for name in ancestors]
    return functools.reduce(operator.and_, elsewhere, ~A.any_deps_missing() & ~A.in_progress())


def follow(*ancestors: str) -> dg.AutomationCondition:
    """Rebuild when an input moved, once everything upstream has settled and every gate is open.

    `ancestors`: every asset upstream that is made here (a test compares the list with the graph).
    """
    return ((appeared | dep_updated | recoded) & quiet(ancestors) & gates_open).with_label("follow the inputs")


def once(*ancestors: str) -> dg.AutomationCondition:
    """Build when it does not exist yet, then leave it alone: what people work on must not change under their hands."""
    return (appeared & quiet(ancestors) & gates_open).with_label("build once")


# -- the spine, from photos to reports: what lies upstream of what --------------------------------------------------------
PHOTOS = ("raw_photos",)
LABELS = (*PHOTOS, "annotations")
SAMPLE = (*LABELS, "auto_ground_truth", "photo_groups")
AUDIT = (*SAMPLE, "audit_sample")
TEACHER_REPORT = (*AUDIT, "audited_ground_truth")
HEADS = (*TEACHER_REPORT, "teacher_report", "image_embeddings")
DEPLOYED = (*HEADS, "scene_head", "attribute_head", "object_head")
PREDICTIONS = (*DEPLOYED, "deployed_heads", "prompt_embeddings")
STUDENT_REPORT = (*PREDICTIONS, "predictions")
WAREHOUSE = (*STUDENT_REPORT, "student_report")
