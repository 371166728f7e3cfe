"""Settings and trained adapters become the models that can be asked, each with one identity whatever it is called."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vibe_assets.records import fingerprint
from vibe_assets.settings import TaggerSettings
from vibe_assets.stages.platform import Platform
from vibe_assets.strangers import json_value
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.tags import ANSWER_VERSION, TAGS_JSON_SCHEMA, load_prompt

CARD = "card.json"
VOLATILE = frozenset({"base_model_name_or_path", "revision", "peft_version", "inference_mode", "auto_mapping"})  # of adapter_config.json


@dataclass(frozen=True)
class Model:
    """One model under one name. `source` and `adapter` are resolved: a hub name, or absolute folders."""

    name: str
    settings: TaggerSettings
    source: str = ""  # of a local model
    adapter: Path | None = None
    card: Path | None = None  # of an adapter that was trained here

    @property
    def local(self) -> bool:
        return bool(self.settings.local)

    @property
    def provider(self) -> str:
        """As the settings name it, else host of the endpoint (with its port where it has one), or local."""
        if self.settings.provider:
            return self.settings.provider
        return "local" if self.local else urlsplit(self.settings.base_url).netloc.rpartition("@")[2]

    @property
    def model_id(self) -> str:
        """The model's name as the server or the hub knows it; the folder's name where it is one."""
        if not self.local:
            return self.settings.model
        return Path(self.source).name if Path(self.source).is_dir() else self.source

    @cached_property
    def adapter_version(self) -> str | None:
        """Hash of the adapter's weights, and of the settings of its that change an answer."""
        if self.adapter is None:
            return None
        weights = self.adapter / "adapter_model.safetensors"
        if not weights.is_file():
            raise VlmError(f"[vlm.models.{self.name}] adapter: {weights} is missing; `vibe vlm finetune` writes it")
        with weights.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return fingerprint({"weights": digest, "config": _adapter_config(self.adapter / "adapter_config.json")})

    @cached_property
    def identity(self) -> str:
        """The same for one model listed twice, be it in the settings and among the adapters: it is counted once."""
        adapter = f"+{self.adapter_version}" if self.adapter is not None else ""
        return f"{self.provider}/{self.model_id}{adapter}"

    def fingerprint(self, prompt: str) -> str:
        """16 hex digits over all that changes an answer; prices, patience and names do not."""
        keys = ("temperature", "max_tokens", "max_side_px")
        return fingerprint(
            {
                "identity": self.identity,
                "weights": _weights_of(self.source) if self.local else None,
                "prompt": prompt,
                "schema": TAGS_JSON_SCHEMA,
                "read": ANSWER_VERSION,
                **{key: getattr(self.settings, key) for key in keys},
            }
        )

    def cost_usd(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """Tokens times prices; None where a price or a count is missing."""
        if self.local:
            return 0.0
        prices = (self.settings.input_price, self.settings.output_price)
        if None in (*prices, prompt_tokens, completion_tokens):
            return None
        return ((prompt_tokens or 0) * (prices[0] or 0) + (completion_tokens or 0) * (prices[1] or 0)) / 1e6


def adapters_dir(platform: Platform) -> Path:
    return platform.settings.vlm_dir / "adapters"


def models(platform: Platform) -> dict[str, Model]:
    """Every model of the settings, and every adapter that was trained here with its base attached by itself."""
    base = platform.settings.base
    found = {
        name: Model(name, chosen, _resolved(chosen.local, base), None if chosen.adapter is None else (base / chosen.adapter.expanduser()))
        for name, chosen in platform.settings.vlm.models.items()
    }
    for file in sorted(adapters_dir(platform).glob(f"*/{CARD}")):
        card = read_card(file)
        if file.parent.name not in found:
            # asked as its base is asked in the settings, so that the two differ in nothing but the adapter
            like = next((one.settings for one in found.values() if one.local and one.source == card["base"] and one.adapter is None), None)
            chosen = (like or TaggerSettings.model_validate({"local": card["base"]})).model_copy(
                update={"adapter": file.parent / "adapter"}
            )
            found[file.parent.name] = Model(file.parent.name, chosen, str(card["base"]), file.parent / "adapter", file)
    return found


def model_named(platform: Platform, name: str) -> Model:
    """Raises VlmError naming the models there are."""
    known = models(platform)
    if name not in known:
        raise VlmError(f"no model {name!r}; known are {', '.join(known) or 'none'}: add [vlm.models.{name}] to the settings")
    return known[name]


def read_card(file: Path) -> dict[str, Any]:
    try:
        card = json_value(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VlmError(f"{file}: {error}; remove the folder, or train the adapter again") from error
    if not isinstance(card, dict) or not isinstance(card.get("base"), str):
        raise VlmError(f"{file}: names no base model; remove the folder, or train the adapter again")
    return card


def prompt_of(platform: Platform) -> str:
    """The prompt in force."""
    return load_prompt(platform.settings.vlm.prompt, platform.settings.base)


def _resolved(local: str, base: Path) -> str:
    """A folder is named from where the settings lie; hub names stay as they are."""
    folder = base / Path(local).expanduser()
    return str(folder.resolve()) if local and folder.is_dir() else local


def _adapter_config(file: Path) -> dict[str, Any]:
    """How the weights are applied: rank, alpha, modules ...; where the base lies and which library wrote it say nothing about that."""
    said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    kept = {name: value for name, value in said.items() if name not in VOLATILE}
    words = {name: sorted(value) for name, value in kept.items() if isinstance(value, list) and all(isinstance(one, str) for one in value)}
    return kept | words  # lists of modules are sets: saved in any order


def _weights_of(source: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a folder's weight files: reading gigabytes for a hash would take longer than most questions."""
    folder = Path(source)
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
