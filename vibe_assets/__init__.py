"""vibe_assets: a Dagster asset-based platform that labels photo libraries, teacher to student."""

__version__ = "0.1.0"
