# SPDX-License-Identifier: Apache-2.0
"""The report: one file that needs nothing else, that a browser opens without a complaint, and the comparison."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facedepth_edge.bench import BenchPlan, compare_runs, run_bench
from facedepth_edge.bench.charts import draw_accuracy, draw_histogram, draw_timeline
from facedepth_edge.bench.compare import read_bench
from facedepth_edge.bench.drawing import (
    Box,
    Dot,
    Drawing,
    Line,
    Word,
    nice_ticks,
    picture_from_drawing,
    svg_from_drawing,
)
from facedepth_edge.bench.report import html_from_bench, write_report
from facedepth_edge.bench.run import describe_bench
from facedepth_edge.errors import InputError


@pytest.fixture(scope="module")
def bench() -> dict[str, Any]:
    """Two short runs."""
    plan = BenchPlan(seconds=0.05, queries=30, warm_up_seconds=0.0, size_wh=(320, 180))
    runs = [run_bench(plan, precision=name, threads=1, cold_start=False) for name in ("int8", "fp32")]
    return describe_bench(runs)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "data", "action")]


def test_the_page_needs_nothing_from_elsewhere(bench: dict[str, Any]) -> None:
    page = html_from_bench(bench)
    links = _Links()
    links.feed(page)
    assert links.addresses == ["data:,"]
    assert not {"script", "iframe", "img", "object"} & set(links.tags)
    assert "url(" not in page
    assert "@import" not in page
    assert links.tags.count("svg") == 7  # three of all runs, two of each
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(drawing)
    for figure in ("p50", "p99", "jitter"):
        assert f"<th>{figure}</th>" in page
    assert f"{bench['runs'][0]['latency_ms']['p99']:.3f}" in page


def test_names_are_escaped(bench: dict[str, Any]) -> None:
    evil = copy.deepcopy(bench)
    evil["runs"][0]["model"]["model"] = '<script>alert(1)</script>&"'
    page = html_from_bench(evil)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.toolchain
def test_a_browser_opens_the_page_without_a_complaint(bench: dict[str, Any], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    page, _ = write_report(bench, tmp_path / "report.html")
    log, shot = tmp_path / "log.txt", tmp_path / "shot.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,2400"]
    with log.open("w") as stderr:
        subprocess.run(
            [*command, "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}",
             page.as_uri()], stderr=stderr, stdout=subprocess.DEVNULL, check=True, timeout=120,
        )  # fmt: skip
    assert "CONSOLE" not in log.read_text(errors="replace")
    picture = cv2.imread(str(shot))
    assert picture.shape[1] == 1400
    blue = (np.abs(picture.astype(int) - np.array([0xB6, 0x6F, 0x3B])) < 12).all(axis=2)
    assert blue.sum() > 2000  # the histogram's bars


def test_a_picture_is_written_beside_the_page(bench: dict[str, Any], tmp_path: Path) -> None:
    page, picture = write_report(bench, tmp_path / "report.html")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert picture == tmp_path / "report.png"
    image = cv2.imread(str(picture))
    assert image.shape[1] == 2 * 720 * 2
    assert (image != 255).any(axis=2).mean() > 0.01
    with pytest.raises(InputError, match="expected a file that can be written"):
        write_report(bench, tmp_path / "none" / "report.html")


def test_histogram_boxes_have_the_counts_heights(bench: dict[str, Any]) -> None:
    run = copy.deepcopy(bench["runs"][0])
    run["histogram"] = {"edges_ms": [0.0, 1.0, 2.0, 3.0], "counts": [1, 4, 2]}
    heights = [shape.height for shape in draw_histogram(run).shapes if isinstance(shape, Box)]
    assert heights[1] == pytest.approx(4 * heights[0])
    assert heights[2] == pytest.approx(2 * heights[0])


def test_late_frames_are_red(bench: dict[str, Any]) -> None:
    run = copy.deepcopy(bench["runs"][0])
    run |= {"timeline": {"at_s": [0.0, 0.1, 0.2], "ms": [5.0, 50.0, 5.0]}, "deadline_ms": 33.3, "missed_deadlines": 1}
    dots = [shape for shape in draw_timeline(run).shapes if isinstance(shape, Dot)]
    assert [dot.color == dots[1].color for dot in dots] == [False, True, False]
    assert dots[1].y < dots[0].y


def test_error_beside_latency_needs_known_errors(bench: dict[str, Any]) -> None:
    drawing = draw_accuracy(bench["runs"])
    assert drawing is not None
    assert sum(isinstance(shape, Dot) for shape in drawing.shapes) == 2
    unknown = copy.deepcopy(bench["runs"])
    for run in unknown:
        run["model"]["accuracy"] = None
    assert draw_accuracy(unknown) is None


def test_svg_and_picture_show_the_same() -> None:
    drawing = Drawing(80, 40)
    drawing.add(
        Box(10, 10, 20, 10, "#ff0000", "a <b>"), Dot(60, 20, 5, "#00ff00"), Line(((0, 39), (80, 39)), "#0000ff")
    )
    drawing.add(Word(40, 20, "x", "middle"))
    image = picture_from_drawing(drawing, 2.0)
    assert image.shape == (80, 160, 3)
    assert tuple(image[30, 40]) == (0, 0, 255)
    assert tuple(image[40, 120]) == (0, 255, 0)
    svg = svg_from_drawing(drawing, "a & b")
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == "a & b"
    names = [element.tag.split("}")[1] for element in root]
    assert names == ["rect", "circle", "polyline", "text"]
    assert "a &lt;b&gt;" in svg


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.3, 2.9), (0.0, 12345.0), (-3.0, 4.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 12
    assert all(low - 1e-9 <= tick <= high + 1e-6 * (high - low) for tick in ticks)
    steps = np.diff(ticks)
    assert steps.max() == pytest.approx(steps.min())


def test_a_run_is_the_same_as_itself_and_slower_than_a_faster_one(bench: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(bench))
    old = read_bench(path)
    same = compare_runs(old, bench)
    assert (same.slower, same.grown) == ([], [])
    slow = copy.deepcopy(bench)
    for run in (*old["runs"], *slow["runs"]):
        run["block_spread"] = 0.01
    for name in ("p50", "p90", "p99"):
        slow["runs"][0]["latency_ms"][name] *= 1.3
    found = compare_runs(old, slow)
    assert len(found.slower) == 3
    assert all("int8" in name for name in found.slower)
    slow["runs"][0]["block_spread"] = 0.2  # that noise explains it
    assert compare_runs(old, slow).slower == []
    slow["runs"][0]["block_spread"] = 0.01
    slow["machine"] = {"cpu": "another"}
    elsewhere = compare_runs(old, slow)
    assert elsewhere.slower == []
    assert "different machines" in elsewhere.lines[0]


def test_counts_have_no_noise(bench: dict[str, Any]) -> None:
    more = copy.deepcopy(bench)
    more["runs"][1]["counts"]["peak_kib_per_frame"] += 1
    assert len(compare_runs(bench, more).grown) == 1
    assert compare_runs(more, bench).grown == []


def test_files_that_are_no_benchmarks_are_named(tmp_path: Path, bench: dict[str, Any]) -> None:
    for text in ("", "[]", "{}", '{"bench_format": 1, "runs": [{}]}', '{"bench_format": 9, "runs": []}'):
        path = tmp_path / "bad.json"
        path.write_text(text)
        with pytest.raises(InputError, match=r"bad\.json: got .*expected a file of facedepth-edge bench --json"):
            read_bench(path)
    for name, value in {"counts": [1], "block_spread": None, "model": None}.items():
        path.write_text(json.dumps({**bench, "runs": [{**bench["runs"][0], name: value}]}))
        with pytest.raises(InputError, match="a run without its figures"):
            read_bench(path)
    path.write_text(json.dumps({**bench, "runs": [{**bench["runs"][0], "latency_ms": {"p50": 0, "p90": 1, "p99": 1}}]}))
    with pytest.raises(InputError, match="a run without its figures"):
        read_bench(path)
    with pytest.raises(InputError, match=r"--compare: got"):
        compare_runs({"runs": []}, bench)
