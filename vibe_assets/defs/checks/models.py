"""Gates of teacher, heads, deployment and predictions."""

from vibe_assets.defs.checks.gate import folder_check, gate_check
from vibe_assets.defs.reports import teacher_report
from vibe_assets.defs.runtime import predictions
from vibe_assets.defs.students import HEADS, deployed_heads
from vibe_assets.stages import gates, model_gates

model_checks = [
    gate_check(teacher_report, "teacher_agrees_with_people", model_gates.teacher_agrees),
    *(gate_check(head, "beats_majority", model_gates.beats_majority(kind)) for kind, head in HEADS.items()),
    *(gate_check(head, "not_worse_than_deployed", model_gates.not_worse_than_deployed(kind)) for kind, head in HEADS.items()),
    *(gate_check(head, "calibrated", model_gates.calibrated(kind), blocking=False) for kind, head in HEADS.items()),
    gate_check(deployed_heads, "heads_fit", model_gates.heads_fit),
    folder_check(predictions, "predictions_sound", gates.predictions_sound),
]
