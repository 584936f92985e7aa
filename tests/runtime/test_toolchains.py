# SPDX-License-Identifier: Apache-2.0
"""The native library under tools from outside the package index: libFuzzer, a cross compiler, TensorRT's headers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from facedepth_edge.cuda_kernels import find_nvcc
from tests.runtime.native_library import ROOT, configure, find_tool, run_tool

pytestmark = pytest.mark.toolchain

FUZZ_SECONDS = 10
HEADERS_VARIABLE = "TENSORRT_HEADERS"
"""Folders with TensorRT's public headers, one for each release, with colons between: v10.3.0/include:v11.1/include."""


def require_tool(name: str) -> str:
    """Return the path of a tool, or skip the test."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="session")
def fuzzers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built libFuzzer targets."""
    clang = require_tool("clang++")
    folder = tmp_path_factory.mktemp("fuzz")
    probe = folder / "probe.cc"
    probe.write_text('extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }\n')
    flags = ["-fsanitize=fuzzer,address,undefined", str(probe), "-o", str(folder / "probe")]
    if subprocess.run([clang, *flags], capture_output=True, check=False).returncode:
        pytest.skip("clang's libFuzzer is not installed (libclang-rt-dev)")
    options = ("-DFDE_BUILD_FUZZERS=ON", "-DFDE_SANITIZE=address,undefined", "-DFDE_WARNINGS_AS_ERRORS=ON")
    configure(ROOT, folder / "build", f"-DCMAKE_CXX_COMPILER={clang}", *options)
    run_tool("cmake", "--build", folder / "build")
    return folder / "build" / "runtime" / "fuzz"


@pytest.mark.slow
def test_fuzzing_finds_nothing(fuzzers: Path, tmp_path: Path, edge_artifact: Path) -> None:
    """Crop and file readers side by side, FUZZ_SECONDS each, from the bundled spec and a plan's metadata."""
    seeds = tmp_path / "files"
    seeds.mkdir()
    shutil.copy(edge_artifact / "spec.json", seeds)
    key = {"model_sha256": "0" * 64, "precision": "fp16", "tensorrt": "10.3.0", "gpu": "Orin", "platform": "linux"}
    key |= {"compute_capability": "8.7", "multiprocessors": 16, "options": {}}
    plan = {"format": 1, "sha256": "0" * 64, "bytes": 1, "key": key, "built": {}}
    (seeds / "plan.json").write_text(json.dumps(plan))
    limits = [f"-max_total_time={FUZZ_SECONDS}", "-max_len=4096", "-timeout=10", "-print_final_stats=1"]

    def fuzz(name: str, *inputs: Path) -> tuple[str, subprocess.CompletedProcess[bytes]]:
        command = [fuzzers / f"fuzz_{name}", *limits, *inputs]
        return name, subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(fuzz, "crop"), pool.submit(fuzz, "files", seeds)]
        for name, done in [future.result() for future in running]:
            said = done.stderr.decode(errors="replace")
            assert done.returncode == 0, f"fuzz_{name}:\n{said[-4000:]}"
            ran = re.search(r"stat::number_of_executed_units: (\d+)", said)
            assert ran is not None, said[-1000:]
            assert int(ran[1]) > 1000


@pytest.mark.slow
def test_it_builds_for_aarch64_and_its_tests_pass_there(tmp_path: Path) -> None:
    """Cross-compiled; run under qemu-user. Only doctest's headers are taken from this machine.

    The engine's tests, which run on stand-ins, say nothing of a processor: they are left to the sanitizers.
    """
    compiler, emulator = require_tool("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    doctest = Path("/usr/include/doctest"), Path("/usr/lib/cmake/doctest")
    if not all(folder.is_dir() for folder in doctest):
        pytest.skip("doctest is not installed")
    shutil.copytree(doctest[0], tmp_path / "prefix" / "include" / "doctest")
    shutil.copytree(doctest[1], tmp_path / "prefix" / "lib" / "cmake" / "doctest")
    options = [
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DFDE_WARNINGS_AS_ERRORS=ON",
    ]
    if emulator is not None:
        options += [
            f"-DCMAKE_CROSSCOMPILING_EMULATOR={emulator};-L;/usr/aarch64-linux-gnu",
            f"-Ddoctest_DIR={tmp_path / 'prefix' / 'lib' / 'cmake' / 'doctest'}",
            "-DFDE_BUILD_TESTS=ON",
        ]
    build = tmp_path / "build"
    configure(ROOT, build, *options)
    run_tool("cmake", "--build", build, "--target", "facedepth", *([] if emulator is None else ["test_facedepth"]))
    header = (build / "libfacedepth.so").resolve().read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64
    if emulator is None:
        pytest.skip("built; qemu-aarch64 is not installed, so nothing was run")
    ctest = Path(find_tool("cmake")).with_name("ctest")
    command = [ctest, "--test-dir", build, "--output-on-failure", "-R", "^test_facedepth:"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.search(r"100% tests passed(?:, 0 tests failed)? out of (\d+)", done.stdout)
    assert ran is not None
    assert int(ran[1]) >= 20


def test_the_tensorrt_engine_compiles_against_the_public_headers(tmp_path: Path) -> None:
    folders = [Path(folder) for folder in os.environ.get(HEADERS_VARIABLE, "").split(":") if folder]
    cuda = next((Path(folder) for folder in cuda_folders() if Path(folder, "cuda_runtime_api.h").is_file()), None)
    if not folders or cuda is None:
        pytest.skip(f"no {HEADERS_VARIABLE} with TensorRT's headers, or no cuda_runtime_api.h")
    compiler = require_tool("g++")
    for folder in folders:
        assert (folder / "NvInferRuntime.h").is_file(), folder
        warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
        systems = ["-isystem", str(folder), "-isystem", str(cuda)]
        command = [compiler, "-std=c++17", *warnings, *systems, "-I", str(ROOT / "runtime" / "include"), "-c"]
        for name in ("engine_trt", "device_crop_cuda", "device_crop_cpu"):
            source, made = ROOT / "runtime" / "src" / f"{name}.cc", tmp_path / f"{name}.o"
            done = subprocess.run([*command, source, "-o", made], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_an_old_cmake_tests_the_cuda_compiler_with_its_runtime() -> None:
    """CMake before 3.25 (JetPack 6) links its test of nvcc with what the variable says: None would fail there."""
    text = (ROOT / "runtime" / "cmake" / "CudaCrop.cmake").read_text()
    assert text.index("enable_language(CUDA)") < text.index("set(CMAKE_CUDA_RUNTIME_LIBRARY None)")


@pytest.fixture(scope="session")
def tensorrt_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that CMake takes for TensorRT's: the header of the stand-in and a library without its functions."""
    root = tmp_path_factory.mktemp("tensorrt")
    (root / "lib").mkdir()
    shutil.copytree(ROOT / "runtime" / "tests" / "stand_in", root / "include")
    (root / "include" / "cuda_runtime_api.h").unlink()  # the toolkit's is meant
    source = root / "nvinfer.cc"
    source.write_text("")
    compiler = require_tool("g++")
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", root / "lib" / "libnvinfer.so"], check=True)
    return root


def configure_engine(root: Path, build: Path, *options: str) -> str:
    """Configure the TensorRT engine and return what CMake said, as one line."""
    tools = [f"-DTensorRT_ROOT={root}", f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}", "-DFDE_WARNINGS_AS_ERRORS=ON"]
    done = run_tool("cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DFDE_TENSORRT=ON", *tools, *options)
    return " ".join(done.stdout.split())


def require_cuda_toolkit() -> None:
    nvcc = find_nvcc()
    if nvcc is None or not any(Path(folder, "cuda_runtime_api.h").is_file() for folder in cuda_folders()):
        pytest.skip("there is no CUDA toolkit")


@pytest.mark.slow
def test_with_nvcc_the_library_has_the_kernel(tensorrt_root: Path, tmp_path: Path) -> None:
    require_cuda_toolkit()
    said = configure_engine(tensorrt_root, tmp_path, "-DFDE_CUDA_CROP=ON", "-DCMAKE_CUDA_ARCHITECTURES=87")
    assert re.search(r"FDE_CUDA_CROP: the GPU crops, a part of the frame is uploaded: \S+ \S+ for 87", said)
    run_tool("cmake", "--build", tmp_path, "--target", "facedepth")
    assert b"fde_face_crop" in (tmp_path / "libfacedepth.so").read_bytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-DFDE_CUDA_CROP=OFF"], "(asked for by OFF)"),
        (["-DCMAKE_CUDA_COMPILER=NOTFOUND"], "got no CUDA compiler that works (nvcc;"),
    ],
)
def test_without_nvcc_the_cpu_crops(tensorrt_root: Path, tmp_path: Path, options: list[str], reason: str) -> None:
    require_cuda_toolkit()
    said = configure_engine(tensorrt_root, tmp_path, *options)
    assert "FDE_CUDA_CROP: the CPU crops, the face is uploaded" in said
    assert reason in said


def test_a_crop_on_the_gpu_that_was_asked_for_needs_nvcc(tensorrt_root: Path, tmp_path: Path) -> None:
    require_cuda_toolkit()
    with pytest.raises(RuntimeError, match=r"FDE_CUDA_CROP: got no\s+CUDA\s+compiler"):
        configure_engine(tensorrt_root, tmp_path, "-DFDE_CUDA_CROP=ON", "-DCMAKE_CUDA_COMPILER=NOTFOUND")


def cuda_folders() -> list[str]:
    return [*os.environ.get("CUDA_HEADERS", "").split(":"), "/usr/local/cuda/include"]


@pytest.mark.parametrize(
    ("version", "header"),
    [
        ("8.6", "#define NV_TENSORRT_MAJOR\t8 //!< major\n#define NV_TENSORRT_MINOR 6 //!< minor\n"),
        ("10.2", "#define NV_TENSORRT_MAJOR 10\n#define NV_TENSORRT_MINOR 2\n#define NV_TENSORRT_LWS_MAJOR 11\n"),
        ("10.3", "#define NV_TENSORRT_MAJOR 10\n#define NV_TENSORRT_MINOR 3\n"),
        ("11.1", "#define TRT_MAJOR_ENTERPRISE 11\n#define TRT_MINOR_ENTERPRISE 1\n"
                 "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n#define NV_TENSORRT_MINOR TRT_MINOR_ENTERPRISE\n"),
        ("12.0", "#define TRT_MAJOR_ENTERPRISE 12\n#define TRT_MINOR_ENTERPRISE 0\n"),
        ("", "#define SOMETHING_ELSE 1\n"),
    ],
)  # fmt: skip
def test_configuring_looks_at_tensorrts_version(tmp_path: Path, version: str, header: str) -> None:
    root = tmp_path / "tensorrt"
    for folder in ("include", "lib"):
        (root / folder).mkdir(parents=True)
    for name in ("NvInferRuntime.h", "cuda_runtime_api.h"):
        (root / "include" / name).write_text("")
    for name in ("libnvinfer.so", "libcudart.so"):
        (root / "lib" / name).write_bytes(b"")
    (root / "include" / "NvInferVersion.h").write_text(header)
    options = ["-DFDE_TENSORRT=ON", "-DFDE_CUDA_CROP=OFF", f"-DTensorRT_ROOT={root}", f"-DCUDAToolkit_ROOT={root}"]
    if version in ("8.6", "10.2", "12.0"):
        with pytest.raises(RuntimeError) as caught:
            configure(ROOT, tmp_path / "build", *options)
        assert f"FDE_TENSORRT: got TensorRT {version} in {root}" in " ".join(str(caught.value).split())
    else:
        configure(ROOT, tmp_path / "build", *options)


def test_configuring_for_tensorrt_says_what_is_missing(tmp_path: Path) -> None:
    roots = [f"-D{name}={tmp_path / 'nowhere'}" for name in ("TensorRT_ROOT", "CUDAToolkit_ROOT")]
    try:
        configure(ROOT, tmp_path, "-DFDE_TENSORRT=ON", *roots)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        assert "FDE_TENSORRT: got no " in said
        assert "expected TensorRT 10.3 to 11 and the CUDA runtime" in said
        assert "-DFDE_TENSORRT=OFF" in said
    else:
        pytest.skip("TensorRT is installed here")
