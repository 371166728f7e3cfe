"""Imported by the server that runs are forked from: all that a run of a folder imports, and the repository built once."""

from importlib import import_module

from vibe_assets.operate.ui import DEFINITIONS

HEAVY = (
    "alembic.ddl.postgresql", "dagster._cli.api", "dagster._core.run_coordinator", "dagster._core.storage.sqlite_storage",
    "dagster._daemon.cli", "deltalake", "fsspec.implementations.local", "openai", "pyarrow.dataset", "safetensors.torch",
    "sklearn.linear_model", "torch", "upath.core", "upath.implementations.local",
)  # fmt: skip

for name in HEAVY:
    import_module(name)
repository = import_module(DEFINITIONS).defs.get_repository_def()
repository.get_job("__ASSET_JOB")
