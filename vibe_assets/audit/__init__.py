"""Truth -> human verdicts: the audit page, the verdict log, agreement between people, Label Studio in and out."""
