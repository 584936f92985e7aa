# SPDX-License-Identifier: Apache-2.0
"""Which file of a set says that the renderer wrote it."""

from __future__ import annotations

import json
from pathlib import Path

from train.data.crops_set import RENDERED_FILE, generator_note, generator_of
from train.synth.sources import NOTE_FILE, settle_note


def test_processed_and_raw_sets_say_who_rendered_them(tmp_path: Path) -> None:
    assert RENDERED_FILE == NOTE_FILE
    assert generator_note(tmp_path) is None
    assert generator_of(tmp_path) is None
    settle_note(tmp_path, {"layout": "render-biwi", "seed": 3})
    assert generator_note(tmp_path) == (tmp_path / NOTE_FILE, {"layout": "render-biwi", "seed": 3})
    (tmp_path / "dataset.json").write_text(json.dumps({"layout": "pandora-crops"}))
    assert generator_of(tmp_path) == {"layout": "render-biwi", "seed": 3}
    (tmp_path / "dataset.json").write_text(json.dumps({"generator": {"name": "train.synth"}}))
    assert generator_note(tmp_path) == (tmp_path / "dataset.json", {"name": "train.synth"})
