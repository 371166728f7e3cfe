"""What a run prints: what its assets say and what went wrong. Dagster's own events stay in the instance, a line for each would be too many."""

import dagster as dg

console = dg.LoggerDefinition(
    dg.colored_console_logger.logger_fn,
    {
        "log_level": dg.Field(str, default_value="INFO", is_required=False, description="The least level that is printed"),
        "name": dg.Field(str, default_value="dagster", is_required=False, description="The name that stands in each line"),
    },
    description="Colourful lines on the console",
)
