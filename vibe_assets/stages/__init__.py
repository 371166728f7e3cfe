"""Each stage of the platform as one function from lake to lake; the assets and the `vibe` command call the same ones."""
