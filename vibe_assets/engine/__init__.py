"""Where the expensive work runs: in this process, or on a Ray cluster; the same functions, the same results."""
