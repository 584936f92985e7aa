# SPDX-License-Identifier: Apache-2.0
"""Building and caching TensorRT engines, on a stand-in for TensorRT: when it builds, when not, and what it says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends.tensorrt import TensorRtBackend
from facedepth_edge.cuda import open_session
from facedepth_edge.engine_cache import built_plans, cache_folder, locked, write_whole
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError
from tests.fake_gpu.installed import Machine, tensorrt_artifact
from tests.tiny_model import entry_of


def open_fp16(folder: Path, lines: list[str] | None = None, **options: Any) -> TensorRtBackend:
    said = [] if lines is None else lines
    asked = {"may_build": True, "report": said.append, **options}
    return TensorRtBackend._open_one(open_artifact(folder), "fp16", **asked)


def plan_of(machine: Machine) -> Path:
    (plan,) = (machine.cache / "engines").glob("*.plan")
    return plan


def change_metadata(machine: Machine, **changes: Any) -> None:
    path = plan_of(machine).with_suffix(".json")
    data = json.loads(path.read_bytes())
    data["key"].update(changes)
    path.write_text(json.dumps(data))


def test_built_once_then_from_the_cache(gpu: Machine, trt_artifact: Path) -> None:
    lines: list[str] = []
    open_fp16(trt_artifact, lines)
    assert gpu.trt.builds == 1
    assert lines[0].startswith("building tiny fp16 for Fake Orin with TensorRT 10.3.0: none was built yet")
    assert any("Building" in line for line in lines[1:-1]), "TensorRT's own progress is shown"
    again: list[str] = []
    assert open_fp16(trt_artifact, again).loaded.built == ""
    assert gpu.trt.builds == 1
    assert again == []


def test_plan_is_plain_and_its_metadata_lies_beside_it(gpu: Machine, trt_artifact: Path) -> None:
    open_fp16(trt_artifact)
    plan = plan_of(gpu)
    assert plan.read_bytes().startswith(b'plan{"version": "10.3.0"'), (
        "what trtexec is to read has nothing of ours in it"
    )
    data = json.loads(plan.with_suffix(".json").read_bytes())
    assert data["sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()
    spec = open_artifact(trt_artifact).spec
    assert data["key"] == {
        "model_sha256": spec.files["fp16.onnx"].sha256,
        "precision": "fp16",
        "tensorrt": "10.3.0",
        "gpu": "Fake Orin",
        "compute_capability": "8.7",
        "multiprocessors": 16,
        "platform": f"{sys.platform}-{os.uname().machine}",
        "options": {"batches": [1, 1, 8]},
    }
    assert data["built"]["workspace_mib"] == 1024


def test_network_is_strongly_typed_by_name_in_10_and_as_it_is_in_11(
    gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = gpu.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    open_fp16(trt_artifact)
    gpu.trt.__version__ = "10.16.1.11"
    open_fp16(trt_artifact)
    gpu.trt.__version__ = "11.4.0.106"
    monkeypatch.delattr(gpu.trt.__class__, "NetworkDefinitionCreationFlag")
    open_fp16(trt_artifact)
    assert gpu.trt.networks == [1 << int(flag), 1 << int(flag), 0]


def test_profile_workspace_and_precisions_file(gpu: Machine, trt_artifact: Path) -> None:
    open_fp16(trt_artifact, workspace_mib=256)
    assert gpu.trt.profiles == [("face", (1, 1, 96, 96), (1, 1, 96, 96), (8, 1, 96, 96))]
    assert gpu.trt.workspaces == [256 * 2**20]
    assert f'"bytes": {(trt_artifact / "fp16.onnx").stat().st_size}' in plan_of(gpu).read_text()


@pytest.mark.parametrize("value", [0, 15, 65537, 2.5, True, "1024"])
def test_workspace_that_is_none(gpu: Machine, trt_artifact: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"workspace_mib: got .*expected a whole number of MiB"):
        open_fp16(trt_artifact, workspace_mib=value)
    assert gpu.trt.builds == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tensorrt": "10.2.0"}, "tensorrt was '10.2.0' and is '10.3.0'"),
        ({"gpu": "Orin Nano"}, "gpu was 'Orin Nano' and is 'Fake Orin'"),
        ({"compute_capability": "8.9"}, "compute capability was '8.9' and is '8.7'"),
        ({"multiprocessors": 8}, "multiprocessors was 8 and is 16"),
        ({"model_sha256": "0" * 64}, "model sha256 was '000"),
        ({"platform": "linux-s390x"}, "platform was 'linux-s390x'"),
        ({"options": {"batches": [1, 1, 4]}}, "options was {'batches': [1, 1, 4]}"),
    ],
)
def test_stale_key_is_built_again_with_one_line(
    gpu: Machine, trt_artifact: Path, changes: dict[str, Any], reason: str
) -> None:
    open_fp16(trt_artifact)
    change_metadata(gpu, **changes)
    lines: list[str] = []
    open_fp16(trt_artifact, lines)
    assert gpu.trt.builds == 2
    assert reason in lines[0]
    assert len([line for line in lines if line.startswith("building")]) == 1
    open_fp16(trt_artifact)
    assert gpu.trt.builds == 2


def test_a_plan_built_with_less_workspace_fits_and_is_remembered(gpu: Machine, trt_artifact: Path) -> None:
    open_fp16(trt_artifact, workspace_mib=256)
    open_fp16(trt_artifact)
    open_fp16(trt_artifact, may_build=False)
    assert gpu.trt.builds == 1
    gpu.trt.__version__ = "10.5.0"
    open_fp16(trt_artifact)
    assert gpu.trt.workspaces == [256 * 2**20] * 2  # who had little memory has little still
    lines: list[str] = []
    open_fp16(trt_artifact, lines, workspace_mib=512)
    assert "workspace was 256 MiB and is to be 512" in lines[0]
    assert gpu.trt.workspaces[2:] == [512 * 2**20]


@pytest.mark.parametrize(
    "built",
    [{}, {"workspace_mib": "much"}, {"workspace_mib": 5}, {"workspace_mib": True}, {"workspace_mib": 10**30}, []],
)
def test_a_workspace_that_nobody_noted_is_the_usual_one(gpu: Machine, trt_artifact: Path, built: Any) -> None:
    open_fp16(trt_artifact, workspace_mib=256)
    path = plan_of(gpu).with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "built": built}))
    open_fp16(trt_artifact)
    assert gpu.trt.builds == 1
    open_fp16(trt_artifact, force=True)
    assert gpu.trt.workspaces[1:] == [1024 * 2**20]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_who_may_read_what_was_built_is_the_umasks_say(gpu: Machine, trt_artifact: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        open_fp16(trt_artifact)
    finally:
        os.umask(before)
    files = [path for path in gpu.cache.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".plan", ".json", ".lock", ".cache", ".cubin"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


def test_a_lock_that_may_only_be_read_is_held_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "a.lock"
    opened = os.open

    def as_another_user(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if Path(path) == lock and lock.exists() and flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *rest, **more)

    lock.touch(0o444)
    monkeypatch.setattr(os, "open", as_another_user)
    first = locked(lock, lambda: pytest.fail("nobody else holds it"))
    with first, pytest.raises(RuntimeError, match="held"), locked(lock, _refuse):
        pass


def _refuse() -> None:
    raise RuntimeError("held")


def test_timings_that_cannot_be_kept_fail_no_build(gpu: Machine, trt_artifact: Path) -> None:
    gpu.cache.mkdir(parents=True)
    (gpu.cache / "timing").write_text("a file where a folder should be")
    lines: list[str] = []
    assert open_fp16(trt_artifact, lines).loaded.built == "none was built yet"
    (told,) = [line for line in lines if line.startswith("timings not kept: ")]
    assert str(gpu.cache / "timing") in told
    assert lines[-1].startswith("built ")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda plan: plan.write_bytes(plan.read_bytes()[:-3]), "the plan is damaged (wrong SHA-256)"),
        (lambda plan: plan.write_bytes(b""), "the plan is damaged (wrong SHA-256)"),
        (lambda plan: plan.unlink(), "none was built yet"),
        (lambda plan: plan.with_suffix(".json").unlink(), "none was built yet"),
        (lambda plan: plan.with_suffix(".json").write_text("{"), "its files cannot be read"),
        (lambda plan: plan.with_suffix(".json").write_text("[]"), "its metadata is of another version"),
        (lambda plan: plan.with_suffix(".json").write_text('{"format": 1, "key": 3}'), "its metadata is of another"),
    ],
)
def test_damaged_files_are_built_again(gpu: Machine, trt_artifact: Path, damage: Any, reason: str) -> None:
    open_fp16(trt_artifact)
    damage(plan_of(gpu))
    lines: list[str] = []
    open_fp16(trt_artifact, lines)
    assert gpu.trt.builds == 2
    assert reason in lines[0]


def test_plan_that_tensorrt_does_not_load_is_built_again(gpu: Machine, trt_artifact: Path) -> None:
    open_fp16(trt_artifact)
    plan = plan_of(gpu)
    other = plan.read_bytes().replace(b"10.3.0", b"10.3.9")
    plan.write_bytes(other)
    metadata = plan.with_suffix(".json")
    data = json.loads(metadata.read_bytes())
    metadata.write_text(json.dumps({**data, "sha256": hashlib.sha256(other).hexdigest()}))
    lines: list[str] = []
    open_fp16(trt_artifact, lines)
    assert "TensorRT could not load the plan (Serialization assertion failed: version tag does not match)" in lines[0]
    assert gpu.trt.builds == 2


def test_plan_that_never_loads(gpu: Machine, trt_artifact: Path) -> None:
    gpu.trt.refuses_plans = True
    with pytest.raises(
        BackendUnavailable, match=r"\.plan: got TensorRT could not load.*expected a plan that loads after"
    ):
        open_fp16(trt_artifact)
    assert gpu.trt.builds == 1


def test_may_not_build(gpu: Machine, trt_artifact: Path) -> None:
    with pytest.raises(
        BackendUnavailable, match=r"got no fp16 engine: none was built yet.*build-engine --precision fp16"
    ):
        open_fp16(trt_artifact, may_build=False)
    assert gpu.trt.builds == 0
    open_fp16(trt_artifact)
    assert open_fp16(trt_artifact, may_build=False).loaded.built == ""


def test_force(gpu: Machine, trt_artifact: Path) -> None:
    open_fp16(trt_artifact)
    lines: list[str] = []
    assert open_fp16(trt_artifact, lines, force=True).loaded.built == "it was asked for"
    assert gpu.trt.builds == 2


def test_parsers_errors_are_told(gpu: Machine, trt_artifact: Path) -> None:
    gpu.trt.parser_errors = [("Resize", "up_1", "mode cubic is not supported"), ("Cast", "c", "bfloat16")]
    with pytest.raises(
        ArtifactError, match=r"fp16\.onnx: got Resize up_1: mode cubic is not supported; Cast c: bfloat16"
    ):
        open_fp16(trt_artifact)
    assert not list((gpu.cache / "engines").glob("*.plan"))


def test_build_that_fails(gpu: Machine, trt_artifact: Path) -> None:
    gpu.trt.build_error = "Requested amount of GPU memory (1073741824 bytes) could not be allocated"
    with pytest.raises(BackendUnavailable, match=r"fp16\.onnx: got Requested amount .*--workspace-mib") as caught:
        open_fp16(trt_artifact)
    assert "a warning that nobody needs" not in str(caught.value)
    assert not list((gpu.cache / "engines").glob("*.plan"))


def test_no_gpu_for_tensorrt(gpu: Machine, trt_artifact: Path) -> None:
    gpu.trt.no_gpu = True
    with pytest.raises(
        BackendUnavailable, match=r"TensorRT runtime: got .*nullptr \(CUDA initialization failure.*: 35\)"
    ):
        open_fp16(trt_artifact)


@pytest.mark.parametrize("version", ["8.6.1", "10.2.9", "12.0.0"])
def test_versions_that_are_not_known(gpu: Machine, trt_artifact: Path, version: str) -> None:
    gpu.trt.__version__ = version
    with pytest.raises(BackendUnavailable, match=rf"got TensorRT {version}, expected TensorRT 10\.3 to 11"):
        open_fp16(trt_artifact)


def test_version_10_10_is_newer_than_10_3(gpu: Machine, trt_artifact: Path) -> None:
    gpu.trt.__version__ = "10.10.0"
    assert open_fp16(trt_artifact).loaded.key.tensorrt == "10.10.0"


def test_timing_cache_is_kept_between_builds(gpu: Machine, trt_artifact: Path) -> None:
    open_fp16(trt_artifact)
    TensorRtBackend.open(open_artifact(trt_artifact), "int8", None, report=lambda line: None)
    open_fp16(trt_artifact, force=True)
    assert gpu.trt.caches == [b"", b"timed;", b"timed;timed;"]
    (file,) = (gpu.cache / "timing").iterdir()
    assert file.name == "tensorrt-10.3.0-Fake-Orin-8.7.cache"


def test_timing_cache_that_does_not_fit_is_begun_anew(gpu: Machine, trt_artifact: Path) -> None:
    open_fp16(trt_artifact)
    gpu.trt.refuses_caches = True
    open_fp16(trt_artifact, force=True)
    assert gpu.trt.caches == [b"", b""]


def test_interrupted_build_leaves_nothing_and_can_be_repeated(gpu: Machine, trt_artifact: Path) -> None:
    """Ctrl-C comes inside TensorRT's own code, where an exception would end the process."""
    before = signal.getsignal(signal.SIGINT)
    gpu.trt.during_build = lambda monitor: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        open_fp16(trt_artifact)
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.suffix for path in (gpu.cache / "engines").iterdir()] == [".lock"]
    gpu.trt.during_build = lambda monitor: None
    open_fp16(trt_artifact)
    assert gpu.trt.builds == 2


def test_a_handler_from_outside_python_is_left_alone(
    gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program around Python has set its own; Python reads it as None, and could not set it again."""

    def must_not(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", must_not)
    open_fp16(trt_artifact)
    assert gpu.trt.builds == 1


def test_each_power_mode_keeps_its_plan(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mode that switches off a part of the GPU is another GPU; back in the first one nothing is built."""
    session = open_session()
    for count in (16, 8, 16, 8):
        monkeypatch.setattr(session, "gpu", dataclasses.replace(session.gpu, multiprocessors=count))
        open_fp16(trt_artifact)
    assert gpu.trt.builds == 2
    names = {path.name.rsplit("-", 1)[1] for path in (gpu.cache / "engines").glob("*.plan")}
    assert names == {"16sm.plan", "8sm.plan"}


def test_report_that_cannot_be_written_does_not_raise_inside_tensorrt(gpu: Machine, trt_artifact: Path) -> None:
    def report(line: str) -> None:
        if line.startswith("Building"):
            raise BrokenPipeError("closed")

    TensorRtBackend.open(open_artifact(trt_artifact), "fp16", None, report=report)
    assert gpu.trt.builds == 1


def test_leftovers_of_a_killed_build_are_removed(gpu: Machine, trt_artifact: Path) -> None:
    open_fp16(trt_artifact)
    plan = plan_of(gpu)
    leftover = plan.parent / f".{plan.name}.abc123"
    leftover.write_bytes(b"half a plan")
    open_fp16(trt_artifact)
    assert leftover.exists(), "only the holder of the lock may remove it"
    open_fp16(trt_artifact, force=True)
    assert not leftover.exists()


def test_two_threads_build_once(gpu: Machine, trt_artifact: Path) -> None:
    gpu.trt.during_build = lambda monitor: time.sleep(0.3)
    lines: list[str] = []
    threads = [threading.Thread(target=lambda: open_fp16(trt_artifact, lines).close()) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert gpu.trt.builds == 1
    assert any("another process is building it; waiting" in line for line in lines)


HOLD = """
import sys, time
from pathlib import Path
from facedepth_edge.engine_cache import locked
with locked(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_between_processes_ends_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        threading.Timer(0.3, holder.kill).start()
        waited: list[bool] = []
        with locked(path, lambda: waited.append(True)):
            assert waited == [True]
            assert holder.wait(5) == -signal.SIGKILL
    finally:
        holder.kill()
        holder.stdout.close()
        holder.wait(5)


def test_write_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.plan"
    write_whole(path, b"first")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ConfigError, match=r"a\.plan: got No space left on device.*FACEDEPTH_EDGE_CACHE"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.plan"]


def test_cache_that_cannot_be_written(gpu: Machine, trt_artifact: Path) -> None:
    gpu.cache.write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"expected a file that can be written\. .*FACEDEPTH_EDGE_CACHE"):
        open_fp16(trt_artifact)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FACEDEPTH_EDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "facedepth-edge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "facedepth-edge"


def test_a_changed_model_has_a_plan_of_its_own(gpu: Machine, trt_artifact: Path, tmp_path: Path) -> None:
    open_fp16(trt_artifact)
    other = tensorrt_artifact(tmp_path / "other", precisions=("int8-trt", "fp16"))
    with (other / "fp16.onnx").open("ab") as file:
        file.write(b"changed")
    spec = open_artifact(other).spec
    entry = entry_of(other / "fp16.onnx")
    spec = dataclasses.replace(spec, files={**spec.files, "fp16.onnx": entry})
    (other / "spec.json").write_text(spec.to_json())
    open_fp16(other)
    assert gpu.trt.builds == 2
    assert len(built_plans("tiny", entry.sha256, "fp16")) == 1
    assert len(list((gpu.cache / "engines").glob("*.plan"))) == 2
    assert built_plans("tiny", "0" * 64, "fp16") == []
    assert built_plans("tiny", entry.sha256, "int8") == []


def test_an_altered_file_is_never_built_from(gpu: Machine, tmp_path: Path) -> None:
    folder = tensorrt_artifact(tmp_path / "altered")
    with (folder / "fp16.onnx").open("r+b") as file:
        file.write(b"altered")
    with pytest.raises(ArtifactError, match=r"fp16\.onnx: got SHA-256"):
        open_fp16(folder)
    assert gpu.trt.builds == 0
