"""Tiny models, saved once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.encoders import models


@pytest.fixture(scope="session")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_dinov2(tmp_path_factory.mktemp("dinov2"))


@pytest.fixture(scope="session")
def naflex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_naflex(tmp_path_factory.mktemp("naflex"))


@pytest.fixture(scope="session")
def openclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_openclip(tmp_path_factory.mktemp("openclip"))


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime", reason="onnxruntime is optional: pip install 'vibe-assets[onnx]'")
    pytest.importorskip("onnx", reason="onnx is optional: pip install 'vibe-assets[onnx]'")
    return models.save_onnx(tmp_path_factory.mktemp("onnx") / "tower.onnx")
