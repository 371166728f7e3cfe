"""The one Dagster entry point: everything of defs/ as one code location."""

import dagster as dg

from vibe_assets.defs import automation, embeddings, export, library, names, reports, runtime, students, teacher, truth
from vibe_assets.defs.checks import checks
from vibe_assets.defs.resources import Installation, Warehouse

defs = dg.Definitions(
    assets=[*library.assets, *teacher.assets, *truth.assets, *embeddings.assets, *students.assets, *runtime.assets, *reports.assets, *export.assets, *names.assets],
    asset_checks=[*checks, *names.checks],
    jobs=[*automation.jobs, *names.jobs],
    schedules=automation.schedules,
    sensors=automation.sensors,
    resources={"installation": Installation(), "warehouse": Warehouse()},
    executor=dg.in_process_executor,  # a step costs 0.15 s instead of 3 CPU seconds; every run has its own process anyway
)
