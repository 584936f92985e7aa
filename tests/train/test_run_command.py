# SPDX-License-Identifier: Apache-2.0
"""What all commands have in common: a reader that goes away, and result files that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facedepth_edge.errors import InputError
from train.command import require_writable

LONG = """
import sys
from train.command import Outcome, run_command
sys.exit(run_command("python -m it", ["--all"], lambda: Outcome({text})))
"""


@pytest.mark.parametrize("text", ["'short'", "'long ' * 100_000"])
def test_a_reader_that_has_seen_enough_is_no_error(text: str) -> None:
    """As the runtime's CLI: status 1, the last line, and nothing else."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", LONG.format(text=text)]
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "FAIL python -m it --all\n")


def test_files_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    require_writable(None)
    require_writable(tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()
    with pytest.raises(InputError, match=r"--json: got the folder .*, expected a file that can be written"):
        require_writable(tmp_path)
    with pytest.raises(InputError, match=r"--out: got .*a\.json, whose folder does not exist"):
        require_writable(tmp_path / "none" / "a.json", "--out")
