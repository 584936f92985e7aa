# SPDX-License-Identifier: Apache-2.0
"""What a set was rendered from, as digests: a set that was begun with one head model and hair goes on with no other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from facedepth_edge.errors import ConfigError
from facedepth_edge.whole_file import whole_file
from train.synth.hair_cards import style_files

NOTE_FILE = "rendered.json"
_DIGITS = 16


def source_digests(head: Path, hair: Path | None) -> dict[str, Any]:
    """Return the digests of a packed head model and of each hair style (its mesh and its picture).

    Raises:
        ConfigError: The folder of hair cannot be used.
    """
    styles = {name: _digest(*files) for name, files in style_files(hair).items()}
    return {"head": _digest(head), "hair": styles}


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:_DIGITS]


def settle_note(out: Path, note: dict[str, Any]) -> None:
    """Write beside raw sequences what they are rendered from and by, or compare with what is written there.

    Args:
        out: The folder of the sequences.
        note: Plain values.

    Raises:
        ConfigError: The sequences there are of other settings, or of none that is known.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, fix = out / NOTE_FILE, "Choose another --out or remove it."
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError.of(str(path), f"no JSON: {error}", "what was rendered there", fix) from error
        other = sorted(key for key in {*note, *found} if note.get(key) != found.get(key))
        if other:
            got = ", ".join(f"{key} {note.get(key)}" for key in other)
            rule = f"what its sequences have ({', '.join(f'{key} {found.get(key)}' for key in other)})"
            raise ConfigError.of(str(path), got, rule, fix)
        return
    if any(entry.name.isdigit() and entry.is_dir() for entry in out.iterdir()):
        raise ConfigError.of(str(out), f"sequences and no {NOTE_FILE}", "an empty folder", fix)
    with whole_file(path) as file:
        file.write((json.dumps(note, indent=1) + "\n").encode())
