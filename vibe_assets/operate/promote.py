"""A tried candidate becomes the teacher: the settings file in, the same file with [teacher.candidate] moved into [teacher] out."""

from __future__ import annotations

import json
from collections.abc import MutableMapping

import tomlkit
from tomlkit.items import Comment, Table, Whitespace

from vibe_assets.errors import UserError
from vibe_assets.lake import write_text
from vibe_assets.settings import SettingsError, config_text
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.sources import candidate_version
from vibe_assets.stages.teacher import trial_file


class PromotionRefused(UserError, RuntimeError):
    """The candidate may not become the teacher; the message says which evidence is missing or against it."""


def promote_candidate(platform: Platform, *, force: bool = False) -> str:
    """Make the candidate the teacher in the settings file; return its model name.

    Raises PromotionRefused when it was not tried against the current teacher, or lost; `force` overrules a lost trial only.
    """
    settings = platform.settings
    version = candidate_version(platform)
    if version is None or settings.teacher.candidate is None or settings.config_file is None:
        raise PromotionRefused("no [teacher.candidate] in a settings file: there is nobody to promote")
    path = trial_file(settings, version)
    if not path.is_file():
        raise PromotionRefused(
            f"{settings.teacher.candidate.model} was not tried against the current teacher: run `vibe teacher trial` first"
        )
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PromotionRefused(f"{path} is damaged ({error}): run `vibe teacher trial` again") from error
    if not outcome["allowed"] and not force:
        raise PromotionRefused(f"the trial speaks against it: {outcome['verdict']}; --force promotes it all the same")
    document = tomlkit.parse(config_text(settings.config_file))
    teacher = document.get("teacher")
    if not isinstance(teacher, MutableMapping) or "candidate" not in teacher:
        raise SettingsError(f"{settings.config_file}: the candidate is not set in this file (environment?); promote it where it is set")
    candidate = teacher.pop("candidate")
    for name, value in candidate.items():
        teacher[name] = value
    if isinstance(candidate, Table) and isinstance(teacher, Table):
        for _, item in candidate.value.body:
            if isinstance(item, Comment | Whitespace):
                teacher.add(item)  # what stood below the candidate's header stays
    write_text(settings.config_file, tomlkit.dumps(document))
    return settings.teacher.candidate.model
