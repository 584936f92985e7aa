# SPDX-License-Identifier: Apache-2.0
"""What is read of a machine, from a made-up one, and power from programs that print what the real ones print."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from facedepth_edge.bench.machine import cpu_name, describe_machine, memory_mib
from facedepth_edge.bench.power import PowerMeter, watts_from_nvidia_smi, watts_from_tegrastats
from facedepth_edge.bench.run import describe_bench
from facedepth_edge.system_tool import run_tool

ORIN = (
    "11-22-2026 12:00:01 RAM 2871/7620MB (lfb 4x2MB) SWAP 0/3810MB CPU [12%@1510,8%@1510,off,off] GR3D_FREQ 0% "
    "cpu@48.5C tj@48.5C VDD_IN 4512mW/4498mW VDD_CPU_GPU_CV 812mW/800mW VDD_SOC 1404mW/1400mW"
)
AGX_ORIN = (
    "RAM 4722/62780MB SWAP 0/31390MB CPU [0%@729] GR3D_FREQ 98% "
    "VDD_GPU_SOC 21205mW/9000mW VDD_CPU_CV 1599mW/1600mW VIN_SYS_5V0 5032mW/5000mW VDDQ_VDD2_1V8AO 1000mW/900mW"
)
AGX_XAVIER = "GPU 926mW/900mW CPU 309mW/300mW SOC 1852mW/1852mW CV 154mW/0mW VDDRQ 463mW/463mW SYS5V 2476mW/2476mW"
NANO = "RAM 1981/3964MB CPU [25%@1479] POM_5V_GPU 0/0 POM_5V_IN 1917/1900 POM_5V_CPU 206/200"


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


def test_a_jetson_is_described(tmp_path: Path, tools: Path) -> None:
    for name, text in {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081\nmore\n",
        "proc/cpuinfo": "processor: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nFeatures\t: fp asimd asimddp sha1\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1510400\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    program(tools, "nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'; echo 2")
    found = describe_machine(tmp_path)
    assert found["device"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found["l4t"].startswith("R36 (release)")
    assert found["cpu"] == cpu_name(tmp_path) == "ARMv8 Processor rev 1 (v8l)"
    assert found["cpu_features"] == ["asimd", "asimddp"]
    assert found["cpu_clocks"] == {"governor": "schedutil", "max_mhz": 1510.4}
    assert found["power_mode"] == "NV Power Mode: MAXN_SUPER 2"
    assert "gpus" not in found


def test_a_bare_machine_is_described_too(tmp_path: Path, tools: Path) -> None:
    found = describe_machine(tmp_path)
    assert set(found) == {"system", "machine", "cpus"}
    assert cpu_name(tmp_path) == ""
    assert memory_mib(tmp_path) == {}
    assert memory_mib()["resident"] > 10


def test_a_gpu_is_known_by_what_stays_the_same(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program answers what it is asked for, as nvidia-smi does, with other clocks each time."""
    program(tools, "nvidia-smi", """
core=$(cat "$0.core"); echo $((core + 15)) > "$0.core"; out=
for field in $(echo "${1#*=}" | tr , ' '); do
  case $field in
    name) value='NVIDIA H200';; driver_version) value=570.1;; power.limit) value='700.00 W';;
    clocks.sm) value="$core MHz";; clocks.mem) value='3201 MHz';;
  esac
  out="${out:+$out, }$value"
done
echo "$out"
""")  # fmt: skip
    (tools / "nvidia-smi.core").write_text("345")
    first, second = describe_machine(tmp_path), describe_machine(tmp_path)
    assert first["gpus"] == second["gpus"] == ["NVIDIA H200, 570.1, 700.00 W"]
    assert [found["gpu_clocks"] for found in (first, second)] == [
        ["345 MHz core, 3201 MHz memory"],
        ["360 MHz core, 3201 MHz memory"],
    ]
    first, second = describe_bench([]), describe_bench([])
    assert first["machine"] == second["machine"]
    assert "gpu_clocks" not in first["machine"]
    assert second["clocks"]["gpu"] == "390 MHz core, 3201 MHz memory"
    program(tools, "nvidia-smi", "echo odd")
    assert "gpus" not in describe_machine(tmp_path)


def test_tools_that_fail_or_are_missing_say_nothing(tools: Path) -> None:
    program(tools, "broken", "echo half; exit 3")
    assert run_tool("broken") == ""
    assert run_tool("no-such-program") == ""


def test_watts_of_a_line() -> None:
    assert watts_from_tegrastats(ORIN) == pytest.approx(4.512)
    assert watts_from_tegrastats(NANO) == pytest.approx(1.917)
    assert watts_from_tegrastats(AGX_ORIN) == pytest.approx(21.205 + 1.599 + 5.032)  # no rail is the whole
    assert watts_from_tegrastats(AGX_XAVIER) == pytest.approx(0.926 + 0.309 + 1.852 + 0.154 + 0.463 + 2.476)
    assert watts_from_tegrastats("VDD_GPU 3200mW/3200mW VIN_SYS_5V0 5000mW/5000mW VIN 30000mW/30100mW") == 30.0  # Thor
    assert watts_from_tegrastats("VIN_SYS_5V0 5000mW/5000mW") is None  # a part says nothing of the whole
    assert watts_from_tegrastats("RAM 1/2MB") is None
    assert watts_from_nvidia_smi("71.35\n") == pytest.approx(71.35)
    assert watts_from_nvidia_smi("[N/A]") is None


@pytest.mark.parametrize(("name", "line", "watts"), [("tegrastats", ORIN, 4.512), ("nvidia-smi", "71.5", 71.5)])
def test_power_is_sampled_while_it_runs(tools: Path, name: str, line: str, watts: float) -> None:
    program(tools, name, f"echo \"$@\" > $0.asked; while true; do echo '{line}'; sleep 0.02; done")
    with PowerMeter("0000:65:00.0") as meter:
        end = time.monotonic() + 10
        while meter.summary() is None and time.monotonic() < end:
            time.sleep(0.02)
    found = meter.summary()
    assert found is not None
    assert found["source"] == name
    assert found["mean_w"] == pytest.approx(watts)
    assert found["samples"] >= 1
    asked = (tools / f"{name}.asked").read_text()
    assert ("--id=0000:65:00.0 " in asked) == (name == "nvidia-smi"), "or it prints a line for each GPU"


def test_a_gpu_that_does_nothing_is_not_measured(tools: Path) -> None:
    program(tools, "nvidia-smi", "while true; do echo 20.0; sleep 0.02; done")
    with PowerMeter(None) as meter:
        time.sleep(0.2)
    assert meter.summary() is None


def test_without_a_meter_there_is_no_power(tools: Path) -> None:
    with PowerMeter("0000:65:00.0") as meter:
        pass
    assert meter.summary() is None
