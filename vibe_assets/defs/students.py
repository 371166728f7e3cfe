"""Labels and vectors -> [students]: three heads, and the ones in force."""

import dagster as dg

from vibe_assets.defs.embeddings import image_embeddings
from vibe_assets.defs.history import FOLLOWS, notes_inputs
from vibe_assets.defs.library import photo_groups
from vibe_assets.defs.metadata import counts_table
from vibe_assets.defs.orders import taken_over
from vibe_assets.defs.reports import teacher_report
from vibe_assets.defs.resources import Installation
from vibe_assets.defs.truth import audited_ground_truth, auto_ground_truth
from vibe_assets.stages import students

OWNERS = ["team:students"]
HEADS = {
    "scene": "Which of the scenes a photo shows: softmax over the taxonomy's scenes.",
    "attribute": "Which attributes a photo has: one calibrated yes/no each, rows with an unknown attribute masked.",
    "object": "Which objects a photo shows: one calibrated yes/no each, rare objects left out and named.",
}


def head_asset(kind: str) -> dg.AssetsDefinition:
    """The asset that trains one kind of head."""

    @dg.asset(
        name=f"{kind}_head",
        deps=[auto_ground_truth, teacher_report, image_embeddings, photo_groups, audited_ground_truth],
        group_name="students",
        kinds={"pytorch", "safetensors"},
        owners=OWNERS,
        code_version="4",
        tags=FOLLOWS,
        description=f"{HEADS[kind]} Trains once the teacher's report has passed its gate. Too little to learn is a result: "
        "there is no head then, and the materialisation says why.",
    )
    @notes_inputs
    def head(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
        platform = installation.open(context)
        trained = students.standing_head(platform, kind) if taken_over(context) else students.train_student(platform, kind)
        if isinstance(trained, students.Untrained):
            stays = students.deployments(platform).get(kind, "none")
            return dg.MaterializeResult(
                data_version=dg.DataVersion(trained.version),
                metadata={"result": f"{students.NOTHING}{trained.reason}", "in force": stays},
            )
        card = trained.head.card
        return dg.MaterializeResult(
            data_version=dg.DataVersion(trained.version),
            metadata={
                "version": trained.version,
                "labels": len(card.labels),
                "photos in training": trained.n_train,
                "seconds": round(trained.seconds, 2),
                "left out (too few positives)": counts_table("label", dict(card.left_out)),
                "file": dg.MetadataValue.path(str(trained.path)),
                "left open": "; ".join(f"{label}: {why}" for label, why in card.open.items()) or "no label",
                "new folders": str(card.carry_over.get("note", "")),
                "test split": dg.MetadataValue.md(students.scores_markdown(trained)),
            },
        )

    return head


scene_head, attribute_head, object_head = (head_asset(kind) for kind in HEADS)


@dg.asset(
    deps=[scene_head, attribute_head, object_head, audited_ground_truth],
    group_name="students",
    kinds={"python", "json"},
    owners=OWNERS,
    code_version="3",
    tags=FOLLOWS,
    description="The heads in force. A new head of use on the test split replaces the deployed one if it loses little to it and "
    "to the best ever deployed on the audited test photos (paired, weighted); a kind without a head says why. The history is kept and "
    "`vibe heads rollback` returns to the one before.",
)
@notes_inputs
def deployed_heads(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Decide, head by head, what is deployed."""
    platform = installation.open(context)
    decisions = students.standing_deployments(platform) if taken_over(context) else students.deploy_students(platform)
    lines = ["| head | in force | new | decision |", "|---|---|---|---|"]
    lines += [f"| {kind} | {d.in_force or 'none'} | {d.candidate or 'none'} | {d.reason} |" for kind, d in decisions.items()]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(students.deployed_version(platform)),
        metadata={"decisions": dg.MetadataValue.md("\n".join(lines)), "deployed now": sum(d.deployed for d in decisions.values())},
    )


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [scene_head, attribute_head, object_head, deployed_heads]
