"""What a step prints is kept in files that its page in the Dagster UI shows, and nothing else is started for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import Field, StringSource
from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData


class FileComputeLogManager(LocalComputeLogManager):
    """Dagster's own, less the two `tail -F` and the two interpreters that each step starts to repeat the files on the console.

    They cost a small step more than its work does, filled the console, and the tails stayed behind when everything was killed at once.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {"base_dir": Field(StringSource, is_required=False, description="default: storage/ of the Dagster home")}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> FileComputeLogManager:
        base_dir = config_value.get("base_dir") or str(Path(os.environ["DAGSTER_HOME"]).expanduser() / "storage")
        return cls(base_dir, inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        """Send both streams to their files for the length of the block."""
        out, err = (Path(self.get_captured_local_path(log_key, ending)) for ending in ("out", "err"))
        out.parent.mkdir(parents=True, exist_ok=True)
        with redirect_to_file(sys.stdout, str(out)), redirect_to_file(sys.stderr, str(err)):
            yield CapturedLogContext(log_key)
        Path(self.complete_artifact_path(log_key)).touch()  # says that nothing more will come
