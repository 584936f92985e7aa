# SPDX-License-Identifier: Apache-2.0
"""The random streams of rendered sets: each thing that is drawn has its own, so that a new one leaves it unchanged."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Numbers of the streams, each with what it is drawn by: (seed, number of the stream, key).

    A number must not change, or sets come out otherwise. Some stand for two streams, from before they had names: of
    different seeds, or with keys of different lengths. Only DRIVER and BIWI_FRAME share seed, number and length: person
    n's draw for sequence s is Biwi's sequence n's for frame s. The one decides over an outfit, the other draws a pose.
    """

    # Of a set's seed, by (person).
    SUBJECT = 1
    BEARD = 3
    PROPORTIONS = 5
    WARP = 13

    # Of a set's seed, by (person, sequence).
    OUTFIT = 2
    SWEPT = 6
    MODELLED = 8
    PORTRAIT = 9
    DRIVER = 10
    BARE = 11
    EARS = 12
    STYLES = 13

    # Of a set's seed, by (person, sequence, frame).
    FRAME = 4
    FULL_FRAME = 6
    RAW_POSE = 9
    TONGUE = 14

    # Of a set's seed, by (Biwi's sequence, frame).
    BIWI_FRAME = 10

    # Of a set's seed, by (person): train.stability's recordings.
    RECORDING_NOISE = 11
    RECORDING = 12

    # Of an outfit's seed alone.
    WORN = 7
    AMBIENT = 8
    PORTRAIT_BROWS = 9
    TONGUE_SHINE = 14

    def rng(self, seed: int, *key: int) -> np.random.Generator:
        """Return a new generator at the stream's beginning.

        Args:
            seed: The set's, or the outfit's.
            key: What is drawn for, see above.
        """
        return np.random.default_rng([seed, int(self), *key])
