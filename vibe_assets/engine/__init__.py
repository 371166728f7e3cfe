"""Where the expensive work runs: in this process, or on a Ray cluster; the same functions, the same results."""

from __future__ import annotations

from vibe_assets.engine.base import Engine, EngineError, Lost, MakeTask, Task, Work, in_order
from vibe_assets.engine.local import LocalEngine
from vibe_assets.sections import EngineSettings

__all__ = ["Engine", "EngineError", "LocalEngine", "Lost", "MakeTask", "Task", "Work", "in_order", "open_engine"]


def open_engine(settings: EngineSettings) -> Engine:
    """The engine of `[engine] kind`. Ray is imported and reached with the first work, not here."""
    if settings.kind == "local":
        return LocalEngine()
    from vibe_assets.engine.ray_engine import RayEngine

    return RayEngine(settings)
