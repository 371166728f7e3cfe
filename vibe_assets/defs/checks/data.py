"""Gates of photos, answers, labels and vectors."""

from vibe_assets.defs.checks.gate import folder_check, gate_check
from vibe_assets.defs.embeddings import image_embeddings
from vibe_assets.defs.library import photo_groups, raw_photos
from vibe_assets.defs.teacher import annotations
from vibe_assets.defs.truth import audit_sample, audited_ground_truth, auto_ground_truth
from vibe_assets.stages import gates

data_checks = [
    folder_check(raw_photos, "photos_listed_once", gates.photos_listed_once),
    folder_check(raw_photos, "photos_readable", gates.photos_readable, blocking=False),
    folder_check(raw_photos, "nothing_rejected", gates.nothing_rejected, blocking=False),
    gate_check(photo_groups, "library_readable", gates.library_readable),
    gate_check(photo_groups, "no_group_across_splits", gates.groups_sound),
    folder_check(annotations, "folder_annotated", gates.folder_annotated, blocking=False),
    folder_check(annotations, "from_current_teacher", gates.from_current_teacher),
    gate_check(auto_ground_truth, "library_annotated", gates.library_annotated),
    gate_check(auto_ground_truth, "one_teacher_only", gates.one_teacher_only),
    gate_check(auto_ground_truth, "known_labels_only", gates.known_labels_only),
    gate_check(auto_ground_truth, "labels_not_drifted", gates.labels_not_drifted, blocking=False),
    gate_check(audit_sample, "sample_sound", gates.sample_sound),
    gate_check(audited_ground_truth, "audited_file_intact", gates.audited_file_intact),
    folder_check(image_embeddings, "vectors_sound", gates.vectors_sound),
]
