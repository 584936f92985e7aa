# SPDX-License-Identifier: Apache-2.0
"""What the C++ library and the Python package both know is the same: the rules of a model's files, the head's pose."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facedepth_edge import EdgeDepth, head_pose
from facedepth_edge.camera import Camera
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.errors import ArtifactError
from facedepth_edge.head_pose import HeadPose
from facedepth_edge.result import DepthResult
from facedepth_edge.spec import ModelSpec
from tests.runtime.native_library import ROOT, configure, run_tool

SPEC = (ROOT / "facedepth_edge" / "models" / "edge" / "spec.json").read_text()
ODD_VALUES = (
    None, True, False, 0, 1, -1, 1.5, 0.5, 1.0, 96, 96.0, 97, 4097, 1e7, -1e7, 10**20, 2**53, 2**63, 5e-324,
    "", " ", "x", "\u00e9", "axis", "bt601", [], ["x"], ["fp32.onnx"], {}, {"x": 1},
)  # fmt: skip
ODD_NUMBERS = ("NaN", "1e400", "-Infinity", "0160", "160.", "1.6E+2", "+160", "1_6", "0x10")  # in the place of 160.0
ODD_NAMES = (r'"ed\u0067e"', r'"\ud800"', r'"a\x"', '"ed\tge"', "'edge'", '"' + "n" * 100_000 + '"')  # of "edge"
ODD_TEXTS = (
    "", " ", "[]", "null", "{}", "\ufeff" + SPEC, SPEC + " ", SPEC + "x", SPEC + SPEC, SPEC[:-2], "[" * 100 + "]" * 100,
    SPEC.replace(":", "", 1), SPEC.replace('"opset"', '"opset": 19, "opset"'),
    SPEC.replace("{", "{ \n\r\t", 1), SPEC.replace("{", "{\x0b", 1), SPEC.replace("{", "{/**/", 1),
    *(SPEC.replace("160.0", number) for number in ODD_NUMBERS),
    *(SPEC.replace('"edge"', name, 1) for name in ODD_NAMES),
)  # fmt: skip


@pytest.fixture(scope="session")
def probes(installed_native: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs in tests/runtime/probes."""
    folder = tmp_path_factory.mktemp("probes")
    configure(ROOT / "tests" / "runtime" / "probes", folder, f"-DCMAKE_PREFIX_PATH={installed_native}")
    run_tool("cmake", "--build", folder)
    return folder


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every member, objects and lists among them."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))


def changed_specs() -> Iterator[tuple[str, bytes]]:
    """Yield specs with one thing changed: what was done, and the file's bytes."""
    original = json.loads(SPEC)
    original["accuracy"], original["training"] = {"mm": 1.0}, {"commit": "x"}  # anything goes in these
    yield "nothing", json.dumps(original).encode()
    for path in places(original):
        *outer, key = path
        for action in ("lacks", "twice", *ODD_VALUES):
            spec = copy.deepcopy(original)
            holder = spec
            for name in outer:
                holder = holder[name]
            if action == "lacks":
                del holder[key]
            elif action == "twice":
                holder["extra " + key] = holder[key]
            else:
                holder[key] = action
            yield f"{'.'.join(path)} = {action!r}", json.dumps(spec, ensure_ascii=False).encode()
    for text in ODD_TEXTS:
        yield text[:60], text.encode("utf-8", "surrogatepass")
    yield "latin-1", SPEC.replace('"edge"', '"\u00e9dge"', 1).encode("latin-1")
    yield "cut in a character", SPEC.replace('"edge"', '"\u20ac"', 1).encode()[: SPEC.index('"edge"') + 2]
    yield "UTF-16", SPEC.encode("utf-16")
    for code in (0x00, 0x0A, 0x1F, 0x7F, 0x80, 0x9B, 0x9F):
        yield f"the character {code:#04x}", SPEC.replace('"edge"', f'"ed\\u{code:04x}ge"', 1).encode()


def python_reads(content: bytes) -> str | None:
    """Return why the Python package refuses a spec, or None."""
    try:
        ModelSpec.from_json(content, "file")
    except ArtifactError as error:
        return str(error)
    return None


def test_a_spec_is_read_or_refused_in_both_languages(probes: Path, tmp_path: Path) -> None:
    cases = list(changed_specs())
    for number, (_, content) in enumerate(cases):
        (tmp_path / f"{number:04}.json").write_bytes(content)
    names = [f"{number:04}.json" for number in range(len(cases))]
    done = subprocess.run([probes / "read_specs", "spec", *names], cwd=tmp_path, capture_output=True, check=True)
    answers = done.stdout.decode(errors="replace").splitlines()
    assert len(answers) == len(cases)
    differ, taken = [], 0
    for (what, content), answer in zip(cases, answers, strict=True):
        refused = python_reads(content)
        taken += refused is None
        if (refused is None) != (answer == "read"):
            differ.append(f"{what}: Python {refused or 'reads it'}; C++ {answer}")
    assert differ == []
    assert len(cases) > 1000
    assert 50 < taken < len(cases) / 2


def face_numbers(result: DepthResult) -> str:
    """Write a result as the probe head_pose reads it."""
    camera, box = result.camera, result.box
    height, width = result.depth_mm.shape
    face_seen = -1.0 if result.face_seen is None else result.face_seen
    position = (*result.head_center, result.distance_mm, camera.fx, camera.fy, camera.cx, camera.cy)
    numbers = [width, height, int(result.valid), face_seen, *position, box.x0, box.y0, box.x1, box.y1]
    maps = [*result.depth_mm.ravel().tolist(), *result.mask.ravel().astype(int).tolist()]
    return " ".join(map(str, [*numbers, *maps])) + "\n"


def pose_numbers(pose: HeadPose) -> np.ndarray:
    """Return a pose's numbers in the order of the C++ struct."""
    angles = (pose.yaw_deg, pose.pitch_deg, pose.roll_deg, pose.yaw_seen_deg)
    return np.concatenate([angles, pose.rotation.ravel(), pose.rotation_seen.ravel(), pose.position_mm])


def run_pose_probe(probes: Path, weights: str | Path, results: list[DepthResult]) -> subprocess.CompletedProcess[str]:
    """Give results to the probe head_pose."""
    faces = "".join(map(face_numbers, results))
    return subprocess.run([probes / "head_pose", weights], input=faces, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def demo_result() -> DepthResult:
    demo = load_demo_frame()
    with EdgeDepth(camera=demo.camera) as model:
        return model.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)


def test_the_heads_pose_is_the_same_in_both_languages(probes: Path, demo_result: DepthResult) -> None:
    rng = np.random.default_rng(5)
    mirrored = replace(demo_result, depth_mm=demo_result.depth_mm[:, ::-1], mask=demo_result.mask[:, ::-1])
    results = [demo_result, mirrored]
    for _ in range(20):  # other rays, distances, outlines and depths
        center = tuple(rng.uniform((100, 100), (1100, 600)))
        camera = Camera(*rng.uniform(500, 1500, 2), *rng.uniform(200, 900, 2))
        sides = rng.uniform(100, 500, 2)
        box = type(demo_result.box)(*(np.array([*center, *center]) + np.outer([-0.5, 0.5], sides).ravel()))
        slope = rng.normal(0, 1.5) * np.linspace(-90, 90, 96) + rng.normal(0, 30, (96, 96))
        depth_mm = (demo_result.depth_mm + slope).astype(np.float32)
        mask = np.roll(demo_result.mask, rng.integers(-20, 20, 2), axis=(0, 1))
        results.append(replace(demo_result, camera=camera, head_center=center, box=box, depth_mm=depth_mm, mask=mask))
    depth_mm = demo_result.depth_mm.copy()
    depth_mm[~demo_result.mask] = np.float32(1e6)
    results.append(replace(demo_result, depth_mm=depth_mm))  # what is beside the head does not count
    results.append(replace(demo_result, mask=np.zeros_like(demo_result.mask)))
    small = (slice(None, None, 2), slice(None, None, 4))
    results.append(replace(demo_result, depth_mm=demo_result.depth_mm[small], mask=demo_result.mask[small]))
    done = run_pose_probe(probes, head_pose.WEIGHTS_FILE, results)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(results)
    yaws = []
    for result, line in zip(results, lines, strict=True):
        pose = result.head_pose()
        assert pose is not None
        np.testing.assert_allclose(np.array(line.split(), float), pose_numbers(pose), rtol=1e-5, atol=2e-3)
        yaws.append(abs(pose.yaw_seen_deg))
    assert max(yaws) > 40
    assert min(yaws) < 15


def test_both_languages_know_when_there_is_no_pose(probes: Path, demo_result: DepthResult) -> None:
    odd = slice(None, 90)
    results = [
        replace(demo_result, valid=False),
        replace(demo_result, mask_source="depth < 0.75", face_seen=None),
        replace(demo_result, depth_mm=demo_result.depth_mm[odd], mask=demo_result.mask[odd]),
        replace(demo_result, depth_mm=demo_result.depth_mm[:, odd], mask=demo_result.mask[:, odd]),
        replace(demo_result, distance_mm=float("1e308"), camera=replace(demo_result.camera, fx=1e-3)),
    ]
    done = run_pose_probe(probes, head_pose.WEIGHTS_FILE, results)
    assert done.stdout.split() == ["none"] * len(results)
    with np.errstate(all="ignore"):
        assert [result.head_pose() for result in results] == [None] * len(results)


def test_damaged_weights_are_refused_in_cpp(probes: Path, tmp_path: Path) -> None:
    content = Path(head_pose.WEIGHTS_FILE).read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 16
    for name, damaged, told in (
        ("flipped", bytes(flipped), "got weights of SHA-256"),
        ("empty", b"", "got a header of 0 bytes in a file of 0"),
        ("short", content[:100], "got a header of"),
        ("long header", content[:7] + b"\xff" + content[8:], "got a header of"),
        ("no json", content.replace(b'{"__meta', b'["__meta', 1), "expected valid JSON text"),
        ("no notes", content.replace(b"__metadata__", b"__metadatb__", 1), "got no __metadata__"),
        ("name", content.replace(b"second_bias", b"second_bios", 1), "got no or another second_weight"),
        ("dtype", content.replace(b'"F16"', b'"F32"', 1), "first_bias: got another dtype, expected F16"),
        ("shape", content.replace(b"[288,160]", b"[160,288]", 1), "got no or another first_weight"),
        ("bytes", content.replace(b"[0,320]", b"[0,322]", 1), "got bytes 0 to 322 of"),
        ("outside", content.replace(b"[0,320]", b"[9,999999999]", 1), "got "),
        ("negative", content.replace(b"[0,320]", b"[-1,31]", 1), "got another value, expected a whole number"),
    ):
        (tmp_path / name).write_bytes(damaged)
        done = run_pose_probe(probes, tmp_path / name, [])
        assert done.returncode == 1, name
        assert told in done.stderr, done.stderr
