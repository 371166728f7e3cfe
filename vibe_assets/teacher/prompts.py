"""Name of a prompt, or path of a Markdown file -> the text that is sent to the teacher."""

from __future__ import annotations

from pathlib import Path

from vibe_assets.questions import Questions, load
from vibe_assets.teacher.failures import TeacherError

MADE = "photo_labels"  # the prompt that is made from the label file


def load_prompt(prompt: str, questions: Questions | None = None) -> str:
    """Text of the prompt, trimmed: made from the questions (the packaged ones without any) for MADE, else that of a file.

    Raises TeacherError when there is no such file or it is empty.
    """
    if prompt == MADE:
        return (questions or load()).prompt()
    try:
        text = Path(prompt).expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TeacherError(
            f"teacher.prompt = {prompt!r}: {error}; write {MADE} for the one made from the label file, or the path of a Markdown file"
        ) from error
    if not text.strip():
        raise TeacherError(f"teacher.prompt = {prompt!r}: the file is empty")
    return text.strip()


def unmentioned(text: str, questions: Questions) -> list[str]:
    """Words that a prompt of one's own must hold, and does not: members of the answer, and the labels that it may choose from."""
    wanted = list(questions.schema["properties"])
    for schema in questions.schema["properties"].values():
        wanted += schema.get("enum", ())
    return [word for word in dict.fromkeys(wanted) if word not in text]
