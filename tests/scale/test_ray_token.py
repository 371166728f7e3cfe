"""A real Ray head with a token: the doctor finds the right token good and names a wrong one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.scale.ray_cluster import running_cluster
from vibe_assets.engine import EngineError
from vibe_assets.engine.ray_session import describe
from vibe_assets.sections import EngineSettings

pytestmark = [pytest.mark.scale, pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray here")]


def test_a_wrong_token_is_no_good_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with running_cluster(tmp_path, workers=0, namespaces=False) as cluster:
        settings = EngineSettings.model_validate({"kind": "ray", "address": cluster.address})
        monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.env["RAY_AUTH_TOKEN"])
        assert f"the head at {cluster.address} answers" in describe(settings)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
        with pytest.raises(EngineError, match="refuses the token; give the token of its cluster as RAY_AUTH_TOKEN") as raised:
            describe(settings)
    assert "f" * 64 not in str(raised.value)
