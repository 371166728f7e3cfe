"""The sections of `vibe.toml`: every setting with its type, default, limits and description."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

DEFAULT_TEACHER_MODEL = "Qwen/Qwen3-VL-32B-Instruct"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: Any) -> Any:
        """`taxonomy = ""`, as the commented file shows it, means none."""
        if not isinstance(values, dict):
            return values
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        return {name: None if name in optional and value == "" else value for name, value in values.items()}


class LibrarySettings(Section):
    root: Path | None = Field(None, description="folder of the photos; every sub-folder with photos is one partition")
    home: Path = Field(Path("data"), description="where the lake, journals, heads and reports are written")
    max_missing_share: float = Field(0.5, ge=0, le=1, description="a look that misses more of the known folders or photos than this fails")
    scan_workers: int = Field(2, ge=1, le=256, description="processes that decode photos during a scan")
    decode_timeout_s: float = Field(20.0, gt=0, description="seconds after which the decoding of one photo is given up")
    max_pixels: int = Field(120_000_000, ge=1, description="photos with more pixels are refused as too_many_pixels")
    max_bytes: int = Field(200_000_000, ge=1, description="files larger than this are refused as too_many_bytes")


class TeacherBase(Section):
    base_url: str = Field("", description="OpenAI-compatible endpoint, for example http://127.0.0.1:8000/v1")
    model: str = Field(DEFAULT_TEACHER_MODEL, min_length=1, description="model name as the server knows it")
    api_key_env: str = Field(
        "QWEN_API_KEY", pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="name of the environment variable that holds the key"
    )
    prompt: str = Field("photo_labels", description="name of a packaged prompt, or path of a Markdown file")
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int = Field(1024, ge=16)
    max_side_px: int = Field(1024, ge=0, description="longest side of the photo as sent; 0 sends it in full size")
    image_format: Literal["jpeg", "png", "webp", "keep"] = Field(
        "jpeg", description="keep sends the file's own bytes where no change is needed"
    )
    image_quality: int = Field(90, ge=1, le=100)
    keep_metadata: bool = Field(False, description="send EXIF along (off: camera, place and time stay at home)")
    timeout_s: float = Field(120.0, gt=0, description="seconds for one request")
    retries: int = Field(4, ge=0, le=50, description="further tries after 429, 5xx, a time-out or an invalid answer")
    concurrency: int = Field(16, ge=1, le=4096, description="requests in flight at the most; falls on 429 and time-outs, then recovers")

    @property
    def api_key(self) -> SecretStr:
        return SecretStr(os.environ.get(self.api_key_env, ""))


class CandidateSettings(TeacherBase):
    """A teacher on trial: what is not given is taken from [teacher]."""


class TeacherSettings(TeacherBase):
    candidate: CandidateSettings | None = Field(None, description="a teacher on trial, `vibe teacher trial`")

    @model_validator(mode="before")
    @classmethod
    def _candidate_inherits(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("candidate"), dict):
            own = {k: v for k, v in values.items() if k != "candidate"}
            values = {**values, "candidate": {**own, **values["candidate"]}}
        return values


class LabelSettings(Section):
    taxonomy: Path | None = Field(None, description="YAML file that replaces the packaged taxonomy")
    min_object_confidence: float = Field(0.7, ge=0, le=1)
    include_non_main: bool = Field(False, description="keep objects that the teacher did not call a main object")


class AuditSettings(Section):
    sample_size: int = Field(1000, ge=1)
    seed: int = 42
    strategy: Literal["random", "stratified", "disagreement"] = "stratified"
    test_share: float = Field(
        0.5, gt=0, lt=1, description="share of the sample that is drawn from the test split, where students are judged"
    )


class SplitSettings(Section):
    val: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.25, gt=0, lt=1)
    seed: int = 42
    near_duplicate_bits: int = Field(6, ge=0, le=32, description="perceptual hashes (64 bit) at most this far apart are near-duplicates")
    burst_gap_s: float = Field(3.0, ge=0, description="photos of one camera at most this far apart in time may form a burst")
    burst_bits: int = Field(18, ge=0, le=64, description="and their hashes must be at most this far apart")

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitSettings:
        if self.val + self.test >= 1:
            raise ValueError(f"val + test must be below 1, got {self.val} + {self.test}")
        return self


class EncoderSettings(Section):
    name: str = Field(
        "handcrafted", description="handcrafted | siglip:NAME | hf:NAME | openclip:NAME | onnx:FILE (hub name or local folder)"
    )
    revision: str | None = Field(None, description="hub revision to pin")
    batch_size: int = Field(32, ge=1, le=4096)
    decode_workers: int = Field(2, ge=1, le=256)
    decode_mode: Literal["draft", "full"] = Field("draft", description="draft: JPEG is scaled while it is decoded (about 3x faster)")
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: str = Field("auto", description="auto | cpu | cuda | mps")


class StudentSettings(Section):
    seed: int = 42
    min_positives: int = Field(8, ge=1, description="objects with fewer positives in the training split are left out and named")
    max_epochs: int = Field(300, ge=1)
    target_precision: float = Field(0.9, gt=0, lt=1, description="precision that per-label thresholds aim for on the validation split")
    max_open: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of the validation photos that a head may leave open to reach target_precision",
    )
    train_on: Literal["auto", "auto+audited"] = Field(
        "auto", description="auto+audited: people's labels replace the teacher's in the training split"
    )


class GateSettings(Section):
    min_readable_share: float = Field(0.9, ge=0, le=1)
    min_annotated_share: float = Field(0.9, ge=0, le=1, description="per folder")
    max_failure_share: float = Field(0.1, ge=0, le=1, description="per folder")
    min_teacher_agreement: float = Field(0.6, ge=0, le=1, description="lower end of the interval of teacher-human scene accuracy")
    min_audited: int = Field(30, ge=1, description="audited photos needed before the teacher gate can pass")
    require_audit: bool = Field(True, description="off: students may train before any audit exists (the gate then warns)")
    max_deploy_loss_p: float = Field(
        0.05, gt=0, lt=1, description="a head that is worse than the deployed one with a p-value below this is not deployed"
    )
    max_calibration_error: float = Field(0.1, ge=0, le=1)
    max_label_drift: float = Field(0.1, ge=0, le=1, description="total variation distance between the label shares of two runs")
