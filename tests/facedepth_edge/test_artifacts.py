# SPDX-License-Identifier: Apache-2.0
"""A model is found by name or folder, and no byte of it is used unchecked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facedepth_edge import artifacts
from facedepth_edge.api import EdgeDepth
from facedepth_edge.artifacts import list_models, open_artifact
from facedepth_edge.errors import ArtifactError, ConfigError


@pytest.fixture
def copied(tiny_artifact: Path, tmp_path: Path) -> Path:
    """Give a copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_artifact, tmp_path / "tiny"))


def test_read_returns_the_file(tiny_artifact: Path) -> None:
    artifact = open_artifact(tiny_artifact)
    assert artifact.read("fp32.onnx") == (tiny_artifact / "fp32.onnx").read_bytes()
    assert artifact.spec.name == "tiny"


def test_altered_file(copied: Path) -> None:
    path = copied / "fp32.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"fp32\.onnx: got SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        EdgeDepth(copied, precision="fp32")


def test_truncated_file(copied: Path) -> None:
    path = copied / "fp32.onnx"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=rf"fp32\.onnx: got {size - 10} bytes, expected {size} bytes"):
        EdgeDepth(copied, precision="fp32")


def test_missing_file(copied: Path) -> None:
    (copied / "fp32.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"fp32\.onnx: got No such file"):
        EdgeDepth(copied, precision="fp32")


def test_damage_is_no_reason_to_take_another_backend(copied: Path) -> None:
    (copied / "int8.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"int8\.onnx"):
        EdgeDepth(copied)


def test_file_that_the_spec_does_not_list(copied: Path) -> None:
    (copied / "extra.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"a file that the spec does not list, expected one of fp32.onnx"):
        open_artifact(copied).read("extra.onnx")


def test_missing_spec(copied: Path) -> None:
    (copied / "spec.json").unlink()
    with pytest.raises(ArtifactError, match=r"spec\.json: got No such file"):
        open_artifact(copied)


def test_damaged_spec(copied: Path) -> None:
    text = (copied / "spec.json").read_text(encoding="utf-8")
    (copied / "spec.json").write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"tiny.spec\.json: JSON: got"):
        open_artifact(copied)


def test_bundled_models(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("beta", "alpha"):
        shutil.copytree(tiny_artifact, tmp_path / name)
    (tmp_path / "no_model").mkdir()
    monkeypatch.setattr(artifacts, "BUNDLED_FOLDER", str(tmp_path))
    assert list_models() == ("alpha", "beta")
    assert open_artifact("beta").folder == tmp_path / "beta"
    with pytest.raises(ArtifactError, match=r"model: got gamma, expected a bundled model \(alpha, beta\)"):
        open_artifact("gamma")


def test_a_bundled_model_as_a_path() -> None:
    """Commands whose option is a path pass one."""
    assert open_artifact(Path("edge")).folder == open_artifact("edge").folder


def test_a_path_to_a_folder_of_a_bundled_models_name(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_artifact, tmp_path / "edge")
    monkeypatch.chdir(tmp_path)
    assert open_artifact(Path("./edge")).folder.resolve() == (tmp_path / "edge").resolve()
    assert open_artifact("./edge").folder.resolve() == (tmp_path / "edge").resolve()
    assert open_artifact("edge").spec.name == "edge"


def test_no_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "BUNDLED_FOLDER", str(tmp_path / "models"))
    assert list_models() == ()
    with pytest.raises(ArtifactError, match=r"none: this installation has no models folder"):
        open_artifact("edge")


@pytest.mark.parametrize("model", [None, 3, ["edge"]])
def test_model_of_another_kind(model: object) -> None:
    with pytest.raises(ConfigError, match=r"model: got .*expected a text or a path"):
        open_artifact(model)  # type: ignore[arg-type]


def test_optional_file(copied: Path, tiny_reference_artifact: Path) -> None:
    assert open_artifact(tiny_reference_artifact).has("reference.pt2")
    assert not open_artifact(copied).has("reference.pt2")
    assert open_artifact(copied).has("fp32.onnx")
