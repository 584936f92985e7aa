# SPDX-License-Identifier: Apache-2.0
"""verify and doctor on a machine with a CPU alone: what passes, what must fail, and what is said."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from facedepth_edge import EdgeDepth, doctor, head_pose
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends.base import open_backend
from facedepth_edge.cli import main
from facedepth_edge.errors import ArtifactError, BackendUnavailable
from facedepth_edge.spec import ModelSpec
from facedepth_edge.verify import LIMITS, Limits, check_golden_faces, compare_faces, load_golden_faces
from tests.tiny_model import entry_of


def run_cli(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def versions_from(installed: dict[str, str]) -> Any:
    """Return an installed_version() that knows these distributions."""
    return lambda *names: next((installed[name] for name in names if name in installed), None)


def with_golden(source: Path, folder: Path, **changes: np.ndarray | None) -> Path:
    """Copy an artifact and change arrays of its golden faces; None leaves one out."""
    shutil.copytree(source, folder)
    with np.load(folder / "golden.npz") as file:
        arrays = {name: file[name] for name in file.files}
    merged: dict[str, Any] = {**arrays, **changes}
    np.savez(folder / "golden.npz", **{name: value for name, value in merged.items() if value is not None})
    spec = ModelSpec.from_json((folder / "spec.json").read_bytes())
    spec = dataclasses.replace(spec, files={**spec.files, "golden.npz": entry_of(folder / "golden.npz")})
    (folder / "spec.json").write_text(spec.to_json())
    return folder


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_bundled_model_passes(edge_artifact: Path, precision: str) -> None:
    done = run_cli("verify", "--backend", "onnxruntime", "--precision", precision, "--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert len(data["faces"]) >= 4
    assert all(face["ok"] and face["against"] == "stored" for face in data["faces"])
    assert data["limits"] == dataclasses.asdict(LIMITS[precision])
    assert 0 <= max(face["mean_mm"] for face in data["faces"]) <= LIMITS[precision].mean_mm


def test_table_and_live_reference(tiny_reference_artifact: Path) -> None:
    done = run_cli("verify", "--model", str(tiny_reference_artifact), "--live")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "tiny 1.2.3, fp32, onnxruntime (CPUExecutionProvider)"
    assert [line.split()[1] for line in lines[2:-1]] == ["stored"] * 4 + ["live"] * 4
    assert "limits: mean 0.05 mm" in lines[-1]


def test_live_without_a_reference(tiny_artifact: Path) -> None:
    done = run_cli("verify", "--model", str(tiny_artifact), "--live")
    assert done.exit_code == 1
    assert "no reference.pt2" in done.stderr


@pytest.mark.parametrize("kind", ["depth", "mask", "validity", "nan"])
def test_wrong_answers_fail(tiny_artifact: Path, tmp_path: Path, kind: str) -> None:
    golden = dict(np.load(tiny_artifact / "golden.npz"))
    name = "depth" if kind == "nan" else kind
    wrong = golden[name].copy()
    wrong[2] = np.nan if kind == "nan" else wrong[2] + 0.02 if kind == "depth" else 1 - wrong[2]
    folder = with_golden(tiny_artifact, tmp_path / "tiny", **{name: wrong})
    done = run_cli("verify", "--model", str(folder), "--precision", "fp32", "--json")
    assert done.exit_code == 1
    faces = json.loads(done.stdout)["faces"]
    assert [face["ok"] for face in faces] == [True, True, False, True]
    if kind == "depth":
        assert faces[2]["mean_mm"] == pytest.approx(0.02 * 160, rel=1e-3)
    if kind == "nan":
        assert faces[2]["mean_mm"] is None
    assert done.stderr.splitlines()[-1].startswith("FAIL facedepth-edge verify")
    with pytest.raises(BackendUnavailable, match="self-test of backend 'onnxruntime': got 1 of 4 golden faces past"):
        EdgeDepth(folder, precision="fp32", self_test=True)
    EdgeDepth(folder, precision="fp32").close()


def test_self_test_passes(tiny_artifact: Path, frame: np.ndarray) -> None:
    with EdgeDepth(tiny_artifact, precision="fp32", self_test=True) as edge:
        assert edge.predict(frame, (250, 170)).depth_mm.shape == (96, 96)


@pytest.mark.parametrize("model", ["tiny_artifact", "edge_artifact"])
def test_outputs_whose_names_are_swapped_in_the_spec(
    model: str, request: pytest.FixtureRequest, tmp_path: Path, frame: np.ndarray
) -> None:
    """Same shapes, and golden.npz is read by the same names: only what the values can be tells."""
    folder = Path(shutil.copytree(request.getfixturevalue(model), tmp_path / "swapped"))
    data = json.loads((folder / "spec.json").read_text())
    data["outputs"]["depth"]["name"], data["outputs"]["mask"]["name"] = "mask", "depth"
    (folder / "spec.json").write_text(json.dumps(data))
    done = run_cli("verify", "--model", str(folder))
    assert done.exit_code == 1
    assert re.search(r"golden\.npz: depth: got values from -.*expected 0 to 1, .*it is the mask", done.stderr)
    assert "outputs.mask.name" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("FAIL facedepth-edge verify")
    with pytest.raises(ArtifactError, match=r"spec\.json says that it is the mask"):
        EdgeDepth(folder, self_test=True)
    found = run_cli("doctor", "--model", str(folder))
    assert found.exit_code == 1
    assert re.search(r"! onnxruntime +wrong model: .*it is the mask", found.stdout)


def test_limits_are_by_face_and_not_by_pixel(tiny_artifact: Path) -> None:
    artifact = open_artifact(tiny_artifact)
    _, reference = load_golden_faces(artifact)
    got = {name: value.copy() for name, value in reference.items()}
    got["depth"][1, 0, :8] += 0.01  # 1.6 mm on a twelfth of the face: 0.133 mm on average
    limits = Limits(mean_mm=0.2, mask_iou=1.0, validity=0.0)
    checks = compare_faces(artifact, got, reference, limits, "stored")
    assert checks[1].mean_mm == pytest.approx(0.01 * 160 / 12, rel=1e-3)
    assert checks[1].largest_mm == pytest.approx(1.6, rel=1e-3)
    assert all(check.ok for check in checks)
    tighter = dataclasses.replace(limits, mean_mm=0.1)
    assert [check.ok for check in compare_faces(artifact, got, reference, tighter, "stored")] == [
        True,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"face": None},
        {"depth": None},
        {"face": np.zeros((4, 1, 64, 64), np.float32)},
        {"validity": np.zeros((3, 1), np.float32)},
        {"depth": np.zeros((4, 1, 96, 96))},
        {"more": np.zeros(1, np.float32)},
    ],
)
def test_golden_faces_that_are_not_what_the_spec_says(
    tiny_artifact: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder = with_golden(tiny_artifact, tmp_path / "tiny", **changes)
    with pytest.raises(ArtifactError, match=r"golden\.npz: got .*expected face and depth, mask, validity"):
        load_golden_faces(open_artifact(folder))


def test_golden_faces_that_are_no_arrays(tiny_artifact: Path, tmp_path: Path) -> None:
    folder = with_golden(tiny_artifact, tmp_path / "tiny")
    (folder / "golden.npz").write_bytes(b"PK\3\4 nothing")
    spec = ModelSpec.from_json((folder / "spec.json").read_bytes())
    spec = dataclasses.replace(spec, files={**spec.files, "golden.npz": entry_of(folder / "golden.npz")})
    (folder / "spec.json").write_text(spec.to_json())
    with pytest.raises(ArtifactError, match=r"golden\.npz: got .*expected arrays that numpy"):
        load_golden_faces(open_artifact(folder))


def test_golden_faces_in_one_precision_after_the_other(tiny_artifact: Path) -> None:
    artifact = open_artifact(tiny_artifact)
    coarse = check_golden_faces(artifact, open_backend("onnxruntime", artifact, "int8", 1))
    exact = check_golden_faces(artifact, open_backend("onnxruntime", artifact, "fp32", 1))
    assert max(check.mean_mm for check in exact) < 0.001 < max(check.mean_mm for check in coarse)


def test_doctor_on_a_cpu(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = run_cli("doctor", "--model", str(tiny_artifact), "--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    topics = {finding["topic"]: finding for finding in data["findings"]}
    assert {
        "python",
        "threads",
        "numpy",
        "onnxruntime",
        "crop",
        "gpu",
        "nvcc",
        "cache",
        "model",
        "head pose",
        "auto",
    } <= topics.keys()
    assert topics["head pose"]["text"] == "its weights are whole"
    assert data["auto"] == "onnxruntime"
    assert data["backends"]["onnxruntime"].startswith("works: int8 on CPUExecutionProvider, golden faces within 0.")
    assert data["backends"]["tensorrt"].startswith("not used: ")
    assert data["backends"]["torch"].startswith("not used: ")
    assert any(finding["text"].startswith("edge ") for finding in data["findings"]), "bundled models are checked too"
    assert data["ok"] is True


def test_doctor_finds_a_damaged_model(tiny_artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_artifact, tmp_path / "tiny"))
    with (folder / "int8.onnx").open("r+b") as file:
        file.write(b"damaged")
    done = run_cli("doctor", "--model", str(folder))
    assert done.exit_code == 1
    assert "! model" in done.stdout
    assert "int8.onnx: got SHA-256" in done.stdout
    assert run_cli("doctor", "--model", str(tmp_path / "nothing")).exit_code == 1


def test_doctor_finds_damaged_weights_of_the_head_pose(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_pose, "WEIGHTS_FILE", str(tmp_path / "none.safetensors"))
    done = run_cli("doctor", "--model", str(tiny_artifact))
    assert done.exit_code == 1
    assert "! head pose" in done.stdout
    assert "none.safetensors: got FileNotFoundError" in done.stdout


def test_doctor_finds_wrong_answers(tiny_artifact: Path, tmp_path: Path) -> None:
    folder = with_golden(tiny_artifact, tmp_path / "tiny", depth=np.zeros((4, 1, 96, 96), np.float32))
    done = run_cli("doctor", "--model", str(folder))
    assert done.exit_code == 1
    assert "wrong answers" in done.stdout
    assert "facedepth-edge verify --backend onnxruntime" in done.stdout


def test_doctor_finds_packages_that_overwrite_each_other(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"onnxruntime": "1.20", "onnxruntime-gpu": "1.20"}
    monkeypatch.setattr(doctor, "installed_version", versions_from(both))
    found = doctor.diagnose(str(tiny_artifact))
    (clash,) = [finding for finding in found.findings if finding.topic == "packages"]
    assert clash.text == "onnxruntime and onnxruntime-gpu overwrite each other's files"
    assert clash.fix.startswith("pip uninstall -y onnxruntime onnxruntime-gpu")
    assert not found.ok


def jetson_findings(
    monkeypatch: pytest.MonkeyPatch, folder: Path, origin: str | None, release: str = "R36"
) -> dict[str, doctor.Finding]:
    """Run the part for a Jetson on files and programs that look like one."""
    (folder / "release").write_text(f"# {release} (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    (folder / "model").write_bytes(b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0")
    for name, answer in (("nvpmodel", "NV Power Mode: 25W\\n1"), ("dpkg-query", "6.2+b77")):
        (folder / name).write_text(f"#!/bin/sh\nprintf '{answer}'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(doctor, "JETSON_FILE", folder / "release")
    monkeypatch.setattr(doctor, "JETSON_MODEL_FILE", folder / "model")
    spec = None if origin is None else type("Spec", (), {"origin": origin})
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(doctor, "_has_jetpack", lambda: True)
    found = doctor.Diagnosis()
    doctor._look_at_jetson(found)
    return {finding.topic: finding for finding in found.findings}


def test_doctor_on_a_jetson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = jetson_findings(monkeypatch, tmp_path, "/usr/lib/python3.10/dist-packages/tensorrt/__init__.py")
    assert found["jetson"].text.startswith("NVIDIA Jetson Orin Nano")
    assert "R36 (release), REVISION: 4.3" in found["jetson"].text
    assert found["jetpack"].text == "6.2+b77"
    assert found["power mode"].text == "NV Power Mode: 25W 1"
    assert "not used" in found["dla"].text
    assert "tensorrt" not in found


def test_doctor_on_a_jetson_whose_environment_hides_jetpacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = jetson_findings(monkeypatch, tmp_path, None)["tensorrt"]
    assert (missing.state, "--system-site-packages" in missing.fix) == ("broken", True)
    monkeypatch.setattr(sys, "base_prefix", "/somewhere/else")
    pips = jetson_findings(monkeypatch, tmp_path, f"{sys.prefix}/lib/tensorrt/__init__.py")["tensorrt"]
    assert (pips.state, pips.fix) == ("broken", "pip uninstall tensorrt: on a Jetson only the system's works.")
    pips = jetson_findings(monkeypatch, tmp_path, f"{sys.prefix}/lib/tensorrt/__init__.py", "R38")["tensorrt"]
    assert pips.state == "note"  # NVIDIA has wheels for JetPack 7
    assert "pip uninstall tensorrt" in pips.fix


@pytest.mark.parametrize(("compiler", "newer"), [((12, 8), False), ((13, 0), True), (None, False)])
def test_doctor_holds_compiler_and_tensorrt_against_the_driver(
    monkeypatch: pytest.MonkeyPatch, gpu: Any, compiler: tuple[int, int] | None, newer: bool
) -> None:
    monkeypatch.setattr(doctor, "find_nvcc", lambda: "/opt/cuda/bin/nvcc")
    monkeypatch.setattr(doctor, "nvcc_version", lambda nvcc: compiler)
    installed = {"tensorrt": "11.0", "tensorrt-cu13": "11.0"} if newer else {"tensorrt-cu12": "10.16.1"}
    monkeypatch.setattr(doctor, "installed_version", versions_from(installed))
    found = doctor.Diagnosis()
    doctor._look_at_gpu(found)  # the stand-in's driver is of CUDA 12.6
    (nvcc,) = [finding for finding in found.findings if finding.topic == "nvcc"]
    assert nvcc.state == ("note" if newer else "ok")
    assert ("set CUDA_HOME" in nvcc.fix) == newer
    assert any("tensorrt-cu12" in finding.fix for finding in found.findings) == newer
    there = next(finding for finding in found.findings if finding.topic == "tensorrt")
    assert there.text == ("11.0" if newer else "10.16.1"), "also where tensorrt-cu12 was installed alone"


def test_doctor_with_a_gpu(gpu: Any, trt_artifact: Path) -> None:
    """Nothing is built: without an engine tensorrt is not used, with one it is what auto takes."""
    done = run_cli("doctor", "--model", str(trt_artifact), "--json")
    data = json.loads(done.stdout)
    assert (data["auto"], data["ok"]) == ("onnxruntime", True)
    assert "build-engine" in data["backends"]["tensorrt"]
    assert gpu.trt.builds == 0
    assert run_cli("build-engine", "--model", str(trt_artifact)).exit_code == 0
    data = json.loads(run_cli("doctor", "--model", str(trt_artifact), "--json").stdout)
    assert data["auto"] == "tensorrt"
    assert data["backends"]["tensorrt"].startswith(
        "works: int8 on TensorRT 10.3.0 on Fake Orin, golden faces within 0.00"
    )
    texts = [finding["text"] for finding in data["findings"]]
    assert "Fake Orin; the driver is of CUDA 12.6" in texts
    assert any("1 engines" in text for text in texts)


@pytest.mark.parametrize("command", ["verify", "doctor", "build-engine"])
def test_help_needs_no_extras(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "pycuda", "onnxruntime", "cv2", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    done = run_cli(command, "-h")
    assert done.exit_code == 0
    assert f"{command} [OPTIONS]" in done.stdout
