"""The sections of `vibe.toml`: every setting with its type, default, limits and description."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, SecretStr, field_validator, model_validator

from vibe_assets.storage import Url, parse_place

DEFAULT_TEACHER_MODEL = "Qwen/Qwen3-VL-32B-Instruct"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    RETIRED: ClassVar[frozenset[str]] = frozenset()  # settings of earlier versions: their files are still read, the values not used

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: Any) -> Any:
        """`taxonomy = ""`, as the commented file shows it, means none."""
        if not isinstance(values, dict):
            return values
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        return {name: None if name in optional and value == "" else value for name, value in values.items() if name not in cls.RETIRED}


def _place(value: Any) -> Any:
    return parse_place(value) if isinstance(value, str | Path) else value


def _plain_place(value: Any) -> Any:
    place = _place(value)
    if isinstance(place, Url) and not place.plain:
        raise ValueError(f"{place}: below a bucket, use letters, digits and . _ ~ + , @ : = - /")
    return place


def _local_folder(value: Any) -> Any:
    if isinstance(place := _place(value), Url):
        raise ValueError(f"caches, heads and reports need a folder, {place} is none; library.lake and library.journal may be URLs")
    return place


LocalFolder = Annotated[Path, BeforeValidator(_local_folder)]
OptionalPlace = Annotated[Path | InstanceOf[Url] | None, BeforeValidator(_place)]
OptionalPlainPlace = Annotated[Path | InstanceOf[Url] | None, BeforeValidator(_plain_place)]


class LibrarySettings(Section):
    root: OptionalPlace = Field(
        None, description="folder of the photos, or its URL (s3://bucket/photos); every sub-folder with photos is one partition"
    )
    home: LocalFolder = Field(Path("data"), description="folder where the lake, journals, heads and reports are written")
    lake: OptionalPlainPlace = Field(None, description="folder or URL of the tables; without it, lake/ in home")
    journal: OptionalPlainPlace = Field(
        None, description="folder or URL of the teachers' answers, verdicts and choices; without it, folders in home"
    )
    keep_days: float = Field(
        7.0, ge=1, description="days that files of replaced versions of tables are kept; versions that heads learned from stay for good"
    )
    max_missing_share: float = Field(0.5, ge=0, le=1, description="a look that misses more of the known folders or photos than this fails")
    scan_workers: int = Field(2, ge=1, le=256, description="processes that decode photos during a scan")
    decode_timeout_s: float = Field(20.0, gt=0, description="seconds of computing after which the decoding of one photo is given up")
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
    max_side_px: int = Field(1024, ge=0, description="longest side of the photo as sent, up to 3 % less; 0 sends it in full size")
    image_format: Literal["jpeg", "png", "webp", "keep"] = Field(
        "jpeg", description="keep sends the file's own bytes where no change is needed"
    )
    image_quality: int = Field(90, ge=1, le=100)
    keep_metadata: bool = Field(False, description="send EXIF along (off: camera, place and time stay at home)")
    timeout_s: float = Field(120.0, gt=0, description="seconds for one request")
    retries: int = Field(4, ge=0, le=50, description="further tries after 429, 5xx, a time-out or an invalid answer")
    concurrency: int = Field(16, ge=1, le=4096, description="requests in flight at the most; falls on 429 and time-outs, then recovers")
    input_price: float | None = Field(
        None, ge=0, description="US dollars per million tokens of the question, for what `vibe labels diff` says"
    )
    output_price: float | None = Field(None, ge=0, description="US dollars per million tokens of the answer")

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
    language: str = Field("", description="language of the label file that names are shown in; its first one without it")
    min_object_confidence: float = Field(0.7, ge=0, le=1)
    include_non_main: bool = Field(False, description="keep objects that the teacher did not call a main object")


class AuditSettings(Section):
    sample_size: int = Field(1000, ge=1)
    seed: int = Field(42, ge=0, le=2**32 - 1)
    strategy: Literal["auto", "random", "stratified", "disagreement", "uncertainty", "doubt"] = Field(
        "auto",
        description="which photos are drawn more often. random: none; stratified: those of rare scenes; disagreement: those where teacher "
        "and student differ; uncertainty: those that the students are unsure of; doubt: those where the students doubt the teacher's "
        "scene, as far as the checks so far show that their doubt tells errors; auto: doubt once there are students and 50 checks, "
        "stratified before that. Every estimate is weighted back to the library that was drawn from",
    )
    test_share: float = Field(
        0.5, gt=0, lt=1, description="share of the sample that is drawn from the test split, where students are judged"
    )
    blind_share: float = Field(
        0.2, ge=0, le=1, description="share of the photos that `vibe audit` shows with nothing filled in, to measure what filling in does"
    )
    port: int = Field(3001, ge=0, le=65535, description="port of `vibe audit` on 127.0.0.1; 0 takes a free one")
    settle_after_s: float = Field(
        60.0,
        ge=0,
        description="verdicts of `vibe audit` count once nobody gave one for this long, or at once with Done: "
        "nothing retrains after every photo",
    )


class SplitSettings(Section):
    val: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.25, gt=0, lt=1)
    seed: int = Field(42, ge=0, le=2**32 - 1)
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
    revision: str | None = Field(None, description="hub revision to pin; or write NAME@REVISION")
    batch_size: int = Field(32, ge=1, le=4096)
    decode_workers: int = Field(2, ge=1, le=256)
    decode_mode: Literal["draft", "full"] = Field("draft", description="draft: JPEG is scaled while it is decoded (about 3x faster)")
    precision: Literal["auto", "bf16", "fp32", "int8"] = Field(
        "auto",
        description="auto: bf16 where the hardware multiplies it, else fp32. int8: photos on CPUs with VNNI; trained models have outliers "
        "that 8 bits round coarsely, so check the cosine on photos of your own with `vibe bench embed` before relying on it",
    )
    device: str = Field("auto", description="auto | cpu | cuda | mps")


class StudentSettings(Section):
    seed: int = Field(42, ge=0, le=2**32 - 1)
    min_positives: int = Field(8, ge=1, description="objects with fewer positives in the training split are left out and named")
    max_epochs: int = Field(300, ge=1)
    target_precision: float = Field(
        0.9, gt=0, lt=1, description="precision that thresholds aim for on photos of held-out folders, else the val split"
    )
    max_open: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of the validation photos, of folders that trained, that a head may leave open to reach target_precision",
    )
    train_on: Literal["auto", "auto+audited"] = Field(
        "auto", description="auto+audited: people's labels replace the teacher's in the training split"
    )


class GateSettings(Section):
    RETIRED = frozenset({"max_deploy_loss_p"})  # of an unweighted test; max_deploy_loss took its place
    min_readable_share: float = Field(0.5, ge=0, le=1, description="of the library; a folder below it warns")
    min_annotated_share: float = Field(0.8, ge=0, le=1, description="of the library; a folder below it warns")
    max_failure_share: float = Field(0.2, ge=0, le=1, description="of the library; a folder above it warns")
    min_teacher_agreement: float = Field(
        0.6, ge=0, le=1, description="share of scenes on which people agree with the teacher, sure to be exceeded however often it is asked"
    )
    min_audited: int = Field(30, ge=1, description="audited photos needed before the teacher gate can pass")
    require_audit: bool = Field(True, description="off: students may train before any audit exists (the gate then warns)")
    max_deploy_loss: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of right answers that a new head may lose at most against the deployed one and the best ever deployed (95 %); a "
        "candidate teacher against the current one",
    )
    max_calibration_error: float = Field(0.1, ge=0, le=1, description="a head whose error is surely above this (95 %) warns")
    max_label_drift: float = Field(0.1, ge=0, le=1, description="total variation distance between the label shares of two runs")


class ExportSettings(Section):
    min_precision: float = Field(
        0.9, ge=0, lt=1, description="a label goes into XMP sidecars when the lower end of its precision's 95 % interval is above this"
    )
    min_audited: int = Field(20, ge=1, description="photos given the label that people must have checked before it may go into sidecars")
    csv_bom: bool = Field(False, description="CSV files begin with a byte order mark: for Excel, which else takes UTF-8 for something else")
    shard_mb: int = Field(256, ge=1, description="a WebDataset shard is closed once it holds this many MB")


class TriageSettings(Section):
    gap_s: float = Field(20.0, ge=0, description="photos of one camera at most this far apart in time may belong to one series")
    max_span_s: float = Field(300.0, ge=0, description="seconds that a series may last")
    max_bits: int = Field(14, ge=0, le=64, description="perceptual hashes (64 bit) at most this far apart are alike")
    min_cosine: float = Field(0.9, ge=-1, le=1, description="or embeddings whose cosine is at least this")
    min_cosine_any: float = Field(0.75, ge=-1, le=1, description="any two photos of a series reach this cosine, or nearly agree in hash")
    undated: bool = Field(True, description="photos without a time may form series, by neighbouring names in one folder and likeness alone")
    undated_bits: int = Field(16, ge=0, le=64, description="undated photos: hashes at most this far apart ...")
    undated_cosine: float = Field(0.95, ge=-1, le=1, description="... and embeddings whose cosine is at least this, both at once")
    min_agreement: float = Field(0.7, ge=0.5, le=1, description="imported comparisons whose reviewers agree less do not count")
    min_reviewers: int = Field(2, ge=1, description="imported comparisons with fewer reviewers do not count")
    val: float = Field(0.1, gt=0, lt=0.5, description="share of the series that choose epochs and temperature")
    test: float = Field(0.1, gt=0, lt=0.5, description="share of the series that judge")
    seed: int = Field(42, ge=0, le=2**32 - 1)
    max_epochs: int = Field(60, ge=1, description="passes over the training series at the most; validation top-1 stops earlier")
    patience: int = Field(10, ge=1, description="passes without a better validation top-1 that end training")
    min_margin: float = Field(
        0.1, ge=0, le=1, description="a series whose two best photos are closer in probability than this is too close to call"
    )
    rating: int = Field(5, ge=0, le=5, description="stars that `vibe triage best --xmp` gives a pick in its sidecar; 0 writes none")
    fine_tune_blocks: int = Field(0, ge=0, description="last blocks of a transformers encoder that learn along; 0 leaves it as it is")
    fine_tune_rate: float = Field(1e-5, gt=0, description="learning rate of those blocks")
    fine_tune_epochs: int = Field(3, ge=1, description="passes with those blocks")


class NameSettings(Section):
    root: Path | None = Field(None, description="folder with index_NAME.json files, or with one folder of faces per first name")
    shards: int = Field(16, ge=1, le=100, description="partitions that the names are spread over; fixed once a study has begun")
    use: Literal["listed", "source"] = Field(
        "listed", description="source: cut the face anew from the photo that an index names as its source"
    )
    detector: str = Field("", description="MODULE:FACTORY of a face detector for photos without boxes; none is bundled")
    min_score: float = Field(0.9, ge=0, le=1, description="detections with a lower score are low_score")
    min_box_px: float = Field(32, ge=0, description="boxes with a shorter side are small_box")
    min_area_share: float = Field(0.001, ge=0, le=1, description="boxes that cover less of their photo are small_area")
    margin: float = Field(0.5, ge=0, le=4, description="added to the longer side of the box before the square is cut")
    chip_px: int = Field(512, ge=16, le=4096, description="side of a chip")
    jpeg_quality: int = Field(95, ge=1, le=100)
    near_duplicate_bits: int = Field(4, ge=0, le=11, description="chips whose 64-bit hashes are at most this far apart stay on one side")
    val: float = Field(0.1, gt=0, lt=1, description="share of the groups that choose epoch and hyper-parameters")
    test: float = Field(0.1, gt=0, lt=1, description="share of the groups that is reported on")
    seed: int = Field(42, ge=0, le=2**32 - 1)
    top_names: int = Field(0, ge=0, description="study the most frequent names only; 0: all")
    max_per_name: int = Field(0, ge=0, description="faces per name in training at the most; 0: all")
    max_epochs: int = Field(30, ge=1)
    control_runs: int = Field(3, ge=1, le=100, description="trainings on permuted labels")
    max_prediction_cv: float = Field(
        0.35, gt=0, description="the check on skew warns above this coefficient of variation of predicted counts"
    )

    @model_validator(mode="after")
    def _leaves_training(self) -> NameSettings:
        if self.val + self.test >= 1:
            raise ValueError(f"val + test must be below 1, got {self.val} + {self.test}")
        return self


class EngineSettings(Section):
    kind: Literal["local", "ray"] = Field(
        "local", description="where scan, annotate, embed and predict run. local: in this process; ray: pip install 'vibe-assets[ray]'"
    )
    address: str = Field(
        "",
        pattern=r"^([^:/\s]+:[0-9]+)?$",
        description="HOST:PORT of the head of a Ray cluster that this machine is a node of; empty starts one on this machine alone",
    )
    min_workers: int = Field(1, ge=1, le=10_000, description="actors that are started at once, each with a model of its own")
    max_workers: int = Field(2, ge=2, le=10_000, description="actors at the most; more than min_workers, so that lost ones are replaced")
    cpus: float = Field(1.0, gt=0, description="cores that one actor takes")
    gpus: float = Field(0.0, ge=0, description="graphics processors that one actor takes; 0.5 shares one between two")
    chunk: int = Field(32, ge=1, le=100_000, description="photos handed to an actor at a time, and done again when it dies")
    tries: int = Field(3, ge=1, le=100, description="workers that a chunk may kill; then its photos go one by one, and get a reason")
    connect_timeout_s: float = Field(10.0, gt=0, description="seconds in which the head must answer")

    @model_validator(mode="after")
    def _room_to_replace(self) -> EngineSettings:
        if self.min_workers >= self.max_workers:
            raise ValueError(
                f"max_workers must be above min_workers, got {self.max_workers} and {self.min_workers}: a pool of fixed size waits for "
                "ever when a node is lost"
            )
        return self


class TaggerSettings(Section):
    """One model of the benchmark, [vlm.models.NAME]: an endpoint, or a local folder with or without an adapter."""

    base_url: str = Field("", description="OpenAI-compatible endpoint, for example https://api.openai.com/v1")
    model: str = Field("", description="model name as the server knows it")
    provider: str = Field("", description="name to show and to tell equal models by; the endpoint's host where it is not given")
    api_key_env: str = Field(
        "OPENAI_API_KEY", pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="name of the environment variable that holds the key"
    )
    local: str = Field("", description="instead of base_url: folder or hub name (NAME@REVISION pins it) of a model that transformers loads")
    adapter: Path | None = Field(None, description="folder of a LoRA adapter for the local model")
    input_price: float | None = Field(None, ge=0, description="US dollars per million tokens of the question")
    output_price: float | None = Field(None, ge=0, description="US dollars per million tokens of the answer")
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int = Field(256, ge=8)
    max_side_px: int = Field(768, ge=0, description="longest side of the photo as sent")
    timeout_s: float = Field(120.0, gt=0)
    retries: int = Field(4, ge=0, le=50, description="further tries after 429, 5xx or a time-out; an invalid answer is never asked again")
    concurrency: int = Field(4, ge=1, le=4096)

    @model_validator(mode="after")
    def _one_place(self) -> TaggerSettings:
        if bool(self.base_url) == bool(self.local):
            raise ValueError("give either base_url (with model) or local")
        if self.base_url and not self.model:
            raise ValueError("model is missing: the name under which the server at base_url knows it")
        if self.adapter is not None and not self.local:
            raise ValueError("an adapter needs `local`, the model it was trained on")
        return self


class VlmSettings(Section):
    prompt: str = Field("tags", description="name of a packaged prompt, or path of a Markdown file")
    device: str = Field("auto", description="auto | cpu | cuda: where local models run")
    unsplash_url: str = Field("https://api.unsplash.com", description="address of the API")
    unsplash_key_env: str = Field(
        "UNSPLASH_ACCESS_KEY", pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="name of the environment variable that holds the access key"
    )
    app_name: str = Field("vibe_assets", min_length=1, description="utm_source of links to photographers, as Unsplash asks for")
    keep_days: int = Field(0, ge=0, description="batches older than this are removed with the next ingest; 0 keeps them")
    min_tags: int = Field(5, ge=1, description="photos with fewer tags do not become instruction data")
    min_photos: int = Field(30, ge=1, description="a leaderboard on fewer photos says so in its first sentence")
    max_duplicate_share: float = Field(0.05, ge=0, le=1, description="share of near-duplicate photos in a batch above which a check warns")
    max_broken_share: float = Field(0.1, ge=0, le=1, description="share of broken photos in a batch above which a gate closes")
    models: dict[str, TaggerSettings] = Field({}, description="models to compare, each a section [vlm.models.NAME]")

    @field_validator("models")
    @classmethod
    def _names_are_keys(cls, models: dict[str, TaggerSettings]) -> dict[str, TaggerSettings]:
        for name in models:
            if not re.fullmatch(r"[a-z0-9](?:-?[a-z0-9]){0,29}", name):
                raise ValueError(f"{name!r}: use lowercase letters, digits and single '-' (at most 30)")
        return models
