"""Asset checks: the gates of stages/gates.py, attached to the assets they guard."""

from vibe_assets.defs.checks.data import data_checks
from vibe_assets.defs.checks.models import model_checks

checks = [*data_checks, *model_checks]
