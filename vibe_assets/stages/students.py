"""Labels and vectors -> trained heads, the judgement of each against the one in force, and what is deployed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.lake import write_text
from vibe_assets.questions import ManyOf, OneOf, Question, YesNo
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, IMAGE_EMBEDDINGS, PHOTO_GROUPS, fingerprint
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.truth import audited_photos, groups_of
from vibe_assets.strangers import json_value

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from vibe_assets.evaluate.compare import Comparison, Decision
    from vibe_assets.evaluate.labels import Evaluation
    from vibe_assets.heads.deployments import Deployments
    from vibe_assets.heads.models import TrainedHead
    from vibe_assets.questions import Questions

CODE_VERSION = "3"  # of the training, goes into every card
DECISIONS = "decisions.json"  # beside the heads: what was said of those that were trained last
NOTHING = "nothing to train: "  # what KIND.latest begins with when the last training found too little; otherwise it is a version


@dataclass(frozen=True)
class Trained:
    """A head that was just trained and stored."""

    head: TrainedHead
    version: str
    path: Path
    seconds: float

    @property
    def n_train(self) -> int:
        return self.head.card.n_train


@dataclass(frozen=True)
class Untrained:
    """There is no head of a kind to deploy, which is a result: why, in words, and the version of this result."""

    reason: str
    version: str = "none"


# -- training ----------------------------------------------------------------------------------------------------------
def train_student(platform: Platform, kind: str, *, now: datetime | None = None) -> Trained | Untrained:
    """Train one kind of head on the library's labels and vectors, and store it; Untrained where they are too few.

    Raises StageError when the inputs do not fit each other.
    """
    from vibe_assets.heads.dataset import head_labels, training_set
    from vibe_assets.heads.models import TooLittleToLearn
    from vibe_assets.heads.store import save_head
    from vibe_assets.heads.train import train_head

    started = time.monotonic()
    lake, question = platform.lake, question_of(platform, kind)
    truth, embedded = training_truth(platform), embedded_photos(platform)
    if truth.is_empty():
        return _note_untrained(platform, kind, "the teacher has labelled no photo yet: `vibe run` lets it")
    if embedded.is_empty():
        return _note_untrained(platform, kind, "no photo has a vector yet: `vibe run` makes them")
    groups = lake.read(PHOTO_GROUPS).join(photo_sources(platform), on="image_id", how="inner")
    data = training_set(question, embedded, truth, groups, read=partial(read_vectors, platform))
    tables = (AUTO_GROUND_TRUTH, AUDITED_GROUND_TRUTH, IMAGE_EMBEDDINGS, PHOTO_GROUPS)
    provenance = {
        "encoder": embedded["encoder"][0],
        "teacher": one_teacher(truth),
        "mapping": truth["mapping"][0],
        "data_versions": {table.name: lake.version(table) for table in tables},
        "code_version": CODE_VERSION,
        "created_at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
    }
    try:
        head = train_head(
            kind, data, labels=head_labels(question), settings=platform.settings.students, provenance=provenance, qtype=question.learnt_as
        )
    except TooLittleToLearn as error:
        return _note_untrained(platform, kind, str(error), **{name: str(provenance[name]) for name in ("encoder", "teacher", "mapping")})
    heads_dir = platform.settings.heads_dir
    version = save_head(head, heads_dir)
    write_text(heads_dir / f"{kind}.latest", version)
    return Trained(head, version, heads_dir / version, time.monotonic() - started)


def question_of(platform: Platform, kind: str) -> Question:
    """The question that a kind of head answers. Raises StageError for a kind that the label file does not have."""
    if (question := platform.questions.of_head(kind)) is None:
        raise StageError(f"no question of the label file has a head {kind!r}; there are {', '.join(platform.questions.heads)}")
    return question


def _note_untrained(platform: Platform, kind: str, reason: str, **inputs: str) -> Untrained:
    """Keep the result where the next stages look for the head."""
    platform.settings.heads_dir.mkdir(parents=True, exist_ok=True)
    write_text(platform.settings.heads_dir / f"{kind}.latest", NOTHING + reason)
    return Untrained(reason, f"none-{fingerprint({'reason': reason, **inputs})}")


def photo_sources(platform: Platform) -> pl.DataFrame:
    """image_id and source of the live photos: the folder they lie in; in a library of one folder the camera, of one camera the day."""
    import polars as pl

    photos = accepted_photos(platform).unique("image_id", keep="first", maintain_order=True)
    told = photos.select(
        "image_id",
        "camera",
        folder=pl.col("rel_path").str.extract(r"^(.*)/[^/]*$", 1),
        day=pl.col("taken_at").dt.date().cast(pl.String),
    )
    by = next((name for name in ("folder", "camera", "day") if told[name].n_unique() > 1), "folder")
    return told.select("image_id", source=pl.col(by).fill_null("unknown"))


def embedded_photos(platform: Platform) -> pl.DataFrame:
    """image_id and encoder of the live photos that have a vector, maybe none. Raises StageError for vectors of several encoders."""
    import polars as pl

    rows = platform.lake.read_live(IMAGE_EMBEDDINGS, columns=["image_id", "encoder", "reason"]).filter(pl.col("reason").is_null())
    if rows.height:
        _one_encoder(rows)
    return rows.select("image_id", "encoder").unique("image_id", keep="first", maintain_order=True)


def read_vectors(platform: Platform, image_ids: pl.Series) -> NDArray[np.float32]:
    """Vectors (n, d) of some live photos, in their order: read a few thousand at a time into the one array that is returned."""
    import numpy as np
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

    from vibe_assets.heads.dataset import vectors

    wanted, found = image_ids.to_arrow().cast(pa.string()), np.zeros(len(image_ids), bool)
    x = np.empty((len(image_ids), 0), np.float32)
    for rows in platform.lake.batches(IMAGE_EMBEDDINGS, ["image_id", "embedding"], folder_keys=platform.lake.live_folders()):
        places = pc.index_in(rows["image_id"].to_arrow().cast(pa.string()), value_set=wanted)
        rows = rows.with_columns(pl.Series("place", places.fill_null(-1).to_numpy())).filter(pl.col("place") >= 0)
        rows = rows.filter(pl.col("embedding").is_not_null())
        if rows.is_empty():
            continue
        part, at = vectors(rows["embedding"]), rows["place"].to_numpy()
        if not found.any():
            x = np.empty((len(image_ids), part.shape[1]), np.float32)
        if part.shape[1] != x.shape[1]:
            raise StageError(
                f"vectors of {x.shape[1]} and of {part.shape[1]} numbers in image_embeddings: embed the library again with one encoder"
            )
        x[at], found[at] = part, True
    if not found.all():
        raise StageError(f"{int((~found).sum())} photos have no vector in image_embeddings: `vibe run image_embeddings`")
    return x


def library_vectors(platform: Platform) -> pl.DataFrame:
    """Embeddings of the live library, one row per photo. Raises StageError for none, or for vectors of several encoders."""
    import polars as pl

    rows = (
        platform.lake.read_live(IMAGE_EMBEDDINGS).filter(pl.col("reason").is_null()).unique("image_id", keep="first", maintain_order=True)
    )
    _one_encoder(rows)
    return rows


def _one_encoder(rows: pl.DataFrame) -> None:
    encoders = rows["encoder"].unique().to_list()
    if len(encoders) != 1:
        named = ", ".join(sorted(encoders)) or "none"
        raise StageError(f"expected vectors of one encoder, got {len(encoders)} ({named}): `vibe run image_embeddings`")


def training_truth(platform: Platform) -> pl.DataFrame:
    """Labels to learn, maybe none: the teacher's; with students.train_on = "auto+audited" people's answers stand in for the teacher's."""
    truth = platform.lake.read_live(AUTO_GROUND_TRUTH)
    if truth.is_empty():
        return truth
    one_teacher(truth)
    if platform.settings.students.train_on == "auto":
        return truth
    audited = platform.lake.read_live(AUDITED_GROUND_TRUTH).select("image_id", *platform.questions.columns)
    return truth.update(audited, on="image_id", how="left")


def one_teacher(truth: pl.DataFrame) -> str:
    """The teacher all labels come from. Raises StageError for a mixture: students never train on one."""
    teachers = sorted(truth["teacher"].unique())
    if len(teachers) != 1:
        raise StageError(
            f"labels of {len(teachers)} teachers ({', '.join(teachers)}): annotate every folder with the current teacher, then run again"
        )
    return str(teachers[0])


def latest_head(platform: Platform, kind: str) -> TrainedHead | Untrained:
    """What the last training of a kind gave. Raises HeadError when the head's files are gone or damaged."""
    from vibe_assets.heads.store import load_head

    pointer = platform.settings.heads_dir / f"{kind}.latest"
    if not pointer.is_file():
        return Untrained(f"no {kind} head was trained yet: `vibe train`, or `vibe run`")
    found = pointer.read_text(encoding="utf-8").strip()
    return Untrained(found.removeprefix(NOTHING)) if found.startswith(NOTHING) else load_head(platform.settings.heads_dir / found)


# -- judgement ---------------------------------------------------------------------------------------------------------
def label_rows(head: TrainedHead, vectors: pl.DataFrame, questions: Questions) -> pl.DataFrame:
    """What a head says without abstaining, as label rows: the best label (one_of), true at 0.5 (yes_no), labels at their thresholds.

    Two heads are compared on this, so that a stricter threshold is not mistaken for a worse head. Labels that the runtime
    derives from another question, and those that the head leaves open, stay null: a head is not judged on what it is never asked.
    """
    import numpy as np
    import polars as pl

    from vibe_assets.heads.dataset import vectors as matrix

    p = head.probabilities(matrix(vectors["embedding"]))  # (n, labels)
    types, question = AUDITED_GROUND_TRUTH.of(questions).polars_schema(), questions.of_head(head.kind)
    columns: dict[str, pl.Series] = {"image_id": vectors["image_id"]}
    columns |= {name: pl.Series([None] * vectors.height, dtype=types[name]) for name in questions.columns}
    labels = np.array(head.labels)
    if isinstance(question, OneOf):
        columns[question.key] = pl.Series(labels[p.argmax(axis=1)])
        columns[question.fields[0].confidence] = pl.Series(p.max(axis=1))
    elif isinstance(question, YesNo):
        for field in question.fields:
            if field.name in answered(head, questions):
                said = p[:, head.labels.index(field.name)]
                columns |= {field.name: pl.Series(said >= 0.5), field.confidence: pl.Series(said)}
    elif question is not None:
        chosen = (p >= head.thresholds()) & np.array([label not in head.card.open for label in head.labels])
        ranked = [[labels[at] for at in np.argsort(-row) if keep[at]] for row, keep in zip(p, chosen, strict=True)]
        columns[question.key] = pl.Series(ranked, dtype=pl.List(pl.String))
    return pl.DataFrame(columns)


def test_rows(platform: Platform, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of photos on which students may be judged: see `untrained_photos`."""
    return rows.join(untrained_photos(platform.lake.read(PHOTO_GROUPS)), on="image_id", how="semi", maintain_order="left")


def untrained_photos(groups: pl.DataFrame) -> pl.DataFrame:
    """image_id of the photos of the test split without a photo of another split in their group (`groups`: PHOTO_GROUPS rows).

    Neither they nor a burst mate of theirs trained, calibrated or chose a head.
    """
    import polars as pl

    mixed = groups.filter(pl.col("split").is_in(["train", "val"])).select("group_id")
    return groups.filter(pl.col("split") == "test").join(mixed, on="group_id", how="anti").select("image_id")


def judge_head(platform: Platform, head: TrainedHead, truth_kind: str) -> Evaluation:
    """A head on the test split, against the teacher's labels ("auto") or people's ("human")."""
    from vibe_assets.evaluate.labels import evaluate_labels

    truth = test_rows(platform, platform.lake.read_live(AUTO_GROUND_TRUTH if truth_kind == "auto" else AUDITED_GROUND_TRUTH))
    said = label_rows(head, library_vectors(platform), platform.questions)
    return evaluate_labels(
        said,
        truth,
        groups=groups_of(platform),
        questions=platform.questions,
        subject="student",
        truth_kind=truth_kind,
        kinds=(head.kind,),
        resamples=200,  # gates and headlines need the share alone, whose interval is not bootstrapped
    )


def deployments(platform: Platform) -> Mapping[str, str]:
    """kind -> version in force, of the questions of the label file."""
    from vibe_assets.heads.deployments import Deployments

    current = Deployments(platform.settings.heads_dir).current()
    return {kind: version for kind, version in current.items() if kind in platform.questions.heads}


def deployed_version(platform: Platform) -> str:
    """What is in force as one version: the heads of every kind, "none" where there is none."""
    current = deployments(platform)
    return "+".join(current.get(kind, "none") for kind in platform.questions.heads)


def deployed(platform: Platform) -> dict[str, TrainedHead]:
    """The heads in force, by kind."""
    from vibe_assets.heads.store import load_head

    return {kind: load_head(platform.settings.heads_dir / version) for kind, version in deployments(platform).items()}


def headless(platform: Platform) -> dict[str, str]:
    """Kind -> why no head of it is in force, or not the one that was trained last, in words; only of kinds that were trained."""
    from vibe_assets.heads.deployments import Deployments

    folder, current = platform.settings.heads_dir, deployments(platform)
    decided, log, found = _decisions(folder), Deployments(folder).history(), {}
    for kind in platform.questions.heads:
        pointer = folder / f"{kind}.latest"
        if not pointer.is_file() or (latest := pointer.read_text(encoding="utf-8").strip()) == current.get(kind):
            continue
        if latest.startswith(NOTHING):
            found[kind] = latest
        elif latest in {entry.version for entry in log if entry.kind == kind}:
            last = [entry for entry in log if entry.kind == kind][-1]
            found[kind] = f"{latest} is out of force: {last.action}, {last.reason}"
        else:
            found[kind] = f"{latest} is not in force: {decided.get(latest) or 'nothing was decided about it yet'}"
    return found


def _decisions(folder: Path) -> dict[str, str]:
    """Version that was trained -> what was said when its deployment was last decided."""
    try:
        found = json_value((folder / DECISIONS).read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: said for name, said in found.items() if isinstance(said, str)} if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Rivals:
    """A new head against earlier ones, pairwise on the audited test photos as they are now; `note` says whom it was not compared with.

    Both None: there is nothing to compare with. `best` alone is None where that is the deployed head, or no other can be scored.
    """

    deployed: Comparison | None = None
    best: Comparison | None = None
    best_version: str = ""
    note: str = ""

    def decide(self, max_loss: float) -> Decision:
        """Whether the head may be deployed: it loses at most `max_loss` to either."""
        from vibe_assets.evaluate.compare import may_deploy

        found = may_deploy(self.deployed, max_loss)
        if not found.allowed or self.deployed is None:
            return replace(found, reason=self.note or found.reason)
        if self.best is not None and not (best := may_deploy(self.best, max_loss)).allowed:
            return replace(best, reason=f"against {self.best_version}, the best ever deployed: {best.reason}")
        return replace(found, reason="; ".join(filter(None, (found.reason, self.note))))


def compare_with_deployed(platform: Platform, new: TrainedHead) -> Rivals:
    """A head against the one in force and against the best ever deployed: step by step, many small losses add up unseen.

    The best is found on the same photos (`best_of`), among heads that read these vectors and were not rolled back. Attributes and objects
    count where all of them answer: what a head leaves open, because nobody showed that it learnt it, is neither right nor wrong.
    """
    import numpy as np
    import polars as pl

    from vibe_assets.evaluate.align import align
    from vibe_assets.evaluate.compare import compare_paired, photo_scores
    from vibe_assets.evaluate.paired import best_of

    old = deployed(platform).get(new.kind)
    if old is None:
        return Rivals(note="nothing was deployed before")
    if old.version == new.version:
        return Rivals(note="the same head is in force already")
    if old.card.encoder != new.card.encoder:
        return Rivals(note="the deployed head reads vectors of another encoder and cannot be used any more")
    truth, groups = test_rows(platform, platform.lake.read_live(AUDITED_GROUND_TRUTH)), groups_of(platform)
    questions = platform.questions
    teacher = test_rows(platform, platform.lake.read_live(AUTO_GROUND_TRUTH))
    drawn_from = audited_photos(platform)  # the teacher's labels of photos that came later say nothing of those that people checked
    teacher = teacher.filter(pl.col("image_id").is_in(drawn_from or []))
    vectors = library_vectors(platform).join(pl.concat([truth.select("image_id"), teacher.select("image_id")]), on="image_id", how="semi")

    def against(other: TrainedHead) -> Comparison:
        rows = (label_rows(other, vectors, questions), label_rows(new, vectors, questions), truth, teacher)
        *three, others = _where_all_answer([other, new], rows, questions)
        return compare_paired(*three, groups=groups, what=new.kind, others=others, questions=questions)

    if new.qtype != "one_of" and not answered(old, questions) & answered(new, questions):
        return Rivals(note="the deployed head answers none of its labels")
    found = Rivals(against(old))
    earlier, unread = _deployed_before(platform, new)
    if unread:
        found = replace(found, note=f"not compared with {unread} earlier heads, which are gone or read vectors of another encoder")
    if truth.is_empty() or len(earlier) < 2:
        return found
    *said, known_truth = _where_all_answer([*earlier, new], [*(label_rows(head, vectors, questions) for head in earlier), truth], questions)
    sides = [align(rows, known_truth, groups=groups, questions=questions) for rows in said]
    scores = [photo_scores(side, new.kind) for side in sides]
    known = np.isfinite(scores[0])
    if not known.any():
        return found
    at = best_of([score[known] for score in scores], weights=sides[0].weights[known], groups=sides[0].groups[known])
    if (best := earlier[at]).version == old.version:
        return found
    return replace(found, best=against(best), best_version=best.version)


def answered(head: TrainedHead, questions: Questions) -> frozenset[str]:
    """The labels that a head answers: not those it leaves open, nor those that follow from another question."""
    return frozenset(label for label in head.labels if label not in head.card.open and label not in questions.follows)


def _where_all_answer(heads: Sequence[TrainedHead], tables: Sequence[pl.DataFrame], questions: Questions) -> list[pl.DataFrame]:
    """Label rows without what one of the heads does not answer; a question with one label stays as it is."""
    import polars as pl

    question, labels = questions.of_head(heads[0].kind), frozenset.intersection(*(answered(head, questions) for head in heads))
    if isinstance(question, ManyOf):
        return [rows.with_columns(pl.col(question.key).list.filter(pl.element().is_in(sorted(labels)))) for rows in tables]
    if not isinstance(question, YesNo):
        return list(tables)
    left_out = [field.name for field in question.fields if field.name not in labels]
    return [rows.with_columns(pl.lit(None, pl.Boolean).alias(name) for name in left_out) for rows in tables]


def _deployed_before(platform: Platform, new: TrainedHead) -> tuple[list[TrainedHead], int]:
    """Heads of this kind that were ever deployed and not rolled back, in order, without the new one; and how many cannot be scored."""
    from vibe_assets.heads.deployments import Deployments
    from vibe_assets.heads.models import HeadError
    from vibe_assets.heads.store import load_head

    log = Deployments(platform.settings.heads_dir)
    left_out = {*log.withdrawn(new.kind), new.version, ""}
    versions = [version for version in dict.fromkeys(entry.version for entry in log.history(new.kind)) if version not in left_out]
    heads = []
    for version in versions:
        with suppress(HeadError):
            head = load_head(log.heads_dir / version)
            heads += [head] if head.card.encoder == new.card.encoder else []
    return heads, len(versions) - len(heads)


@dataclass(frozen=True)
class Deployment:
    """What was decided for one kind of head. `candidate` and `in_force` are versions, "" where there is none."""

    candidate: str
    in_force: str  # after the decision
    deployed: bool
    reason: str


def deploy_students(platform: Platform, *, now: datetime | None = None) -> dict[str, Deployment]:
    """Deploy every latest head that is shown to be of use and to lose little against the one in force and the best ever deployed.

    A kind without a head keeps what is in force. What is in force and reads vectors that the library has no more is taken out of force.
    """
    from vibe_assets.heads.deployments import Deployments

    log = Deployments(platform.settings.heads_dir)
    at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    decisions = {}
    for kind in platform.questions.heads:
        decision = _decide(platform, kind, log)
        if decision.deployed:
            log.deploy(kind, decision.in_force, reason=decision.reason, at=at, by=platform.run_id)
        elif decision.in_force and (foreign := reads_others(platform, deployed(platform)[kind])):
            log.withdraw(kind, reason=foreign, at=at, by=platform.run_id)
            decision = replace(decision, in_force="", reason=f"{decision.reason}; {foreign}")
        decisions[kind] = decision
    log.heads_dir.mkdir(parents=True, exist_ok=True)
    write_text(log.heads_dir / DECISIONS, json.dumps({one.candidate: one.reason for one in decisions.values() if one.candidate}, indent=2))
    return decisions


def _decide(platform: Platform, kind: str, log: Deployments) -> Deployment:
    """What is to be in force, from the gates of the head that was trained last; nothing is written."""
    from vibe_assets.stages.model_gates import of_use

    current = log.current().get(kind, "")
    stays = f"; {current} stays in force" if current else ""
    head = latest_head(platform, kind)
    if isinstance(head, Untrained):
        return Deployment("", current, False, f"{head.reason}{stays}")
    if head.version == current:
        return Deployment(current, current, False, "the same head is in force already")
    if head.version in log.withdrawn(kind):
        return Deployment(head.version, current, False, "it was rolled back; `vibe heads deploy` puts it in force again")
    if (chosen := log.by_hand(kind)) and head.card.created_at <= chosen.at:
        return Deployment(head.version, current, False, "another head was deployed by hand since it was trained")
    found = of_use(platform, head)
    if not found.passed:
        return Deployment(head.version, current, False, f"{found.facts['note']}{stays}")
    verdict = compare_with_deployed(platform, head).decide(platform.settings.gates.max_deploy_loss)
    return Deployment(head.version, head.version if verdict.allowed else current, verdict.allowed, verdict.reason)


def standing(platform: Platform) -> list[tuple[str, str, str]]:
    """(question, version of its head in force or "", why there is none or no newer one) for every question of a photo."""
    heads, reasons, questions = deployed(platform), headless(platform), platform.questions
    found = []
    for column, own in questions.owner.items():
        question = questions[questions.follows[column].question] if column in questions.follows else own
        kind = question.head
        head, latest = heads.get(kind), latest_head(platform, kind)
        note = latest.reason if isinstance(latest, Untrained) else reasons.get(kind, "")
        if head is not None and isinstance(question, YesNo) and column not in head.labels:
            head, note = None, "too few photos of the train split with it or without it: the head leaves it out"
        elif head is not None and isinstance(question, YesNo) and column in head.card.open:
            note, head = f"left open: {head.card.open[column]}", None
        elif head is not None and isinstance(question, ManyOf) and head.card.open:
            note = "; ".join(part for part in (note, f"left open: {', '.join(map(questions.name, head.card.open))}") if part)
        found.append((column, head.version if head else "", note))
    return found


def reads_others(platform: Platform, head: TrainedHead) -> str:
    """Why a head cannot read the library's vectors: they are of another encoder; "" where it can, or where there are none yet."""
    encoders = sorted(set(embedded_photos(platform)["encoder"]))
    if not encoders or head.card.encoder in encoders:
        return ""
    return f"{head.version} reads vectors of encoder {head.card.encoder}, the library has those of {', '.join(encoders)}"


def standing_deployments(platform: Platform) -> dict[str, Deployment]:
    """What is in force as people left it, by kind, with the reason of the last entry; nothing is decided anew."""
    from vibe_assets.heads.deployments import Deployments

    last = {entry.kind: entry for entry in Deployments(platform.settings.heads_dir).history()}
    return {kind: Deployment(entry.version, entry.version, False, f"{entry.action}: {entry.reason}") for kind, entry in last.items()}


def standing_head(platform: Platform, kind: str) -> Trained | Untrained:
    """What the last training came to, by whom ever."""
    head = latest_head(platform, kind)
    if isinstance(head, Untrained):
        return head
    return Trained(head, head.version, platform.settings.heads_dir / head.version, 0.0)


def scores_markdown(trained: Trained) -> str:
    """Markdown table of a head's figures on the test split, which neither trained nor chose it, against the labels it learned."""
    figures = trained.head.card.metrics.get("test", {})
    lines = ["| n | figure | value |", "|---:|---|---:|"]
    for name, value in figures.items():
        if isinstance(value, int | float) and name != "n" and not name.startswith("ece"):  # the gate `calibrated` shows it without its bias
            lines.append(f"| {figures.get('n', '')} | {name.replace('_', ' ')} | {value:.3f} |")
    return "\n".join(lines)
