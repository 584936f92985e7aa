# SPDX-License-Identifier: Apache-2.0
"""Tests what is packed and what an installation of it does."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import cv2
import pytest

from tests.test_readme import command_named

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WHEEL_LIMIT_BYTES = 15_500_000


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What a wheel is built from, with a reference.pt2 beside every model as a developer's checkout may have it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("facedepth_edge", "runtime"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    for spec in (folder / "facedepth_edge" / "models").glob("*/spec.json"):
        (spec.parent / "reference.pt2").write_bytes(b"only for a checkout")
    return folder


def build(checkout, out, *kinds, **environment):
    """Run `python -m build` in this environment; CI and FACEDEPTH_EDGE_NATIVE are those given, or unset."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "FACEDEPTH_EDGE_NATIVE")}
    command = [sys.executable, "-m", "build", *kinds, "--no-isolation", "--outdir", str(out), str(checkout)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**inherited, **environment}, check=False
    )


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory):
    """Folder with an sdist, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("built")
    done = build(checkout, out, CI="true")
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_the_runtime_and_its_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    packed = {name for name in names if not re.match(r"facedepth_edge-[\d.]+\.dist-info/", name)}
    assert {name.split("/")[0] for name in packed} == {"facedepth_edge"}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "facedepth_edge").rglob("*.py")}
    data = {"facedepth_edge/demo/frame.png", "facedepth_edge/demo/frame.json", "facedepth_edge/py.typed"}
    data |= {"facedepth_edge/kernels/face_crop.cu", "facedepth_edge/_native.pyi"}
    data |= {f"facedepth_edge/models/edge/{name}" for name in ("spec.json", "golden.npz", "fp32.onnx")}
    data.add("facedepth_edge/models/head_pose.safetensors")
    assert sources | data <= packed
    assert not [name for name in packed - data if name.endswith((".pt2", ".pyc", ".pt", ".safetensors", ".h", ".a"))]
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_wheel_holds_the_native_module(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (module,) = [name for name in archive.namelist() if name.endswith(".so")]
    if sys.version_info >= (3, 12):
        assert module == "facedepth_edge/_native.abi3.so"
        assert "-cp312-abi3-" in wheel.name
    else:
        tag = f"cp3{sys.version_info.minor}"
        assert module.startswith(f"facedepth_edge/_native.cpython-{tag[2:]}-")
        assert f"-{tag}-{tag}-" in wheel.name


def test_the_sdist_holds_what_the_build_needs(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "runtime").rglob("*.[ch]*")}
    assert {"CMakeLists.txt", "pyproject.toml", "LICENSE", "runtime/bindings/module.cc"} | sources <= names
    assert not [name for name in names if name.endswith(".pt2") or name.startswith((".ci", "shared"))]


@pytest.mark.slow
def test_without_a_compiler_the_package_is_built_all_the_same(checkout, tmp_path):
    missing = {"CC": "no-such-cc", "CXX": "no-such-c++"}
    done = build(checkout, tmp_path, "--wheel", **missing)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert {"facedepth_edge/models/edge/spec.json", "facedepth_edge/kernels/face_crop.cu"} <= set(names)
    assert not [name for name in names if name.endswith(".so")]
    for strict in ({"CI": "true"}, {"FACEDEPTH_EDGE_NATIVE": "1"}):  # must not hide it
        failed = build(checkout, tmp_path / "strict", "--wheel", **missing, **strict)
        assert failed.returncode != 0
        assert "no-such-c++" in failed.stdout + failed.stderr


def test_the_wheel_is_small(wheel):
    assert 100_000 < wheel.stat().st_size < WHEEL_LIMIT_BYTES


def test_the_runtime_asks_for_what_the_device_needs_only():
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert names == {"click", "numpy", "onnxruntime", "opencv-python"}
    assert set(PROJECT["optional-dependencies"]) == {"train", "export", "tensorrt", "crosscheck", "dev"}


def test_every_requirement_has_a_tested_version():
    pinned = set(
        re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8").lower(), re.MULTILINE)
    )
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *extras["train"], *extras["export"], *extras["dev"]]
    names = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in asked} - {"facedepth-edge"}
    assert len(names) > 10
    assert names - pinned == set()


@pytest.mark.slow
@pytest.mark.serial
def test_the_first_command_of_the_readme_ends_in_a_picture(checkout, tmp_path):
    """A machine with Python and the package index, no torch: less than two minutes."""
    folder = tmp_path / "clone"
    shutil.copytree(checkout, folder)
    started = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", command_named("demo")], cwd=folder, capture_output=True, text=True, timeout=300
    )
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    assert cv2.imread(str(folder / "facedepth-edge-demo.png")).std() > 20
    assert "PASS facedepth-edge demo" in done.stderr
    installed = {path.name.split("-")[0].lower() for path in folder.glob(".venv/lib/python*/site-packages/*.dist-info")}
    assert {"facedepth_edge", "numpy", "onnxruntime", "opencv_python", "click"} <= installed
    assert installed & {"torch", "onnx", "lightning_fabric"} == set()
    assert seconds < 120
