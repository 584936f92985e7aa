# SPDX-License-Identifier: Apache-2.0
"""Reads the device's power while a benchmark runs: tegrastats on Jetson, nvidia-smi (NVML) beside a desktop GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from typing import Any

SAMPLE_MS = 100
# The first of these sets of rails that tegrastats prints whole is the module's or the board's power. The first three
# are measured at the input (Orin NX and Nano, Xavier NX; Nano and TX2; Thor); AGX Orin and AGX Xavier have none there,
# but rails beside each other, of which the 5 V one holds neither GPU nor CPU.
INPUTS = (
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("VIN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
_RAIL = re.compile(r"(\w+) (\d+)(?:mW)?/(\d+)(?:mW)?")


class PowerMeter:
    """Sample the power between `with` and its end.

    Where neither program can say it, `summary()` is None: no number is better than a guess.

    Args:
        gpu: The PCI bus id of the GPU that works, for nvidia-smi, which would print the power of all of them; None: no
            GPU works, and only tegrastats, which measures the whole module, is asked.
    """

    def __init__(self, gpu: str | None) -> None:
        self._gpu = gpu
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._source = ""
        self._watts: list[float] = []

    def __enter__(self) -> PowerMeter:
        if shutil.which("tegrastats"):
            self._start("tegrastats", ["tegrastats", "--interval", str(SAMPLE_MS)])
        elif self._gpu is not None and shutil.which("nvidia-smi"):
            query = ["nvidia-smi", f"--id={self._gpu}", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
            self._start("nvidia-smi", [*query, f"--loop-ms={SAMPLE_MS}"])
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def summary(self) -> dict[str, Any] | None:
        """Return `source`, `samples`, `mean_w` and `max_w`; None without a sample."""
        if not self._watts:
            return None
        mean = sum(self._watts) / len(self._watts)
        return {"source": self._source, "samples": len(self._watts), "mean_w": mean, "max_w": max(self._watts)}

    def _start(self, source: str, command: list[str]) -> None:
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
            )
        except OSError:
            return
        self._source = source
        self._thread = threading.Thread(target=self._listen, name="power", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        read = watts_from_tegrastats if self._source == "tegrastats" else watts_from_nvidia_smi
        for line in self._process.stdout:
            watts = read(line)
            if watts is not None:
                self._watts.append(watts)


def watts_from_tegrastats(line: str) -> float | None:
    """Return the device's power in watts from a line of tegrastats, its momentary value; None where it says none."""
    rails = {name: int(now) / 1000 for name, now, _ in _RAIL.findall(line)}
    return next((sum(rails[name] for name in names) for names in INPUTS if rails.keys() >= set(names)), None)


def watts_from_nvidia_smi(line: str) -> float | None:
    """Return the GPU's power in watts from a line of nvidia-smi; None where it says none."""
    try:
        return float(line)
    except ValueError:
        return None
