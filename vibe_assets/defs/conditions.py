"""When an asset is rebuilt by itself, in words that read like the sentence they implement."""

import functools
import operator

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
wanted = appeared | dep_updated | recoded
judged = A.any_checks_match(A.in_progress(), blocking_only=True).with_label("its gates are at work")
# A tick's events end where it began, but whether a run is over is asked while it goes on: what ended in between counts as news only in
# the next tick. A rebuild now would be followed by another one then. A short run may begin and end between two looks: it was asked for in
# the last tick, and nothing came of it yet.
ended = (~A.run_in_progress()).newly_true() | A.newly_requested()
unseen = (ended & ~A.newly_updated() & ~A.initial_evaluation()).with_label("ended during this tick")
BUILT_ONCE = ("audit_sample",)
PARTITIONED = ("raw_photos", "annotations", "image_embeddings", "predictions")

# The graph as the conditions know it: what each asset is made from. A test compares it with the assets' own deps.
INPUTS: dict[str, tuple[str, ...]] = {
    "raw_photos": ("folder_listing",),
    "photo_groups": ("raw_photos", "folder_set"),
    "annotations": ("raw_photos", "teacher"),
    "auto_ground_truth": ("annotations", "folder_set", "label_mapping"),
    "audit_sample": ("auto_ground_truth", "photo_groups"),
    "audited_ground_truth": ("audited_verdicts", "audit_sample"),
    "teacher_report": ("auto_ground_truth", "audited_ground_truth"),
    "image_embeddings": ("raw_photos", "encoder"),
    "prompt_embeddings": ("encoder", "label_mapping"),
    **dict.fromkeys(
        ("scene_head", "attribute_head", "object_head"),
        ("auto_ground_truth", "teacher_report", "image_embeddings", "photo_groups", "audited_ground_truth"),
    ),
    "deployed_heads": ("scene_head", "attribute_head", "object_head", "audited_ground_truth"),
    "predictions": ("image_embeddings", "deployed_heads", "prompt_embeddings", "auto_ground_truth"),
    "student_report": ("predictions", "audited_ground_truth", "auto_ground_truth"),
    "published_warehouse": ("predictions", "auto_ground_truth", "audited_ground_truth", "teacher_report", "student_report"),
    "drift_report": ("published_warehouse",),
}


def ancestors(name: str) -> set[str]:
    """Every asset upstream that is made here, sources left out."""
    inputs = {parent for parent in INPUTS[name] if parent in INPUTS}
    return inputs.union(*(ancestors(parent) for parent in inputs))


def quiet(name: str) -> dg.AutomationCondition:
    """Nothing is on its way: no input missing, and none of the assets upstream running, being judged or about to run.

    Looking at all of them, not at the inputs alone, is what makes one change lead to one rebuild where branches meet again: the
    heads wait for the teacher's report although the labels they train on are ready.
    """
    moving = [A.asset_matches(dg.AssetKey(asset), on_its_way(asset, seen_from=name)) for asset in sorted(ancestors(name))]
    return functools.reduce(operator.and_, [~one for one in moving], ~A.any_deps_missing() & ~A.in_progress())


def on_its_way(asset: str, *, seen_from: str) -> dg.AutomationCondition:
    """The asset runs, is judged by its gates, has ended too late for this tick to know what of, or is about to run.

    "About to run" is asked as a state, not with will_be_requested(), where one of the two has partitions and the other has none:
    between those Dagster takes it for false. (Everywhere would be right too, and cost three times as much in every tick.)
    """
    moving = A.in_progress() | judged | unseen
    if (asset in PARTITIONED) == (seen_from in PARTITIONED):
        return moving | A.will_be_requested()
    return moving | ((appeared if asset in BUILT_ONCE else wanted) & gates_open)


def follow(name: str) -> dg.AutomationCondition:
    """Rebuild the asset of this name when an input moved, once everything upstream has settled and every gate is open."""
    return (wanted & quiet(name) & gates_open).with_label("follow the inputs")


def once(name: str) -> dg.AutomationCondition:
    """Build it when it does not exist yet, then leave it alone: what people work on must not change under their hands."""
    return (appeared & quiet(name) & gates_open).with_label("build once")
