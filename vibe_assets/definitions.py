"""The one Dagster entry point: everything of defs/ as one code location."""

import dagster as dg

from vibe_assets.defs import automation, embeddings, library, reports, runtime, students, teacher, truth
from vibe_assets.defs.checks import checks
from vibe_assets.defs.resources import Installation, Warehouse

defs = dg.Definitions(
    assets=[*library.assets, *teacher.assets, *truth.assets, *embeddings.assets, *students.assets, *runtime.assets, *reports.assets],
    asset_checks=checks,
    jobs=automation.jobs,
    schedules=automation.schedules,
    sensors=automation.sensors,
    resources={"installation": Installation(), "warehouse": Warehouse()},
    executor=dg.in_process_executor,  # a step costs 0.15 s instead of 3 CPU seconds; every run has its own process anyway
)
