"""`python -m vibe_assets.cli`: the same as `vibe`."""

from vibe_assets.cli import main

if __name__ == "__main__":
    main()
