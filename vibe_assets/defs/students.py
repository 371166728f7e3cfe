"""Labels and vectors -> [students]: a head for each question, and the ones in force."""

import dagster as dg

from vibe_assets.defs.embeddings import image_embeddings
from vibe_assets.defs.history import FOLLOWS, notes_inputs
from vibe_assets.defs.library import photo_groups
from vibe_assets.defs.metadata import counts_table
from vibe_assets.defs.orders import taken_over
from vibe_assets.defs.questions import QUESTIONS, head_name
from vibe_assets.defs.reports import teacher_report
from vibe_assets.defs.resources import Installation
from vibe_assets.defs.truth import audited_ground_truth, auto_ground_truth, named
from vibe_assets.questions import Question
from vibe_assets.stages import students

OWNERS = ["team:students"]
TYPES = {
    "one_of": "Which {name} a photo shows: softmax over the labels of the question.",
    "yes_no": "Which of the labels of {key} hold: one calibrated yes or no each, rows with an unknown one masked.",
    "many_of": "Which of the {key} a photo shows: one calibrated yes or no each, rare labels left out and named.",
}


def head_asset(question: Question) -> dg.AssetsDefinition:
    """The asset that trains the head of one question."""
    kind = question.head

    @dg.asset(
        name=head_name(kind),
        deps=[auto_ground_truth, teacher_report, image_embeddings, photo_groups, audited_ground_truth],
        group_name="students",
        kinds={"pytorch", "safetensors"},
        owners=OWNERS,
        code_version="4",
        tags=FOLLOWS,
        description=f"{TYPES[question.learnt_as].format(name=kind, key=question.key)} "
        "Trains once the teacher's report has passed its gate. "
        "Too little to learn is a result: "
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
                "left out (too few positives)": counts_table("label", named(dict(card.left_out), platform.questions)),
                "file": dg.MetadataValue.path(str(trained.path)),
                "left open": "; ".join(f"{platform.questions.name(label)}: {why}" for label, why in card.open.items()) or "no label",
                "new folders": str(card.carry_over.get("note", "")),
                "test split": dg.MetadataValue.md(students.scores_markdown(trained)),
            },
        )

    return head


HEADS = {question.head: head_asset(question) for question in QUESTIONS if question.trained}


@dg.asset(
    deps=[*HEADS.values(), audited_ground_truth],
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


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [*HEADS.values(), deployed_heads]
