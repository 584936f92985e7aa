# SPDX-License-Identifier: Apache-2.0
"""Tests that the README tells the truth: its commands and its example run, and print what it says."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.demo import DEMO_FOLDER, load_demo_frame

ROOT = Path(__file__).parents[1]
README_FILE = ROOT / "README.md"
README = README_FILE.read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def blocks(language, text=README):
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def command_named(name):
    """Return the one line of the block behind a `command:` mark."""
    (found,) = re.findall(rf"^<!-- command: {name} -->\n```sh\n(.*?)\n```$", README, flags=re.DOTALL | re.MULTILINE)
    assert "\n" not in found
    return found


def test_nothing_is_left_to_fill_in():
    documents = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    documents += (ROOT / "docs").glob("*.md")
    unfinished = [str(path) for path in documents if "FILL" in path.read_text(encoding="utf-8")]
    assert unfinished == []


@pytest.mark.parametrize("document", [README_FILE, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name)
def test_every_file_that_is_linked_exists(document):
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []
    # A quoted name behind a link is a section there.
    for link, section in re.findall(r"\]\(([^)#:]+\.md)\),\s+\"([^\"]+)\"", text):
        heading = rf"^(#+ |\*\*){re.escape(' '.join(section.split()))}"
        assert re.search(heading, (document.parent / link).read_text(encoding="utf-8"), flags=re.MULTILINE), section


def test_ci_runs_the_test_command_of_the_readme(tmp_path):
    """Run .ci/run in a folder where the README's command only says that it ran."""
    command = command_named("test")
    assert "pip install -c constraints.txt -e" in command
    assert command.endswith("python -m pytest -n auto --dist loadfile")
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("ruff", "mypy"):
        (tools / name).write_text(f"#!/bin/sh\necho {name} $1\n")
        (tools / name).chmod(0o755)

    def run_ci(readme):
        (tmp_path / "README.md").write_text(readme)
        (tmp_path / ".venv-dev").mkdir(exist_ok=True)
        path = f"{tools}:/usr/local/bin:/usr/bin:/bin"
        return subprocess.run(
            [tmp_path / ".ci" / "run"], capture_output=True, text=True, env={"PATH": path}, timeout=60
        )

    good = run_ci(README.replace(command, "test ! -e .venv-dev && echo pytest said so"))
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[1:3] == ["pytest said so", "ruff check"]
    assert not (tmp_path / ".venv-dev").exists()
    for failing in ("false && echo never", "true && false", "(exit 5)"):
        assert run_ci(README.replace(command, failing)).returncode != 0
    assert run_ci("no command").returncode != 0


def test_the_example_prints_what_the_readme_says(tmp_path):
    example, camera, eyes, stream = blocks("python")
    (expected,) = blocks("text")
    assert len([line for line in example.splitlines() if line.strip()]) == 6
    sixteen = "result = edge.predict(demo.frame.astype('uint16') * 4, demo.head_center, distance_mm=demo.distance_mm)\n"
    near = "assert max(abs(a - b) for a, b in zip(place.head_center, demo.head_center)) < 8\n"
    near += "assert abs(result.distance_mm / demo.distance_mm - 1) < 0.05 and result.valid\n"
    code = f"{example}{camera}{sixteen}assert result.valid\n{eyes}{near}{stream}assert result.valid"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert NUMBER.sub("#", done.stdout) == NUMBER.sub("#", expected)
    printed, promised = ([float(n) for n in NUMBER.findall(text)] for text in (done.stdout, expected))
    np.testing.assert_allclose(printed, promised, atol=3)  # mm: INT8 rounds differently on other processors


COMMAND_LINES = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("facedepth-edge ")]


def test_the_readme_shows_every_command():
    assert {shlex.split(line)[1] for line in COMMAND_LINES} >= {"predict", "models"}
    assert command_named("demo").endswith("&& pip install . && facedepth-edge demo")


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_line_of_the_readme_runs(line, tmp_path):
    demo = load_demo_frame()
    for name in ("driver.png", "passenger.png"):
        shutil.copy(DEMO_FOLDER / "frame.png", tmp_path / name)
    (camera,) = re.findall(r'`(\{"fx".*?\})`', README)
    (tmp_path / "camera.json").write_text(
        json.dumps({**json.loads(camera), "fx": demo.camera.fx, "fy": demo.camera.fy})
    )
    before = set(tmp_path.rglob("*"))
    arguments = shlex.split(line)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "facedepth_edge", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"PASS {line}"
    assert done.stdout.strip()
    written = set(tmp_path.rglob("*")) - before
    assert bool(written) is (arguments[0] in ("predict", "bench"))
