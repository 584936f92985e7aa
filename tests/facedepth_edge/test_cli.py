# SPDX-License-Identifier: Apache-2.0
"""Tests the command line: what it prints where, its exit status, and what it writes."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import click
import cv2
import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner

import facedepth_edge
from facedepth_edge import Camera, EdgeDepth, artifacts, cli
from facedepth_edge.backends import onnxruntime_network
from facedepth_edge.backends.onnxruntime import MAX_DEFAULT_THREADS
from facedepth_edge.engine import FILES as ENGINE_FILES


@pytest.fixture
def run(tmp_path, monkeypatch, tiny_artifact):
    """Run the command line in an empty folder; predict takes the tiny model unless told otherwise."""
    monkeypatch.chdir(tmp_path)

    def run_in_folder(*arguments, status=0):
        arguments = [str(argument) for argument in arguments]
        if arguments[0] == "predict" and "--model" not in arguments:
            arguments += ["--model", str(tiny_artifact)]
        done = CliRunner().invoke(cli.main, arguments, catch_exceptions=False)
        assert done.exit_code == status, done.output
        if status != 2:
            verdict = "FAIL" if status else "PASS"
            assert done.stderr.splitlines()[-1].startswith(f"{verdict} facedepth-edge {arguments[0]}")
        return done

    return run_in_folder


@pytest.fixture
def image(tmp_path, frame):
    assert cv2.imwrite(str(tmp_path / "driver.png"), frame)
    return "driver.png"


HEAD = ("--head-center", "250,170")


def test_each_kind_of_file_holds_the_same_depth(run, image, frame, tiny_artifact, tmp_path):
    with EdgeDepth(tiny_artifact) as edge:
        expected = edge.predict(frame, (250.0, 170.0), distance_mm=650.0)
    for kind in ("npy", "png", "ply"):
        run("predict", image, *HEAD, "--distance-mm", 650, "--out", f"depth.{kind}")
    np.testing.assert_array_equal(np.load(tmp_path / "depth.npy"), expected.depth_mm)
    png = cv2.imread(str(tmp_path / "depth.png"), cv2.IMREAD_UNCHANGED)
    assert png.dtype == np.uint16
    np.testing.assert_array_equal(png, np.where(expected.mask, np.rint(expected.depth_mm), 0))
    header, _, points = (tmp_path / "depth.ply").read_bytes().partition(b"end_header\n")
    assert f"element vertex {int(expected.mask.sum())}\n".encode() in header
    np.testing.assert_array_equal(np.frombuffer(points, "<f4").reshape(-1, 3), expected.point_cloud())
    assert 100 < expected.mask.sum() < expected.mask.size


def test_one_image_gives_one_line_and_no_progress_bar(run, image):
    done = run("predict", image, *HEAD, "--distance-mm", 650, "--out", "depth.npy")
    (line,) = done.stdout.splitlines()
    assert line.startswith("driver.png -> depth.npy: head ")
    assert "distance 650 mm (distance_mm)" in line
    assert done.stderr.splitlines()[:-1] == []


def test_a_distance_that_nobody_gave_is_told_in_one_line(run, image, frame, tmp_path):
    done = run("predict", image, *HEAD, "--out", "depth.npy")
    (told,) = done.stderr.splitlines()[:-1]
    assert told.startswith("driver.png: got no distance of the head, expected one: the nominal 700 mm was taken. ")
    assert "x and y of the point cloud scale with it" in told
    assert "depth of the whole face shifts with it" in told
    assert re.findall("--[a-z-]+", told) == ["--distance-mm", "--depth", "--head-width-px", "--detect"]
    (line,) = done.stdout.splitlines()
    assert "distance 700 mm (nominal)" in line

    (tmp_path / "camera.json").write_text('{"fx": 500, "fy": 500, "nominal_distance_mm": 640.5}')
    shutil.copy(image, "second.png")
    several = ("predict", image, "second.png", *HEAD, "--camera", "camera.json", "--out-dir", "out", "--json")
    done = run(*several)
    assert done.stderr.count("got no distance") == 1
    assert "2 images: got no distance of the head, expected one: the nominal 640.5 mm was taken." in done.stderr
    assert {entry["distance_source"] for entry in json.loads(done.stdout)["results"]} == {"nominal"}

    np.save("measured.npy", np.full(frame.shape[:2], 812.0, np.float32))
    for given in (("--distance-mm", 650), ("--head-width-px", 100), ("--depth", "measured.npy")):
        assert "no distance" not in run("predict", image, *HEAD, *given, "--out", "o.npy").stderr


def test_depth_at_the_frames_size(run, image, frame, tiny_artifact):
    run("predict", image, *HEAD, "--out", "depth.png", "--on-frame")
    with EdgeDepth(tiny_artifact) as edge:
        expected = edge.predict(frame, (250.0, 170.0)).on_frame()
    np.testing.assert_array_equal(cv2.imread("depth.png", cv2.IMREAD_UNCHANGED), np.rint(expected))


def test_json_says_all_that_was_measured(run, image, frame, tiny_artifact):
    done = run("predict", image, *HEAD, "--head-width-px", 100, "--out", "depth.npy", "--json")
    found = json.loads(done.stdout)
    (entry,) = found["results"]
    with EdgeDepth(tiny_artifact) as edge:
        expected = edge.predict(frame, (250.0, 170.0), head_width_px=100.0)
        assert found["model"] == edge.info
    assert found["command"] == "predict"
    assert found["ok"] is entry["ok"] is entry["valid"] is True
    assert entry["head_center"] == [250.0, 170.0]
    assert entry["box"] == pytest.approx(list(expected.box))
    assert (entry["distance_mm"], entry["distance_source"]) == (expected.distance_mm, "head_width_px")
    assert entry["head_pixels"] == expected.mask.sum()
    assert entry["head_mm"]["nearest"] == pytest.approx(expected.depth_mm[expected.mask].min())
    assert entry["head_mm"]["nearest"] < entry["head_mm"]["median"] < entry["head_mm"]["farthest"]
    assert entry["timings_ms"]["total"] > 0


def test_an_unusable_face_is_a_result_with_its_reason(run, tmp_path):
    assert cv2.imwrite(str(tmp_path / "black.png"), np.zeros((200, 200, 3), np.uint8))
    done = run("predict", "black.png", "--head-center", "100,100", "--out", "depth.npy")
    assert "not valid: " in done.stdout
    entry = json.loads(run("predict", "black.png", *HEAD[:1], "99,99", "--out", "d.npy", "--json").stdout)["results"][0]
    assert entry["valid"] is False
    assert entry["reason"]


def test_require_valid_fails_for_a_result_that_is_not_valid_and_writes_it_all_the_same(run, image, tmp_path):
    assert cv2.imwrite(str(tmp_path / "black.png"), np.zeros((360, 480, 3), np.uint8))
    both = ("predict", image, "black.png", *HEAD, "--distance-mm", 510, "--out-dir", "out", "--picture")
    loose = run(*both)
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert set(before) == {f"{name}_depth{end}.png" for name in ("driver", "black") for end in ("", "_picture")}
    shutil.rmtree(tmp_path / "out")
    strict = run(*both, "--require-valid", status=1)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert strict.stdout == loose.stdout
    assert "error: black.png: got a result that is not valid: " in strict.stderr
    assert "1 of 2 images done, 1 failed" in strict.stderr
    found = json.loads(run(*both, "--require-valid", "--json", status=1).stdout)
    good, bad = found["results"]
    assert found["ok"] is bad["ok"] is bad["valid"] is False
    assert bad["reason"] in bad["error"]["message"]
    assert bad["out"] == "out/black_depth.png"
    assert good["ok"] is good["valid"] is True
    run("predict", image, *HEAD, "--distance-mm", 510, "--out", "o.npy", "--require-valid")


def test_several_images_go_on_after_a_failure_and_name_it(run, image, tmp_path):
    (tmp_path / "broken.png").write_text("not an image")
    shutil.copy(image, "second.png")
    arguments = ("predict", image, "missing.png", "broken.png", "second.png", *HEAD, "--out-dir", "out")
    done = run(*arguments, "--kind", "npy", status=1)
    assert [line.split(" -> ")[0] for line in done.stdout.splitlines()] == ["driver.png", "second.png"]
    assert "error: image missing.png: got No such file" in done.stderr
    assert "error: image broken.png: got bytes that are no image" in done.stderr
    assert "2 of 4 images done, 2 failed" in done.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["driver_depth.npy", "second_depth.npy"]
    found = json.loads(run(*arguments, "--json", status=1).stdout)
    assert [entry["ok"] for entry in found["results"]] == [True, False, False, True]
    assert found["ok"] is False
    assert found["results"][1]["error"]["type"] == "InputError"
    assert "missing.png" in found["results"][1]["error"]["message"]


def test_options_can_be_given_for_each_image(run, image):
    shutil.copy(image, "second.png")
    centers = ("--head-center", "250,170", "--head-center", "100,90")
    distances = ("--distance-mm", 600, "--distance-mm", 900)
    done = run("predict", image, "second.png", *centers, *distances, "--out-dir", "out", "--json")
    entries = json.loads(done.stdout)["results"]
    assert [entry["head_center"] for entry in entries] == [[250.0, 170.0], [100.0, 90.0]]
    assert [entry["distance_mm"] for entry in entries] == [600.0, 900.0]


def test_a_head_centre_outside_one_image_fails_that_image(run, image, tmp_path):
    assert cv2.imwrite(str(tmp_path / "small.png"), np.full((50, 60, 3), 90, np.uint8))
    done = run("predict", image, "small.png", *HEAD, "--out-dir", "out", status=1)
    assert "error: small.png: head_center: got (250, 170), expected 0 <= x < 60" in done.stderr


def test_depth_files_give_the_distance(run, image, frame):
    np.save("depth.npy", np.full(frame.shape[:2], 812.0, np.float32))
    assert cv2.imwrite("depth.png", np.full(frame.shape[:2], 812, np.uint16))
    for file in ("depth.npy", "depth.png"):
        entry = json.loads(run("predict", image, *HEAD, "--depth", file, "--out", "o.npy", "--json").stdout)["results"][
            0
        ]
        assert (entry["distance_mm"], entry["distance_source"]) == (812.0, "depth")


def test_a_camera_file_is_used(run, image, frame, tmp_path):
    (tmp_path / "camera.json").write_text('{"fx": 500, "fy": 500, "nominal_distance_mm": 640, "max_value": 1023}')
    entry = json.loads(run("predict", image, *HEAD, "--camera", "camera.json", "--out", "o.npy", "--json").stdout)
    x0, _, x1, _ = entry["results"][0]["box"]
    assert x1 - x0 == pytest.approx(500 * 320 / 640)
    gray10 = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 4
    assert cv2.imwrite("gray10.png", gray10)
    run("predict", "gray10.png", *HEAD, "--camera", "camera.json", "--out", "o.npy")
    (tmp_path / "without.json").write_text('{"fx": 500, "fy": 500}')
    for options, got in (([], "no --camera"), (["--camera", "without.json"], "a --camera file without max_value")):
        for how in (HEAD, ["--detect"]):
            told = run("predict", "gray10.png", *how, *options, "--out", "o.npy", status=1).stderr
            assert (
                f"image gray10.png: got 16-bit pixels and {got}, expected the camera's max_value. Give --camera" in told
            )
            assert "Camera(" not in told


def test_detect_finds_the_head_and_its_distance(run, tmp_path):
    assert cv2.imwrite(str(tmp_path / "astronaut.png"), skimage.data.astronaut()[..., ::-1])
    assert cv2.imwrite(str(tmp_path / "wall.png"), np.full((300, 300, 3), 120, np.uint8))
    done = run("predict", "astronaut.png", "wall.png", "--detect", "--out-dir", "out", "--picture", "--json", status=1)
    photo, wall = json.loads(done.stdout)["results"]
    assert photo["head_center"] == pytest.approx([224.5, 111.0], abs=15)
    assert photo["distance_source"] == "head_width_px"
    assert photo["picture"] == "out/astronaut_depth_picture.png"
    picture = cv2.imread(photo["picture"])
    assert picture.shape[0] > 200
    assert picture.std() > 20
    assert "error: wall.png: got no face" in done.stderr
    assert "--head-center" in done.stderr or "head centre" in wall["error"]["message"]
    given = run("predict", "astronaut.png", "--detect", "--distance-mm", 640, "--out", "o.npy", "--json")
    assert json.loads(given.stdout)["results"][0]["distance_source"] == "distance_mm"


def test_a_head_too_near_for_the_assumed_view_is_told(run, tmp_path):
    photo = skimage.data.astronaut()[..., ::-1]
    assert cv2.imwrite(str(tmp_path / "whole.png"), photo)
    assert cv2.imwrite(str(tmp_path / "cut.png"), photo[:240, 100:340])
    camera = tmp_path / "camera.json"
    camera.write_text('{"fx": 1536, "fy": 1536}')
    told = run("predict", "cut.png", "--detect", "--out", "o.npy").stderr
    assert "expected 400 or more" in told
    assert "--camera FILE" in told
    for given in (("whole.png",), ("cut.png", "--camera", camera), ("cut.png", "--distance-mm", 300)):
        assert "expected 400" not in run("predict", *given, "--detect", "--out", "o.npy").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "IMAGE"),
        (("a.png", "--out", "o.npy"), "got none of them, expected exactly one of --head-center, --detect"),
        (("a.png", "--head-center", "1,2", "--detect", "--out", "o.npy"), "expected exactly one of --head-center"),
        (("a.png", "--detect"), "expected exactly one of --out, --out-dir"),
        (("a.png", "--detect", "--out", "o.npy", "--out-dir", "d"), "expected exactly one of --out, --out-dir"),
        (
            ("a.png", "--detect", "--out", "o.npy", "--distance-mm", "500", "--head-width-px", "5"),
            "expected at most one of",
        ),
        (("a.png", "--head-center", "12", "--out", "o.npy"), "got '12', expected X,Y in pixels"),
        (("a.png", "--head-center", "a,b", "--out", "o.npy"), "expected X,Y in pixels"),
        (("a.png", "--head-center", "nan,1", "--out", "o.npy"), "expected finite pixels"),
        (("a.png", "--detect", "--distance-mm", "0", "--out", "o.npy"), "got '0', expected a number from 10 to 100000"),
        (("a.png", "--detect", "--distance-mm", "-700", "--out", "o.npy"), "expected a number from 10 to 100000 (mm)"),
        (("a.png", "--detect", "--distance-mm", "nan", "--out", "o.npy"), "expected a number from 10 to 100000 (mm)"),
        (("a.png", "--detect", "--distance-mm", "5", "--out", "o.npy"), "got '5', expected a number from 10 to 100000"),
        (("a.png", "--detect", "--distance-mm", "1e6", "--out", "o.npy"), "expected a number from 10 to 100000 (mm)"),
        (("a.png", "--detect", "--head-width-px", "0", "--out", "o.npy"), "expected a finite number above 0 (px)"),
        (("a.png", "--detect", "--head-width-px", "wide", "--out", "o.npy"), "got 'wide', expected a number (px)"),
        (("a.png", "--detect", "--out", "o.jpeg2"), "expected a file name that ends in .png, .npy, .ply"),
        (("a.png", "--detect", "--out", "nowhere/o.npy"), "expected a file in a folder that exists"),
        (("a.png", "b.png", "--detect", "--out", "o.npy"), "--out: got 2 images, expected one"),
        (("a.png", "x/a.png", "--detect", "--out-dir", "d"), "'d/a_depth.png' for two images"),
        (("a.png", "--detect", "--out", "a.png"), "'a.png', which is an input"),
        (("a.png", "--detect", "--depth", "none.png", "--out", "o.npy"), "'none.png' does not exist"),
        (("a.png", "--detect", "--camera", "none.json", "--out", "o.npy"), "none.json: got No such file"),
        (("a.png", "--detect", "--backend", "cuda", "--out", "o.npy"), "'cuda' is not one of"),
        (("a.png", "--detect", "--precision", "int4", "--out", "o.npy"), "'int4' is not one of"),
        (("a.png", "b.png", "c.png", *HEAD, *HEAD, "--out-dir", "d"), "--head-center: got 2 values, expected once for"),
    ],
)
def test_wrong_usage_is_said_before_anything_runs(run, arguments, said, tmp_path):
    done = run("predict", *arguments, status=2)
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_bad_camera_file_is_wrong_usage(run, tmp_path):
    (tmp_path / "camera.json").write_text('{"fx": 500, "fy": 500, "focal": 3}')
    done = run("predict", "a.png", "--detect", "--camera", "camera.json", "--out", "o.npy", status=2)
    assert "unknown key focal" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("--model", "nobody"), "ArtifactError"),
        (("--backend", "tensorrt"), "BackendUnavailable"),
        (("--precision", "fp16"), "ConfigError"),
    ],
)
def test_what_keeps_the_model_from_running_fails_with_its_reason(run, image, arguments, kind):
    done = run("predict", image, *HEAD, *arguments, "--out", "o.npy", "--json", status=1)
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert found["error"]["type"] == kind
    assert f"error: {found['error']['message']}" in done.stderr


def test_an_altered_model_is_refused(run, image, tiny_artifact, tmp_path):
    folder = tmp_path / "altered"
    shutil.copytree(tiny_artifact, folder)
    content = bytearray((folder / "int8.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "int8.onnx").write_bytes(content)
    done = run("predict", image, *HEAD, "--model", folder, "--out", "o.npy", status=1)
    assert "SHA-256" in done.stderr
    assert not (tmp_path / "o.npy").exists()


def test_a_folder_that_cannot_be_made_fails(run, image, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("")
    done = run("predict", image, *HEAD, "--out-dir", "out/file/deeper", status=1)
    assert "out/file" in done.stderr


def test_models_lists_and_checks_the_bundled_ones(run, tiny_artifact, tmp_path, monkeypatch):
    shutil.copytree(tiny_artifact, tmp_path / "models" / "tiny")
    monkeypatch.setattr(artifacts, "BUNDLED_FOLDER", tmp_path / "models")
    assert run("models").stdout.startswith("tiny 1.2.3  96 x 96 -> depth, mask, validity  Apache-2.0\n")
    (entry,) = json.loads(run("models", "--json").stdout)["models"]
    assert entry["files"]["fp32.onnx"] == (tiny_artifact / "fp32.onnx").stat().st_size
    assert entry["input_hw"] == [96, 96]
    (tmp_path / "models" / "tiny" / "golden.npz").write_bytes(b"short")
    found = json.loads(run("models", "--json", status=1).stdout)
    assert found["error"]["type"] == "ArtifactError"
    assert "golden.npz" in found["error"]["message"]
    shutil.rmtree(tmp_path / "models" / "tiny")
    assert "error: models: got none" in run("models", status=1).stderr


def test_version_and_help():
    def shown(*arguments):
        done = CliRunner().invoke(cli.main, arguments)
        assert done.exit_code == 0
        return done.stdout

    assert shown("--version") == f"facedepth-edge, version {facedepth_edge.__version__}\n"
    for command in ("predict", "demo", "models"):
        assert command in shown("-h")
        assert "--json" in shown(command, "-h")


def test_every_option_has_help():
    for name, command in cli.main.commands.items():
        assert command.help, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.name}"


def test_help_says_units_and_what_is_taken_where_nothing_is_given():
    def helps(command):
        return {option.opts[0]: option.help for option in cli.main.commands[command].params if option.opts[0][0] == "-"}

    predict, bench, build = helps("predict"), helps("bench"), helps("build-engine")
    for field in dataclasses.fields(Camera):
        assert field.name in predict["--camera"]
    assert f"else {Camera(1, 1).nominal_distance_mm:g};" in predict["--camera"]
    assert "focal lengths in pixels" in predict["--camera"]
    assert "add 0.5 to OpenCV's cx and cy" in predict["--camera"]
    for kind in (".png: depth over the box, 16-bit, whole mm, 0 outside the head", "mm, but NOT masked", ".ply: "):
        assert kind in predict["--out"]
    unit = {"--head-center": "pixels", "--distance-mm": "millimetres", "--depth": "millimetres"}
    for option, word in {**unit, "--head-width-px": "Pixels"}.items():
        assert word in predict[option]
    orders = (*onnxruntime_network.AUTO_PRECISIONS.values(), ENGINE_FILES)
    for command in ("predict", "demo", "verify", "bench"):
        for order in orders:
            assert f"of {', '.join(order)}" in " ".join(helps(command)["--precision"].split())
        assert "auto: the first of those listed that works" in helps(command)["--backend"]
    assert "auto: int8 where the model has it, else fp16" in build["--precision"]
    assert "MiB" in build["--workspace-mib"]
    for option in ("--seconds", "--queries"):
        assert "at least this many" in bench[option]
        assert "AND at least" in bench[option]
    assert "pixels" in bench["--resolution"]
    assert f"{MAX_DEFAULT_THREADS} at most" in bench["--threads"]
    assert "CPU threads" in bench["--threads"]


def test_python_m_runs_the_same(tmp_path, frame, tiny_artifact):
    assert cv2.imwrite(str(tmp_path / "driver.png"), frame)
    arguments = ["predict", "driver.png", *HEAD, "--model", str(tiny_artifact), "--out", "depth.npy"]
    done = subprocess.run(
        [sys.executable, "-m", "facedepth_edge", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "PASS facedepth-edge " + " ".join(arguments)
    assert np.load(tmp_path / "depth.npy").shape == (96, 96)
    wrong = subprocess.run(
        [sys.executable, "-m", "facedepth_edge", "predict"], capture_output=True, text=True, timeout=120
    )
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("Usage: facedepth-edge predict")


def test_the_camera_class_reads_what_the_readme_shows(tmp_path):
    (tmp_path / "camera.json").write_text('{"fx": 1100.0, "fy": 1100.0}')
    assert Camera.from_file(tmp_path / "camera.json") == Camera(1100.0, 1100.0)


def test_inputs_are_never_written_over(run, image, tmp_path):
    shutil.copy(tmp_path / image, tmp_path / "face_picture.png")
    np.save(tmp_path / "measured.npy", np.full((10, 10), 700.0))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    picture = run("predict", "face_picture.png", *HEAD, "--out", "face.npy", "--picture", status=2)
    assert "'face_picture.png', which is an input, expected a file that is not read" in " ".join(picture.stderr.split())
    depth = run("predict", image, *HEAD, "--depth", "measured.npy", "--out", "measured.npy", status=2)
    assert "'measured.npy', which is an input" in depth.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_names_that_the_system_does_not_take_are_usage_errors(run):
    assert "Shorten it" in run("demo", "--out", f"{'a' * 300}.png", status=2).stderr
    assert "the folder of an artifact" in run("verify", "--model", "a" * 300, status=1).stderr


def test_a_full_disk_behind_stdout_fails_without_a_traceback():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "facedepth_edge", "models"], stdout=full, stderr=subprocess.PIPE)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert "No space left" in said


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_link_to_itself_fails_alone(run, image, tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "out.npy").symlink_to("out.npy")
    done = run("predict", "loop.png", image, *HEAD, "--distance-mm", 650, "--out-dir", "out", "--json", status=1)
    looped, good = json.loads(done.stdout)["results"]
    assert (looped["ok"], good["ok"]) == (False, True)
    assert "Too many levels of symbolic links" in looped["error"]["message"]
    assert os.listdir(tmp_path / "out") == ["driver_depth.png"]
    told = run("predict", image, *HEAD, "--distance-mm", 650, "--out", "out.npy", status=1).stderr
    assert "out.npy: got Too many levels of symbolic links, expected a file that can be written" in told
