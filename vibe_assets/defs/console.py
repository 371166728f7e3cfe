"""What a run prints: what assets say and what went wrong. The instance keeps all of Dagster's events; a line for each would be too many."""

import dagster as dg

console = dg.LoggerDefinition(
    dg.colored_console_logger.logger_fn,
    {
        "log_level": dg.Field(str, default_value="INFO", is_required=False, description="The least level that is printed"),
        "name": dg.Field(str, default_value="dagster", is_required=False, description="The name that stands in each line"),
    },
    description="Colourful lines on the console",
)
