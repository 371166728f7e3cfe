"""Name of a packaged prompt, or path of a Markdown file -> the text that is sent to the teacher."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from vibe_assets.teacher.failures import TeacherError


def load_prompt(prompt: str) -> str:
    """Text of the prompt, trimmed. A bare name is looked up among the packaged ones, anything else is a file.

    Raises TeacherError when there is no such prompt or it is empty.
    """
    packaged = {item.name.removesuffix(".md"): item for item in files(__name__).iterdir() if item.name.endswith(".md")}
    try:
        text = packaged[prompt].read_text("utf-8") if prompt in packaged else Path(prompt).expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TeacherError(
            f"teacher.prompt = {prompt!r}: {error}; name a packaged prompt ({', '.join(sorted(packaged))}) or the path of a Markdown file"
        ) from error
    if not text.strip():
        raise TeacherError(f"teacher.prompt = {prompt!r}: the file is empty")
    return text.strip()
