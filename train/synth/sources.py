# SPDX-License-Identifier: Apache-2.0
"""What a set was rendered from, as digests: a set that was begun with one head model and hair goes on with no other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from facedepth_edge.errors import ConfigError
from facedepth_edge.whole_file import whole_file
from train.data.crops_set import RENDERED_FILE as NOTE_FILE
from train.synth.hair_cards import BASE_FILE, style_files

_DIGITS = 16


def source_digests(head: Path, hair: Path | None) -> dict[str, Any]:
    """Return the digests of a packed head model's arrays, of the body that hair was made for, and of each style.

    Raises:
        ConfigError: The folder of hair cannot be used.
    """
    with np.load(head) as archive:  # not of the file: packed again by another zlib it has other bytes
        arrays = [f"{name} {archive[name].dtype} {archive[name].shape}".encode() + archive[name].tobytes()
                  for name in sorted(archive.files)]  # fmt: skip
    styles = {name: _digest(*(file.read_bytes() for file in files)) for name, files in style_files(hair).items()}
    body = {} if hair is None else {"body": _digest((Path(hair) / BASE_FILE).read_bytes())}
    return {"head": _digest(*arrays), **body, "hair": styles}


def _digest(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
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
    begun = any(entry.name.isdigit() and entry.is_dir() for entry in out.iterdir())
    if begun and not path.is_file():
        raise ConfigError.of(str(out), f"sequences and no {NOTE_FILE}", "an empty folder", fix)
    if begun:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError.of(str(path), f"no JSON: {error}", "what was rendered there", fix) from error
        if not isinstance(found, dict):
            raise ConfigError.of(str(path), f"a {type(found).__name__}", "what was rendered there", fix)
        other = sorted(key for key in {*note, *found} if note.get(key) != found.get(key))
        if other:
            got = ", ".join(f"{key} {note.get(key)}" for key in other)
            rule = f"what its sequences have ({', '.join(f'{key} {found.get(key)}' for key in other)})"
            raise ConfigError.of(str(path), got, rule, fix)
        return
    with whole_file(path) as file:
        file.write((json.dumps(note, indent=1) + "\n").encode())
