# SPDX-License-Identifier: Apache-2.0
"""The native library as others get it: installed for C, clean headers, its own tests under sanitizers."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.engine_cache import EngineKey
from tests.oracles.face_crop import crop_levels
from tests.runtime.native_library import ROOT, NativeLibrary, configure, find_tool, run_tool

HEADERS = sorted((ROOT / "runtime" / "include" / "facedepth").glob("*.h"))


def test_programs_build_against_the_installed_library(installed_native: Path, tmp_path: Path) -> None:
    strict = ("-DCMAKE_C_FLAGS=-std=c99 -Werror", "-DCMAKE_CXX_FLAGS=-std=c++17 -Werror")
    configure(ROOT / "runtime" / "examples", tmp_path, f"-DCMAKE_PREFIX_PATH={installed_native}", *strict)
    run_tool("cmake", "--build", tmp_path)
    done = subprocess.run([tmp_path / "crop"], capture_output=True, text=True, check=True)
    found = re.fullmatch(r"facedepth (\S+): left (\S+), right (\S+)\n", done.stdout)
    assert found is not None, done.stdout
    ramp = np.broadcast_to((np.arange(1280) // 8).astype(np.uint8)[:, None], (720, 1280, 3))
    expected = crop_levels(ramp, (385.5, 105.5, 894.5, 614.5))[48, [0, -1]] / 127.5 - 1.0
    np.testing.assert_allclose([float(found[2]), float(found[3])], expected, atol=2e-4)
    assert expected[1] - expected[0] > 0.4
    help_text = subprocess.run([tmp_path / "predict"], capture_output=True, text=True, check=False)
    assert help_text.returncode == 2
    assert help_text.stderr.endswith("MODEL PLAN IMAGE X Y DISTANCE_MM FX DEPTH [FY CX CY]\n")
    model = ROOT / "facedepth_edge" / "models" / "edge"
    for numbers, intrinsics, told in (
        ("1234", (), "TensorRT: got a library that was built without it, expected a library built with"),
        ("1234", ("4", "5", "6"), "TensorRT: got a library that was built without it, expected a library built with"),
        (("1", "2", "3,5", "4"), (), "DISTANCE_MM: got 3,5, expected a number. "),
        ("1234", ("4", "", "6"), "CX: got , expected a number. "),
    ):
        command = [tmp_path / "predict", model, "no.plan", "x.ppm", *numbers, "out.pgm", *intrinsics]
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert refused.stderr.startswith(told), refused.stderr


def test_version_is_the_packages(native: NativeLibrary) -> None:
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None
    assert native.version() == declared[1]


def test_a_plans_key_is_the_same_in_both_languages() -> None:
    source = (ROOT / "runtime" / "src" / "spec.cc").read_text()
    found = re.search(r'top\.at\("key"\)\.check_keys\(\s*\{([^}]*)\}', source)
    assert found is not None
    names = re.findall(r'"(\w+)"', found[1])
    assert names == [field.name for field in dataclasses.fields(EngineKey)]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header.name)
def test_public_headers_are_the_same_for_everybody(header: Path) -> None:
    text = header.read_text()
    assert text.split("\n", 1)[0].strip("/* ") == "SPDX-License-Identifier: Apache-2.0"
    assert re.findall(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*", text, re.MULTILINE) == []
    allowed = r"<(?:std[a-z]+\.h|[a-z_]+)>|\"facedepth/[a-z_]+\.h\""
    includes = re.findall(r"^#include (.+)$", text, re.MULTILINE)
    assert [include for include in includes if re.fullmatch(allowed, include) is None] == []


@pytest.mark.toolchain
@pytest.mark.slow
def test_native_tests_pass_under_sanitizers(tmp_path: Path) -> None:
    try:
        configure(
            ROOT,
            tmp_path,
            "-DFDE_BUILD_TESTS=ON",
            "-DFDE_SANITIZE=address,undefined",
            "-DCMAKE_CXX_FLAGS_RELEASE=-O0",  # compiles in two thirds of the time
            "-DFDE_WARNINGS_AS_ERRORS=ON",
        )
    except RuntimeError as error:
        if "got no doctest" in str(error):
            pytest.skip("doctest is not installed")
        raise
    run_tool("cmake", "--build", tmp_path)
    ctest = Path(find_tool("cmake")).with_name("ctest")
    done = subprocess.run(
        [ctest, "--test-dir", tmp_path, "--output-on-failure"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.search(r"100% tests passed(?:, 0 tests failed)? out of (\d+)", done.stdout)
    assert ran is not None
    assert int(ran[1]) >= 10
