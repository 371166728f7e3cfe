"""The verdict log of an installation -> what the audit says of itself, as a part of the teacher's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibe_assets.records import AUDIT_SAMPLE, AUTO_GROUND_TRUTH
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import groups_of
from vibe_assets.stages.verdicts import counted_verdicts

if TYPE_CHECKING:
    from vibe_assets.audit.figures import AuditFigures


def figures_of_audit(platform: Platform) -> AuditFigures | None:
    """Agreement, anchoring and pace over the verdicts that count on photos of the library as it is now; None while nobody labelled one
    outside of files.
    """
    from vibe_assets.audit.figures import audit_figures
    from vibe_assets.audit.judgements import judgement_rows

    judgements = judgement_rows(counted_verdicts(platform), platform.questions).join(accepted_photos(platform), on="image_id", how="semi")
    if judgements.is_empty():
        return None
    figures = audit_figures(
        judgements,
        platform.lake.read_live(AUTO_GROUND_TRUTH),
        platform.questions,
        groups=groups_of(platform),
        sample=platform.lake.read_live(AUDIT_SAMPLE)["image_id"].to_list(),
    )
    return figures if figures.people else None
