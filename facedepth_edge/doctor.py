# SPDX-License-Identifier: Apache-2.0
"""Says what is installed, what works, which backend `auto` takes and why no other, and how to mend what does not."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from facedepth_edge import __version__
from facedepth_edge.artifacts import Artifact, list_models, open_artifact
from facedepth_edge.backends.base import BACKENDS, Backend, choose_backend, open_backend
from facedepth_edge.backends.onnxruntime import default_threads
from facedepth_edge.cpus import available_cpus
from facedepth_edge.cuda import INSTALL
from facedepth_edge.cuda_driver import open_driver
from facedepth_edge.cuda_kernels import find_nvcc, nvcc_version
from facedepth_edge.engine_cache import cache_folder
from facedepth_edge.errors import ArtifactError, BackendUnavailable, FaceDepthError
from facedepth_edge.head_pose import require_weights
from facedepth_edge.installed import TENSORRT, installed_version
from facedepth_edge.native import find_native
from facedepth_edge.opencv import find_cv2, how_to_mend
from facedepth_edge.system_tool import run_tool
from facedepth_edge.verify import check_golden_faces
from facedepth_edge.verify_frame import check_device_path, worst_of

JETSON_FILE = Path("/etc/nv_tegra_release")
JETSON_MODEL_FILE = Path("/proc/device-tree/model")
FIRST_L4T_WITH_WHEELS = 38  # JetPack 7
CLASHES = (("onnxruntime", "onnxruntime-gpu"), ("opencv-python", "opencv-python-headless"))
"""Packages of the index that write the same module and overwrite each other's files."""

_TIMEOUT_S = 20
_GPU_BACKENDS = "the backend tensorrt, and onnxruntime with its CUDA provider"
_NEEDED_BY = {"tensorrt": "the backend tensorrt", "pycuda": _GPU_BACKENDS, "nvcc": _GPU_BACKENDS}
_DLA = (
    "not used: TensorRT dropped the deep learning accelerator after 10.7 and has it again from 11.4.1, on AGX Orin "
    "alone; the GPU runs everything"
)


@dataclass
class Finding:
    """One thing that was looked at.

    Args:
        topic: what it is about.
        text: what was found, one line.
        state: "ok", "note" (good to know, nothing is broken) or "broken".
        fix: how to mend it; empty where nothing needs to be.
    """

    topic: str
    text: str
    state: str = "ok"
    fix: str = ""


@dataclass
class Diagnosis:
    """Everything that was found."""

    findings: list[Finding] = field(default_factory=list)
    backends: dict[str, str] = field(default_factory=dict)
    """Backend -> "works: ..." or why not."""
    auto: str | None = None
    """The backend that `auto` takes."""

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return all(finding.state != "broken" for finding in self.findings)

    def add(self, topic: str, text: str, state: str = "ok", fix: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(topic, " ".join(text.split()), state, fix))

    def lines(self) -> list[str]:
        """Return the findings for people, a fix below what needs one."""
        marks = {"ok": "  ", "note": "- ", "broken": "! "}
        lines = []
        for finding in self.findings:
            lines.append(f"{marks[finding.state]}{finding.topic:<15}{finding.text}")
            if finding.fix:
                lines.append(f"{'':<17}-> {finding.fix}")
        return lines


def diagnose(model: str = "edge") -> Diagnosis:
    """Look at this installation, this machine and one model.

    No engine is built, and nothing is downloaded; the crop's kernel is compiled where a backend on a GPU lacks it.

    Args:
        model: the model that the backends are tried with; all bundled ones are checked.

    Returns:
        What was found.
    """
    found = Diagnosis()
    _look_at_system(found)
    _look_at_packages(found)
    _look_at_crop(found)
    _look_at_gpu(found)
    _look_at_jetson(found)
    _look_at_cache(found)
    artifact = _look_at_models(found, model)
    if artifact is not None:
        _try_backends(found, artifact)
    return found


def _look_at_system(found: Diagnosis) -> None:
    inside = "a virtual environment" if sys.prefix != sys.base_prefix else "the system's own environment"
    found.add("facedepth-edge", __version__)
    found.add("python", f"{platform.python_version()} in {inside} ({sys.prefix})")
    found.add("machine", f"{platform.system()} {platform.release()} on {platform.machine()}")
    found.add("threads", f"{available_cpus()} CPUs for this process; the network takes {default_threads()} of them")


def _look_at_packages(found: Diagnosis) -> None:
    for name in ("numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python", "opencv-python-headless", "torch"):
        version = installed_version(name)
        if version is not None:
            found.add(name, version)
    for pair in CLASHES:
        if all(installed_version(name) is not None for name in pair):
            fix = f"pip uninstall -y {' '.join(pair)}, then install the one that you want again."
            found.add("packages", f"{' and '.join(pair)} overwrite each other's files", "broken", fix)
    cv2, error = find_cv2()
    if error is not None:
        found.add("cv2", str(error), "broken", how_to_mend())
    elif not hasattr(cv2, "CascadeClassifier"):
        fix = "pip install 'opencv-python>=4.8,<5'."
        found.add("cv2", f"{cv2.__version__} has no CascadeClassifier, which --detect uses", "note", fix)
    elif installed_version("opencv-python") is None:
        found.add("cv2", f"{cv2.__version__} ({cv2.__file__})")


def _look_at_crop(found: Diagnosis) -> None:
    module, reason = find_native()
    if module is None:
        fix = "With a C++17 compiler, in a checkout: pip install --force-reinstall --no-deps ."
        found.add("crop", f"OpenCV's; the native one is not used: {reason}", "note", fix)
    else:
        found.add("crop", f"native ({module.__file__})")


def _look_at_gpu(found: Diagnosis) -> None:
    driver_cuda: tuple[int, int] | None = None
    try:
        driver = open_driver()
        names = driver.device_names()
        driver_cuda = major, minor = driver.version()
    except BackendUnavailable as error:
        found.add("gpu", f"none: {error}", "note")
    else:
        found.add("gpu", f"{', '.join(names) or 'none'}; the driver is of CUDA {major}.{minor}")
    for name in ("tensorrt", "pycuda"):
        version = installed_version(*TENSORRT) if name == "tensorrt" else installed_version(name)
        if version is None and importlib.util.find_spec(name) is None:
            hint = INSTALL if name == "pycuda" else f"{BACKENDS['tensorrt'].install}."
            found.add(name, "not installed", "note", f"Only for {_NEEDED_BY[name]}: {hint}")
        else:
            found.add(name, version or "there, outside of pip")
    if driver_cuda is not None and driver_cuda < (13, 0) and installed_version("tensorrt-cu13") is not None:
        parts = "tensorrt tensorrt-cu13 tensorrt-cu13-libs tensorrt-cu13-bindings"
        fix = f"pip uninstall -y {parts}; pip install 'tensorrt-cu12>=10.3,<12'. Or update the driver."
        found.add("tensorrt", f"built for CUDA 13, and the driver is of CUDA {major}.{minor}", "note", fix)
    _look_at_nvcc(found, driver_cuda)


def _look_at_nvcc(found: Diagnosis, driver_cuda: tuple[int, int] | None) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        fix = f"Only for {_NEEDED_BY['nvcc']}: install the CUDA toolkit; on a Jetson sudo apt install nvidia-jetpack."
        found.add("nvcc", "none", "note", fix)
        return
    version = nvcc_version(nvcc)
    text = f"{nvcc}, of CUDA {version[0]}.{version[1]}" if version else nvcc
    if version and driver_cuda and version[0] > driver_cuda[0]:
        fix = "The driver cannot load what it compiles: set CUDA_HOME to an older toolkit, or update the driver."
        found.add("nvcc", f"{text}, newer than the driver's", "note", fix)
    else:
        found.add("nvcc", text)


def _look_at_jetson(found: Diagnosis) -> None:
    if not JETSON_FILE.is_file():
        return
    model = JETSON_MODEL_FILE.read_text(encoding="utf-8").strip("\0 \n") if JETSON_MODEL_FILE.is_file() else "Jetson"
    release = JETSON_FILE.read_text(encoding="utf-8").split(", GCID")[0].lstrip("# ")
    found.add("jetson", f"{model}, L4T {release}")
    jetpack = _output_of("dpkg-query", "--show", "--showformat=${Version}", "nvidia-jetpack")
    fix = "sudo apt install nvidia-jetpack installs CUDA and TensorRT."
    found.add("jetpack", jetpack or "the package nvidia-jetpack is not installed", "ok" if jetpack else "note",
              "" if jetpack else fix)  # fmt: skip
    mode = _output_of("nvpmodel", "-q")
    found.add("power mode", mode or "nvpmodel does not say", "ok" if mode else "note")
    found.add("dla", _DLA)
    spec = importlib.util.find_spec("tensorrt")
    if spec is None:
        fix = "python3 -m venv --system-site-packages ENV: JetPack's TensorRT is a package of the system, not of pip."
        found.add("tensorrt", "this environment does not see JetPack's", "broken" if _has_jetpack() else "note", fix)
    elif spec.origin is not None and spec.origin.startswith(sys.prefix) and sys.prefix != sys.base_prefix:
        text = f"{spec.origin} hides JetPack's own"
        fix = "pip uninstall tensorrt: on a Jetson only the system's works."
        number = re.match(r"R(\d+)", release)
        if number and int(number[1]) >= FIRST_L4T_WITH_WHEELS:
            fix = "NVIDIA has wheels for JetPack 7; where one does not load, pip uninstall tensorrt."
            found.add("tensorrt", text, "note", fix)
        else:
            found.add("tensorrt", text, "broken", fix)


def _has_jetpack() -> bool:
    return any(Path("/usr/lib").glob("python3*/dist-packages/tensorrt"))


def _look_at_cache(found: Diagnosis) -> None:
    folder = cache_folder()
    plans = sorted((folder / "engines").glob("*.plan"))
    size = 0
    for plan in plans:
        with suppress(OSError):  # a dangling link, or removed meanwhile
            size += plan.stat().st_size
    found.add("cache", f"{folder}: {len(plans)} engines, {size / 1e6:.1f} MB")
    for plan in plans:
        found.add("", plan.name)


def _look_at_models(found: Diagnosis, model: str) -> Artifact | None:
    """Check the hashes of the bundled models and of the one that is asked for; return that one if it is whole."""
    chosen = None
    for name in dict.fromkeys((*list_models(), model)):
        try:
            artifact = open_artifact(name)
            files = [file for file in artifact.spec.files if artifact.has(file)]
            for file in files:
                artifact.read(file)
        except FaceDepthError as error:
            found.add("model", str(error), "broken")
            continue
        found.add("model", f"{artifact.spec.name} {artifact.spec.version}: {', '.join(files)} with the right hashes")
        if name == model:
            chosen = artifact
    try:
        require_weights()
        found.add("head pose", "its weights are whole")
    except FaceDepthError as error:
        found.add("head pose", str(error), "broken")
    return chosen


def _try_backends(found: Diagnosis, artifact: Artifact) -> None:
    for name in BACKENDS:
        finding, notes = _try_backend(artifact, name)
        found.backends[name] = finding.text
        found.findings.append(finding)
        for note in notes:
            found.add("", note, "note")
    try:
        chosen = choose_backend(artifact, "auto", None)
    except FaceDepthError as error:
        found.add("auto", f"nothing: {error}", "broken")
        return
    found.auto = chosen.name
    found.add("auto", f"takes {chosen.name}, {chosen.precision}, {chosen.provider}, {_way_of(chosen)}")
    chosen.close()


def _try_backend(artifact: Artifact, name: str) -> tuple[Finding, tuple[str, ...]]:
    """Open one backend as `auto` would, run the golden faces and on a GPU the demo frame through it, and let it go.

    Returns:
        (what was found, why it runs no better, one sentence each).
    """
    try:
        backend = open_backend(name, artifact, "auto", None, may_build=False)
    except ArtifactError as error:
        return Finding(name, f"wrong model: {error}", "broken"), ()
    except FaceDepthError as error:
        return Finding(name, f"not used: {error}", "note"), ()
    try:
        checks = check_golden_faces(artifact, backend)
        frame = check_device_path(artifact, backend)
    except ArtifactError as error:
        return Finding(name, f"wrong model: {error}", "broken"), ()
    except FaceDepthError as error:
        return Finding(name, f"fails: {error}", "broken"), ()
    finally:
        backend.close()
    worst = max(check.mean_mm for check in checks)
    what = f"{backend.precision} on {backend.provider}, golden faces within {worst:.2f} mm, "
    notes = backend.notes
    if frame is not None:
        what += f"demo frame against the CPU's crop: {worst_of(frame.faces)}, "
        notes = (*notes, *([frame.why_no_graph] if frame.why_no_graph else []))
    what += _way_of(backend)
    if all(check.ok for check in checks) and (frame is None or frame.ok):
        return Finding(name, f"works: {what}"), notes
    fix = f"Run facedepth-edge verify --backend {name}; do not use it until that passes."
    return Finding(name, f"wrong answers: {what}", "broken", fix), notes


def _way_of(backend: Backend) -> str:
    """Say which way a frame goes."""
    return "frames cropped on the GPU" if backend.memory == "cuda" else "frames cropped by the CPU"


def _output_of(program: str, *arguments: str) -> str:
    """Return what a program of the system prints, on one line, or nothing where it is missing or fails."""
    return " ".join(run_tool(program, *arguments, timeout_s=_TIMEOUT_S).split())
