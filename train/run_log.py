# SPDX-License-Identifier: Apache-2.0
"""What a training tells of itself: a progress bar on stderr, and curves for TensorBoard."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

log = logging.getLogger("train")


class RunLog:
    """One run's bar and curves.

    Args:
        folder: Of the curves; None where another process writes them: then nothing is shown either.
        step: Steps done before.
        steps: Of the whole run.
        progress: Show the bar.
    """

    def __init__(self, folder: Path | None, step: int, steps: int, progress: bool) -> None:
        self.progress = progress
        self._writer = SummaryWriter(str(folder), purge_step=step) if folder is not None else None
        shown = progress and folder is not None
        self._bar = tqdm(total=steps, initial=step, desc="training", unit="step", disable=not shown)
        self._sums: dict[str, Tensor] = {}
        self._summed = 0

    def add_step(self, parts: dict[str, Tensor]) -> None:
        """Count a step, whose losses are scalars on the training's device: they are read in `mean_losses`."""
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._summed += 1
        self._bar.update()

    def mean_losses(self) -> dict[str, float]:
        """Return the means over the steps since the last call."""
        means = {name: float(value) / self._summed for name, value in self._sums.items()}
        self._sums, self._summed = {}, 0
        return means

    def write_losses(self, step: int, means: dict[str, float], rate: float) -> None:
        """Show the first four losses beside the bar, and write all and the learning rate as curves."""
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in list(means.items())[:4]}, refresh=False)
        if self._writer is not None:
            for name, value in means.items():
                self._writer.add_scalar(f"train/{name}", value, step)
            self._writer.add_scalar("train/lr", rate, step)

    def write_scores(self, step: int, scores: dict[str, float], elapsed_s: float) -> None:
        """Show a measurement as a line of its own, and write it as curves."""
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        line = f"step {step} ({elapsed_s / 60:.1f} min): {shown}"
        tqdm.write(line, file=sys.stderr) if self.progress else log.info(line)
        if self._writer is not None:
            for name, value in scores.items():
                self._writer.add_scalar(f"val/{name}", value, step)
            self._writer.flush()

    def close(self) -> None:
        """End the bar, and flush the curves."""
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
