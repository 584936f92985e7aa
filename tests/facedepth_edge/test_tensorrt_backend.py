# SPDX-License-Identifier: Apache-2.0
"""The backend tensorrt as a user meets it, on stand-ins: named, by `auto`, and where something is missing."""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from facedepth_edge import EdgeDepth
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends.base import choose_backend
from facedepth_edge.backends.tensorrt import TensorRtBackend, import_tensorrt
from facedepth_edge.cli import main
from facedepth_edge.cuda_driver import cuda_error
from facedepth_edge.cuda_kernels import CROP_SOURCE, compiled_kernel
from facedepth_edge.doctor import diagnose
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError
from facedepth_edge.verify import check_golden_faces
from tests.fake_gpu.installed import Machine, tensorrt_artifact
from tests.tiny_model import tiny_outputs


def build(folder: Path, precision: str = "fp16") -> None:
    TensorRtBackend.open(open_artifact(folder), precision, None, report=lambda line: None).close()


def test_named_builds_with_progress_on_stderr(
    gpu: Machine, trt_artifact: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with EdgeDepth(trt_artifact, "tensorrt", self_test=True) as edge:
        info = edge.info
    assert (info["backend"], info["precision"], info["provider"]) == (
        "tensorrt",
        "int8",
        "TensorRT 10.3.0 on Fake Orin",
    )
    assert (info["crop"], info["threads"], info["why_not"]) == ("cuda", 1, [])
    json.dumps(info)
    out, err = capfd.readouterr()
    assert out == ""
    assert "facedepth-edge: building tiny int8 for Fake Orin" in err


def test_auto_never_builds(gpu: Machine, trt_artifact: Path) -> None:
    with EdgeDepth(trt_artifact) as edge:
        assert edge.info["backend"] == "onnxruntime"
        assert "no engine of tiny yet" in edge.info["why_not"][0]
        assert "build-engine --precision int8" in edge.info["why_not"][0]
    assert gpu.trt.builds == 0
    assert "cuInit" not in gpu.log(), "nothing of CUDA is touched before there is an engine"


@pytest.mark.parametrize(("built", "taken"), [(("fp16",), "fp16"), (("fp16", "int8"), "int8")])
def test_auto_takes_what_is_built(gpu: Machine, trt_artifact: Path, built: tuple[str, ...], taken: str) -> None:
    for precision in built:
        build(trt_artifact, precision)
    with EdgeDepth(trt_artifact) as edge:
        assert (edge.info["backend"], edge.info["precision"]) == ("tensorrt", taken)
    assert gpu.trt.builds == len(built)


def test_auto_does_not_build_what_went_stale(gpu: Machine, trt_artifact: Path) -> None:
    build(trt_artifact)
    gpu.trt.__version__ = "10.7.0"
    with EdgeDepth(trt_artifact, precision="auto") as edge:
        assert edge.info["backend"] == "onnxruntime"
        assert "tensorrt was '10.3.0' and is '10.7.0'" in edge.info["why_not"][0]
    assert gpu.trt.builds == 1


def test_auto_goes_on_where_the_gpu_fails(gpu: Machine, trt_artifact: Path) -> None:
    build(trt_artifact)
    gpu.driver.fake_fail(b"cuDevicePrimaryCtxRetain", 2, -1)
    from tests.fake_gpu.installed import forget

    forget()
    with EdgeDepth(trt_artifact) as edge:
        assert edge.info["backend"] == "onnxruntime"
        assert "cuDevicePrimaryCtxRetain" in edge.info["why_not"][0]


def test_named_precision_that_the_model_lacks(gpu: Machine, tmp_path: Path) -> None:
    folder = tensorrt_artifact(tmp_path / "tiny", precisions=("fp16",))
    with pytest.raises(ConfigError, match=r"precision: got int8, expected with TensorRT .*\(fp16\.onnx\)"):
        EdgeDepth(folder, "tensorrt", "int8")
    with pytest.raises(ConfigError, match="precision: got fp32, expected with TensorRT"):
        EdgeDepth(folder, "tensorrt", "fp32")
    with EdgeDepth(folder, "tensorrt") as edge:
        assert edge.info["precision"] == "fp16"


def test_model_without_files_for_tensorrt(gpu: Machine, tiny_artifact: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"precision: got auto, expected with TensorRT .*\(none of these\).*fp16\.onnx"
    ):
        EdgeDepth(tiny_artifact, "tensorrt")
    with EdgeDepth(tiny_artifact) as edge:
        assert edge.info["backend"] == "onnxruntime"


def test_error_of_auto_is_still_that_of_the_backend_that_would_run(tiny_artifact: Path) -> None:
    with pytest.raises(ConfigError, match=r"precision: got fp16, expected a precision whose file the model has"):
        choose_backend(open_artifact(tiny_artifact), "fp16", None)


def test_no_pycuda(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(BackendUnavailable, match=r"PyCUDA: got .*expected PyCUDA installed\. .*pip install pycuda"):
        EdgeDepth(trt_artifact, "tensorrt")


def test_no_driver(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facedepth_edge import cuda_driver

    monkeypatch.setattr(cuda_driver.Driver.__init__, "__defaults__", ("libcuda-of-nobody.so.1",))
    with pytest.raises(BackendUnavailable, match=r"CUDA driver: got libcuda-of-nobody.*Install NVIDIA's driver"):
        EdgeDepth(trt_artifact, "tensorrt")


def test_tensorrt_whose_own_libraries_are_missing(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(BackendUnavailable, match=r"backend 'tensorrt': got libnvinfer\.so\.10: cannot open"):
        import_tensorrt()


def test_engine_that_is_not_what_the_spec_says(gpu: Machine, trt_artifact: Path) -> None:
    gpu.trt.depth_dtype = gpu.trt.DataType.HALF
    with pytest.raises(ArtifactError, match=r"\.plan: got depth of .*HALF, expected inputs and outputs of float32"):
        TensorRtBackend.open(open_artifact(trt_artifact), "fp16", None, report=lambda line: None)


def test_engine_with_other_tensors(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fake_gpu import tensorrt

    monkeypatch.setitem(tensorrt.SHAPES, "depth", (1, 48, 48))
    with pytest.raises(
        ArtifactError, match=r"\.plan: got the tensors .*48, 48.*expected the tensors face, depth, mask"
    ):
        TensorRtBackend.open(open_artifact(trt_artifact), "fp16", None, report=lambda line: None)


def test_golden_faces_through_the_backend(gpu: Machine, trt_artifact: Path) -> None:
    artifact = open_artifact(trt_artifact)
    backend = TensorRtBackend.open(artifact, "fp16", None, report=lambda line: None)
    checks = check_golden_faces(artifact, backend)
    assert len(checks) == 4
    assert all(check.ok and check.mean_mm < 1e-3 for check in checks)
    assert gpu.trt.executions == 4
    backend.close()


def test_run_waits_for_its_own_answer(gpu: Machine, trt_artifact: Path) -> None:
    backend = TensorRtBackend.open(open_artifact(trt_artifact), "fp16", None, report=lambda line: None)
    for batch in (1, 3, 8, 1):
        faces = np.random.default_rng(batch).uniform(-1, 1, (batch, 1, 96, 96)).astype(np.float32)
        backend.reserve(batch)
        answer = np.empty(backend.output["depth"].shape, np.float32)
        with backend.session.current():
            backend.session.upload(backend.input.address, faces, backend.stream)
            backend.run()
            backend.session.download(answer, backend.output["depth"].address, backend.stream)
            backend.session.wait(backend.stream)
        np.testing.assert_allclose(answer, tiny_outputs(faces)["depth"], atol=1e-6)
    backend.close()
    backend.close()


def test_kernel_is_compiled_once_and_again_when_it_is_damaged(
    gpu: Machine, trt_artifact: Path, frame: np.ndarray
) -> None:
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        edge.predict(frame, (250, 170))
    (cubin,) = (gpu.cache / "kernels").iterdir()
    assert cubin.name.startswith("face_crop-sm_87-")
    assert cubin.read_bytes() == b"cubin compiled"
    cubin.write_bytes(b"damaged")
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        edge.predict(frame, (250, 170))
    assert cubin.read_bytes() == b"cubin compiled"


def test_compiler_that_is_missing_or_fails(gpu: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facedepth_edge import cuda_kernels

    tool = tmp_path / "tools" / "nvcc"
    tool.write_text("#!/bin/sh\necho 'error: unsupported GNU version' >&2\nexit 1\n")
    with pytest.raises(
        BackendUnavailable, match=r"nvcc: got error: unsupported GNU version, expected a kernel .*sm_99"
    ):
        compiled_kernel(CROP_SOURCE, "sm_99")
    tool.unlink()
    monkeypatch.setattr(cuda_kernels, "TOOLKIT_FOLDER", str(tmp_path / "nothing"))
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    with pytest.raises(
        BackendUnavailable, match=r"CUDA compiler: got none, expected nvcc in .CUDA_HOME.*nvidia-jetpack"
    ):
        compiled_kernel(CROP_SOURCE, "sm_99")


def test_compiler_without_room_for_its_files(gpu: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(BackendUnavailable, match=r"nvcc: got .*No such file .*nowhere.*TMPDIR"):
        compiled_kernel(CROP_SOURCE, "sm_99")


def test_a_kernel_that_cannot_be_kept_runs_all_the_same(gpu: Machine, trt_artifact: Path) -> None:
    build(trt_artifact)
    kernels = gpu.cache / "kernels"
    for cubin in kernels.iterdir():
        cubin.unlink()
    kernels.rmdir()
    kernels.write_text("a file where a folder should be")
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        assert edge.info["crop"] == "cuda"


def test_doctor_with_a_plan_that_is_no_more(gpu: Machine, trt_artifact: Path) -> None:
    (gpu.cache / "engines").mkdir(parents=True)
    (gpu.cache / "engines" / "gone.plan").symlink_to("nowhere")
    found = diagnose(str(trt_artifact))
    assert any(f.topic == "cache" and "1 engines, 0.0 MB" in f.text for f in found.findings)


def test_auto_goes_on_where_the_kernel_cannot_be_compiled(
    gpu: Machine, trt_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facedepth_edge import cuda_kernels

    build(trt_artifact)
    for cubin in (gpu.cache / "kernels").iterdir():
        cubin.unlink()
    (tmp_path / "tools" / "nvcc").unlink()
    monkeypatch.setattr(cuda_kernels, "TOOLKIT_FOLDER", str(tmp_path / "nothing"))
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    with EdgeDepth(trt_artifact) as edge:
        assert edge.info["backend"] == "onnxruntime"
        assert any("CUDA compiler: got none" in line for line in edge.info["why_not"])
    with pytest.raises(BackendUnavailable, match="CUDA compiler: got none"):
        EdgeDepth(trt_artifact, "tensorrt", "fp16")
    found = diagnose(str(trt_artifact))
    assert found.auto == "onnxruntime"
    assert "works" not in found.backends["tensorrt"]


def test_nvcc_is_found_in_the_toolkits_folder(gpu: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facedepth_edge import cuda_kernels

    toolkit = tmp_path / "toolkit" / "bin"
    toolkit.mkdir(parents=True)
    (tmp_path / "tools" / "nvcc").rename(toolkit / "nvcc")
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "toolkit"))
    assert cuda_kernels.find_nvcc() == str(toolkit / "nvcc")
    (tmp_path / "nvcc").write_text("#!/bin/sh\necho another\n")
    (tmp_path / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert cuda_kernels.find_nvcc() == str(toolkit / "nvcc"), "who sets CUDA_HOME means it"
    monkeypatch.delenv("CUDA_HOME")
    assert cuda_kernels.find_nvcc() == str(tmp_path / "nvcc")
    assert cuda_kernels.nvcc_version(str(tmp_path / "nvcc")) is None
    (tmp_path / "nvcc").write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.6, V12.6.68'\n")
    assert cuda_kernels.nvcc_version(str(tmp_path / "nvcc")) == (12, 6)
    assert cuda_kernels.nvcc_version(str(tmp_path / "none")) is None


def run_cli(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def test_build_engine_command(gpu: Machine, trt_artifact: Path) -> None:
    done = run_cli(
        "build-engine", "--model", str(trt_artifact), "--precision", "fp16", "--workspace-mib", "200", "--json"
    )
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert Path(data["plan"]).is_file()
    assert data["built"] == "none was built yet"
    assert gpu.trt.workspaces == [200 * 2**20]
    assert done.stderr.splitlines()[-1].startswith("PASS facedepth-edge build-engine")
    assert list((gpu.cache / "kernels").iterdir()), "the first frame need not wait for the compiler"
    for more in (["--workspace-mib", "200"], []):
        again = run_cli("build-engine", "--model", str(trt_artifact), "--precision", "fp16", *more)
        assert "was there and fits" in again.stdout
    assert gpu.trt.builds == 1


def test_an_engine_of_the_command_is_the_one_that_runs(gpu: Machine, trt_artifact: Path) -> None:
    assert run_cli("build-engine", "--model", str(trt_artifact)).exit_code == 0
    with EdgeDepth(trt_artifact) as edge:
        assert edge.info["backend"] == "tensorrt"
    assert gpu.trt.builds == 1


def test_a_stale_engine_does_not_hide_another_that_fits(gpu: Machine, trt_artifact: Path) -> None:
    build(trt_artifact, "int8")
    gpu.trt.__version__ = "10.5.0"
    build(trt_artifact, "fp16")
    with EdgeDepth(trt_artifact) as edge:
        assert (edge.info["backend"], edge.info["precision"]) == ("tensorrt", "fp16")
        (why,) = edge.info["why_not"]
        assert "no int8 engine: tensorrt was '10.3.0' and is '10.5.0'" in why
    gpu.trt.__version__ = "10.7.0"
    with EdgeDepth(trt_artifact) as edge:
        assert edge.info["backend"] == "onnxruntime"
        assert "no int8 engine: tensorrt was '10.3.0' and is '10.7.0'" in edge.info["why_not"][0]
    assert gpu.trt.builds == 2


def test_what_a_refused_engine_held_is_let_go(
    gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for Python's collector, which may run in a thread where no context is current."""
    build(trt_artifact, "int8")
    build(trt_artifact, "fp16")
    engines: list[weakref.ref[Any]] = []

    def start(backend: TensorRtBackend) -> None:
        engines.append(weakref.ref(backend.loaded.engine))
        if backend.precision == "int8":
            raise cuda_error("cuMemAlloc", "no room")
        real(backend)

    real = TensorRtBackend._start
    monkeypatch.setattr(TensorRtBackend, "_start", start)
    gc.disable()
    try:
        backend = TensorRtBackend.open(open_artifact(trt_artifact), "auto", None, may_build=False)
        assert backend.precision == "fp16"
        assert [engine() is None for engine in engines] == [True, False]
    finally:
        gc.enable()
    backend.close()


def test_reopened_whatever_its_workspace_was(gpu: Machine, trt_artifact: Path) -> None:
    """Another process may have built it anew meanwhile."""
    artifact = open_artifact(trt_artifact)
    backend = TensorRtBackend.open(artifact, "fp16", None, workspace_mib=256, report=lambda line: None)
    run_cli("build-engine", "--model", str(trt_artifact), "--precision", "fp16", "--workspace-mib", "512")
    assert gpu.trt.builds == 2
    backend.reopen().close()
    backend.close()


def test_reader_who_may_not_write(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built by root, run by a service's own user."""
    build(trt_artifact)
    real = os.open

    def open_for_reading(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and gpu.cache in Path(path).parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", open_for_reading)
    for name in ("auto", "tensorrt"):
        with EdgeDepth(trt_artifact, name, "fp16") as edge:
            assert (edge.info["backend"], edge.info["precision"]) == ("tensorrt", "fp16")
    gpu.trt.__version__ = "10.7.0"
    with pytest.raises(ConfigError, match=r"\.lock: got Permission denied, expected a file that can be written"):
        EdgeDepth(trt_artifact, "tensorrt", "fp16")
    with EdgeDepth(trt_artifact) as edge:
        assert "tensorrt was '10.3.0' and is '10.7.0'" in edge.info["why_not"][0]
    assert gpu.trt.builds == 1


def test_auto_tells_a_tensorrt_that_is_too_old_before_a_build_is_asked_for(
    gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facedepth_edge.backends.tensorrt.installed_version", lambda *names: "8.6.2")
    with EdgeDepth(trt_artifact) as edge:
        (why,) = [line for line in edge.info["why_not"] if "TensorRT" in line]
    assert "got TensorRT 8.6.2, expected TensorRT 10.3 to 11" in why
    assert "build-engine" not in why


def test_build_engine_without_tensorrt(trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = run_cli("build-engine", "--model", str(trt_artifact))
    assert done.exit_code == 1
    assert "backend 'tensorrt': got" in done.stderr
    assert run_cli("build-engine", "--workspace-mib", "3").exit_code == 2


def test_verify_command_on_the_gpu(gpu: Machine, trt_artifact: Path) -> None:
    done = run_cli("verify", "--model", str(trt_artifact), "--backend", "tensorrt", "--precision", "fp16")
    assert done.exit_code == 0, done.output
    assert "tensorrt (TensorRT 10.3.0 on Fake Orin)" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("PASS")


def test_importing_and_naming_needs_nothing_of_cuda(trt_artifact: Path) -> None:
    code = (
        "import sys, facedepth_edge, facedepth_edge.backends.tensorrt, facedepth_edge.device_path\n"
        "import facedepth_edge.doctor, facedepth_edge.verify\n"
        "print(sorted({'tensorrt', 'pycuda', 'torch', 'onnxruntime', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
