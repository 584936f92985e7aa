# SPDX-License-Identifier: Apache-2.0
"""What a benchmark ran on: device, clocks, power mode, versions, memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from facedepth_edge.cpus import available_cpus
from facedepth_edge.installed import TENSORRT, installed_version
from facedepth_edge.system_tool import run_tool

_LIBRARIES = ("numpy", "opencv-python", "onnxruntime", "onnxruntime-gpu", "tensorrt", "pycuda", "torch")


def describe_machine(root: Path = Path("/")) -> dict[str, Any]:
    """Return what identifies this machine and its state; what cannot be read is left out.

    Args:
        root: where /proc, /sys and /etc are read from.
    """
    found: dict[str, Any] = {"system": f"{platform.system()} {platform.release()}", "machine": platform.machine()}
    model = _read(root / "proc/device-tree/model").strip("\0 \n")
    if model:
        found["device"] = model
    release = _read(root / "etc/nv_tegra_release").split("\n")[0].strip("# ")
    if release:
        found["l4t"] = release
    name = cpu_name(root)
    if name:
        found["cpu"] = name
    found["cpus"] = available_cpus()
    for line in _read(root / "proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
            present = set(line.partition(":")[2].split())
            found["cpu_features"] = [name for name in known if name in present]
            break
    clocks = _clocks(root)
    if clocks:
        found["cpu_clocks"] = clocks
    mode = run_tool("nvpmodel", "-q")
    if mode:
        found["power_mode"] = " ".join(mode.split())
    return found | _gpus()


def cpu_name(root: Path = Path("/")) -> str:
    """Return the processor's model name, several with commas; empty where the system does not say.

    Args:
        root: Where /proc is read from.
    """
    info = _read(root / "proc/cpuinfo")
    names = {line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")}
    return ", ".join(sorted(names))


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    versions = {name: installed_version(name) for name in _LIBRARIES} | {"tensorrt": installed_version(*TENSORRT)}
    return found | {name: version for name, version in versions.items() if version is not None}


def checkout_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, `+changes` where files differ; None elsewhere."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    head = run_tool("git", "-C", str(root), "rev-parse", "HEAD").strip()
    changed = run_tool("git", "-C", str(root), "status", "--porcelain").strip()
    return head + ("+changes" if changed else "") if head else None


def memory_mib(root: Path = Path("/")) -> dict[str, float]:
    """Return this process's resident memory now and at its peak, in MiB; empty where the system does not say."""
    found = {}
    for line in _read(root / "proc/self/status").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found["resident" if name == "VmRSS" else "resident_peak"] = int(value.split()[0]) / 1024
    used = run_tool("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
    for line in used.splitlines():
        pid, _, mib = line.partition(",")
        if pid.strip() == str(os.getpid()) and mib.strip().isdigit():
            found["device"] = float(mib)
    return found


def _gpus() -> dict[str, list[str]]:
    """Return what identifies the GPUs, and apart from it the clocks of this moment."""
    fields = "name,driver_version,power.limit,clocks.sm,clocks.mem"
    text = run_tool("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")
    rows = [line.strip().rsplit(", ", 2) for line in text.splitlines()]
    rows = [row for row in rows if len(row) == 3]
    if not rows:
        return {}
    clocks = [f"{core} core, {memory} memory" for _, core, memory in rows]
    return {"gpus": [who for who, _, _ in rows], "gpu_clocks": clocks}


def _clocks(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    governor = _read(folder / "scaling_governor").strip()
    if governor:
        found["governor"] = governor
    for name in ("scaling_cur_freq", "scaling_max_freq"):
        text = _read(folder / name).strip()
        if text.isdigit():
            found[name.replace("scaling_", "").replace("_freq", "_mhz")] = int(text) / 1000
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
