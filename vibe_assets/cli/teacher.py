"""Ask the teacher, bring answers home, try a candidate, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vibe_assets.cli.app import FILE, FOLDER, OUT, PORT, Number, main, nothing, platform, show, tell
from vibe_assets.words import some


@main.command()
@click.option("--root", type=FOLDER, help="Folder of photos (default: library.root).")
@click.option("--output", type=OUT, required=True, help="JSON lines, one answer each; appended to.")
@click.option("--limit", type=click.IntRange(min=1), help="New photos at the most.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on where the output file ends.")
def annotate(root: Path | None, output: Path, limit: int | None, resume: bool) -> None:
    """Annotate photos into a JSONL, on a machine that has only the photos and the teacher.

    \b
    Example: QWEN_BASE_URL=http://127.0.0.1:8000/v1 vibe annotate --root ~/Pictures --output answers.jsonl --limit 100
    """
    from vibe_assets.settings import load_settings
    from vibe_assets.stages.standalone import annotate_root

    settings = load_settings()
    done = annotate_root(settings, root or settings.root, output, limit=limit, resume=resume)
    said = f"{done.answered} of {some(done.photos, 'photo')} answered" + "".join(f", {n} {why}" for why, n in done.failed.items())
    tell(f"{done.path}: {said}", output=done.path, photos=done.photos, answered=done.answered, failed=done.failed)
    if not done.photos:
        nothing(f"no readable photos below {root or settings.root}")
    if not done.answered:
        nothing(f"no photo was answered; {done.path} has the reason of each, `vibe doctor` looks at the teacher")


@main.command("import-annotations")
@click.argument("file", type=FILE)
@click.option("--as-current", is_flag=True, help="Lines that name a model, or no teacher at all, are the current teacher's.")
def import_annotations(file: Path, as_current: bool) -> None:
    """Bring a JSONL of answers home; answers of other teachers are kept apart."""
    from vibe_assets.stages.teacher import order_known_answers
    from vibe_assets.teacher.annotate import import_annotations as bring
    from vibe_assets.teacher.annotate import teacher_fingerprint

    home = platform()
    settings = home.settings
    mapped = teacher_fingerprint(settings.teacher) if as_current else None
    done = bring(file, settings.journal_dir, questions=home.questions, as_teacher=mapped)
    facts: dict[str, Any] = {"kept": done.kept, "by_teacher": done.by_teacher, "known": done.duplicates, "failures": done.failures}
    tell(done, **facts, rejected=len(done.rejected), rejected_file=done.rejected_file)
    if not done.kept and not done.duplicates:
        first = (
            f"{len(done.rejected)} of {some(len(done.rejected), 'line')} rejected, {done.rejected[0].reason}"
            if done.rejected
            else "it is empty"
        )
        nothing(f"{file}: nothing was taken over: {first}")
    if folders := order_known_answers(home):
        tell(
            f"{some(len(folders), 'folder')} can be filled in: a running daemon does it, or `vibe run`; no photo is asked again",
            folders=folders,
        )


@main.group()
def teacher() -> None:
    """The current teacher and a candidate on trial."""


@teacher.command("show")
def teacher_show() -> None:
    """Who teaches, and who is on trial."""
    from vibe_assets.teacher.annotate import teacher_fingerprint

    current = platform().settings.teacher
    rows = [("current", current.model, current.prompt, teacher_fingerprint(current))]
    if current.candidate is not None:
        rows.append(("candidate", current.candidate.model, current.candidate.prompt, teacher_fingerprint(current.candidate)))
    show("Teacher", ["role", "model", "prompt", "fingerprint"], rows, name="teachers")


@teacher.command("trial")
def teacher_trial() -> None:
    """Let [teacher.candidate] annotate the audited photos and compare it with the current teacher."""
    from vibe_assets.stages.notes import noted
    from vibe_assets.stages.teacher import try_candidate

    home = platform()
    with noted(home, "teacher_trial"):
        trial = try_candidate(home)
    tell(trial.comparison.verdict, verdict=trial.comparison.verdict)
    tell("`vibe teacher promote` is allowed" if trial.allowed else "`vibe teacher promote` is refused", allowed=trial.allowed)


@teacher.command("promote")
@click.option("--force", is_flag=True, help="Promote although the trial speaks against it.")
def teacher_promote(force: bool) -> None:
    """Make the candidate the teacher in the settings file, when its trial allows it."""
    from vibe_assets.operate.promote import promote_candidate

    model = promote_candidate(platform(), force=force)
    tell(f"{model} is the teacher now; a running daemon re-annotates the library with it, or `vibe run`", model=model)


@main.command("replay-teacher", prints=False)
@click.option("--answers", type=FILE, required=True, help="JSONL of answers by path or image_id.")
@click.option("--photos", type=FOLDER, required=True, help="The photos those answers are about.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8788, show_default=True, type=PORT)
@click.option("--latency", default=0.0, show_default=True, type=Number(min=0), help="Seconds before each answer.")
@click.option("--p-429", default=0.0, type=Number(0, 1), help="Share of requests refused with 429 and Retry-After.")
@click.option("--p-500", default=0.0, type=Number(0, 1), help="Share of requests that fail with 500.")
@click.option("--p-timeout", default=0.0, type=Number(0, 1), help="Share of requests that never answer.")
@click.option("--p-invalid", default=0.0, type=Number(0, 1), help="Share of answers that are not JSON.")
@click.option("--p-fenced", default=0.0, type=Number(0, 1), help="Share of answers in a Markdown fence.")
@click.option("--p-dropped", default=0.0, type=Number(0, 1), help="Share of connections dropped.")
def replay_teacher(answers: Path, photos: Path, host: str, port: int, latency: float, **shares: float) -> None:
    """Serve recorded answers as an OpenAI-compatible teacher, faults included.

    \b
    Example: vibe replay-teacher --answers answers.jsonl --photos ~/Pictures --latency 0.3 --p-429 0.05
    """
    from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, serve

    faults = ReplayFaults(
        latency_s=latency,
        p_429=shares["p_429"],
        p_500=shares["p_500"],
        p_timeout=shares["p_timeout"],
        p_invalid_json=shares["p_invalid"],
        p_fenced=shares["p_fenced"],
        p_dropped=shares["p_dropped"],
    )
    replay = ReplayTeacher(answers, photos, faults=faults)
    click.echo(f"replay teacher on http://{host}:{port}/v1 (Ctrl-C ends it)")
    serve(replay, host=host, port=port)
