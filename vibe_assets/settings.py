"""`vibe.toml` and the environment become one frozen `Settings`.

Precedence: environment (`VIBE_<SECTION>__<FIELD>`, and the teacher's `QWEN_*` names), then the file, then defaults.
Secrets come from the environment only and never appear in a repr, a log or a fingerprint.
"""

from __future__ import annotations

import os
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError, field_validator

from vibe_assets.errors import UserError
from vibe_assets.sections import (
    DEFAULT_TEACHER_MODEL,
    AuditSettings,
    CandidateSettings,
    EncoderSettings,
    EngineSettings,
    ExportSettings,
    GateSettings,
    LabelSettings,
    LibrarySettings,
    NameSettings,
    Section,
    SplitSettings,
    StudentSettings,
    TaggerSettings,
    TeacherBase,
    TeacherSettings,
    TriageSettings,
    VlmSettings,
)
from vibe_assets.storage import Place, Url
from vibe_assets.storage.place import shown_without_secrets

__all__ = [
    "CONFIG_ENV",
    "DEFAULT_TEACHER_MODEL",
    "Settings",
    "SettingsError",
    "find_config",
    "load_settings",
    "Section",
    "LibrarySettings",
    "TeacherBase",
    "CandidateSettings",
    "TeacherSettings",
    "LabelSettings",
    "AuditSettings",
    "SplitSettings",
    "EncoderSettings",
    "EngineSettings",
    "StudentSettings",
    "GateSettings",
    "ExportSettings",
    "NameSettings",
    "TriageSettings",
    "TaggerSettings",
    "VlmSettings",
]
CONFIG_ENV = "VIBE_CONFIG"  # path of the settings file; without it: ./vibe.toml, then ./demo/vibe.toml


class SettingsError(UserError, ValueError):
    """A setting is wrong; the message names it, says what is wrong and what to do."""


class Settings(Section):
    library: LibrarySettings = LibrarySettings()
    engine: EngineSettings = EngineSettings()
    teacher: TeacherSettings = TeacherSettings()
    labels: LabelSettings = LabelSettings()
    audit: AuditSettings = AuditSettings()
    split: SplitSettings = SplitSettings()
    encoder: EncoderSettings = EncoderSettings()
    students: StudentSettings = StudentSettings()
    gates: GateSettings = GateSettings()
    export: ExportSettings = ExportSettings()
    names: NameSettings = NameSettings()
    triage: TriageSettings = TriageSettings()
    vlm: VlmSettings = VlmSettings()
    config_file: Path | None = None

    @field_validator("config_file", mode="before")
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        return Path(value).resolve() if value else None

    # -- where things lie ----------------------------------------------------------------------------------------------
    @cached_property
    def base(self) -> Path:
        """Folder that relative paths of the settings refer to: the settings file's, else the working directory."""
        return self.config_file.parent if self.config_file else Path.cwd()

    @cached_property
    def root(self) -> Place:
        """Absolute photo root, or its URL. Raises SettingsError when it is not set."""
        if self.library.root is None:
            raise SettingsError("library.root is not set: run `vibe init PHOTO_FOLDER`, or set VIBE_LIBRARY__ROOT")
        return self._resolve(self.library.root)

    @cached_property
    def home(self) -> Path:
        return self._resolve(self.library.home)

    def root_folder(self, purpose: str) -> Path:
        """The photo root where it must be a folder. Raises SettingsError that names what needs one."""
        if isinstance(self.root, Url):
            raise SettingsError(f"library.root is {self.root}: {purpose}")
        return self.root

    @cached_property
    def lake_dir(self) -> Place:
        return self.home / "lake" if self.library.lake is None else self._resolve(self.library.lake)

    @cached_property
    def journal_dir(self) -> Place:
        """The teachers' journals, each in a folder named by its fingerprint."""
        return self.home / "journal" if self.library.journal is None else self._resolve(self.library.journal)

    @property
    def asked_dir(self) -> Path:
        """What teachers were asked so far, a file for each question."""
        return self.home / "asked"

    @property
    def verdicts_dir(self) -> Place:
        """What people say on the audit page."""
        return self.audit_dir / "verdicts" if self.library.journal is None else self.journal_dir / "verdicts"

    @property
    def choices_dir(self) -> Place:
        """What people keep of a series."""
        return self.triage_dir / "choices" if self.library.journal is None else self.journal_dir / "choices"

    @property
    def tag_answers_dir(self) -> Place:
        """What the models of the tag benchmark answered."""
        return self.tags_dir / "answers" if self.library.journal is None else self.journal_dir / "tags"

    @property
    def cache_dir(self) -> Path:
        return self.home / "cache"

    @property
    def heads_dir(self) -> Path:
        return self.home / "heads"

    @property
    def reports_dir(self) -> Path:
        return self.home / "reports"

    @cached_property
    def names_root(self) -> Path:
        """Absolute folder of the names study's faces. Raises SettingsError when it is not set."""
        if self.names.root is None:
            raise SettingsError("names.root is not set: name the folder with index_NAME.json files or one folder of faces per name")
        return self._resolve(self.names.root)

    @property
    def names_dir(self) -> Path:
        return self.home / "names"

    @property
    def audit_dir(self) -> Path:
        return self.home / "audit"

    @property
    def tags_dir(self) -> Path:
        """Downloaded photos and answers of the tag benchmark."""
        return self.home / "tags"

    @property
    def vlm_dir(self) -> Path:
        """Instruction data and adapters."""
        return self.home / "vlm"

    @property
    def audited_file(self) -> Path:
        """The accepted audited labels, a pretty JSON list; `vibe audited FILE` writes it."""
        return self.audit_dir / "audited.json"

    @property
    def triage_dir(self) -> Path:
        """Imported comparisons, what people picked, series heads and the pages of picks."""
        return self.home / "triage"

    @property
    def warehouse_file(self) -> Path:
        return self.home / "warehouse.duckdb"

    @overload
    def _resolve(self, path: Path) -> Path: ...
    @overload
    def _resolve(self, path: Place) -> Place: ...
    def _resolve(self, path: Place) -> Place:
        if isinstance(path, Url):
            return path
        path = path.expanduser()
        return path if path.is_absolute() else (self.base / path).resolve()


def find_config(start: Path | None = None) -> Path | None:
    """Path of the settings file in force, or None when there is none."""
    if named := os.environ.get(CONFIG_ENV):
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(f"{CONFIG_ENV}={named}: no such file; `vibe init` writes one")
        return path
    start = start or Path.cwd()
    return next((path for path in (start / "vibe.toml", start / "demo" / "vibe.toml") if path.is_file()), None)


def load_settings(config: Path | None = None) -> Settings:
    """Read the settings file in force and the environment. Raises SettingsError, worded for a user."""
    config = config or find_config()
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = tomllib.loads(config_text(config))
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{config}: {error}") from error
    _refuse_secrets(values, config)
    merged = _under_environment(values)
    if "config_file" in merged:
        raise SettingsError(f"{config}: config_file: no such setting; {CONFIG_ENV} names the settings file")
    _anchor_prompts(merged.get("teacher"), config)
    _anchor_encoder(merged.get("encoder"), config)
    try:
        return Settings(**merged, config_file=config)
    except ValidationError as error:
        raise SettingsError(_worded(error, config)) from error


def config_text(config: Path) -> str:
    """Text of a settings file, without the byte order mark that some editors write. Raises SettingsError."""
    try:
        return config.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{config}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror}") from error


def _under_environment(values: dict[str, Any]) -> dict[str, Any]:
    """The file's values with the environment's laid over them."""
    merged = {section: dict(fields) if isinstance(fields, dict) else fields for section, fields in values.items()}
    for name, text in os.environ.items():
        section, _, field = name.removeprefix("VIBE_").lower().partition("__")
        if name.startswith("VIBE_") and field and section in Settings.model_fields:
            target = merged.setdefault(section, {})
            *parents, leaf = field.split("__")
            for parent in parents:
                target = target.setdefault(parent, {}) if isinstance(target, dict) else target
            if not isinstance(target, dict):
                raise SettingsError(f"{name}: what it belongs to is a plain value, not a section; unset it or correct [{section}]")
            target[leaf] = text
    teacher = merged.setdefault("teacher", {})
    for name, field in (("QWEN_BASE_URL", "base_url"), ("QWEN_MODEL", "model")):
        if isinstance(teacher, dict) and os.environ.get(name):
            teacher[field] = os.environ[name]
    return merged


def _anchor_prompts(teacher: Any, config: Path | None) -> None:
    """A prompt file is named from where the settings lie, like every other path."""
    if not isinstance(teacher, dict) or config is None:
        return
    prompt = teacher.get("prompt")
    if isinstance(prompt, str) and prompt.endswith(".md"):
        teacher["prompt"] = str(config.resolve().parent / Path(prompt).expanduser())
    _anchor_prompts(teacher.get("candidate"), config)


def _anchor_encoder(encoder: Any, config: Path | None) -> None:
    """A local model (`siglip:./models/siglip`, `onnx:tower.onnx`) is named from where the settings lie; hub names stay as they are."""
    if not isinstance(encoder, dict) or config is None:
        return
    kind, _, name = str(encoder.get("name", "")).partition(":")
    local = config.resolve().parent / Path(name).expanduser()
    if name and local.exists():
        encoder["name"] = f"{kind}:{local}"


def _refuse_secrets(values: dict[str, Any], config: Path | None) -> None:
    teacher = values.get("teacher") or {}
    sections = [("teacher", teacher), ("teacher.candidate", teacher.get("candidate") or {})] if isinstance(teacher, dict) else []
    for name, section in sections:
        if isinstance(section, dict) and "api_key" in section:
            raise SettingsError(
                f"{config}: [{name}] api_key: keys do not belong in files; export QWEN_API_KEY, or name another variable with api_key_env"
            )


def _worded(error: ValidationError, config: Path | None) -> str:
    lines = []
    faults = {tuple(map(str, item["loc"])): item for item in error.errors()}
    for path, item in faults.items():
        inherited = faults.get(("teacher", *path[2:])) if path[:2] == ("teacher", "candidate") else None
        if inherited is not None and inherited["input"] == item["input"]:
            continue
        *sections, field = path or ("?",)
        where = f"[{'.'.join(sections)}] {field}" if sections else field
        quiet = item["type"] in ("missing", "extra_forbidden") or isinstance(item["input"], dict) or "key" in field
        quiet = quiet or not shown_without_secrets(item["input"])
        message = "no such setting; `vibe init` lists them all" if item["type"] == "extra_forbidden" else item["msg"]
        variable = f"VIBE_{'__'.join(path)}".upper()
        source = variable if variable in os.environ else config or "environment"
        lines.append(f"{source}: {where}: {message}" + ("" if quiet else f", got {item['input']!r}"))
    return "\n".join(lines)
