"""The settled installation of the graph's tests, with every key set while it was built."""

from tests.defs.conftest import settled

__all__ = ["settled"]
