# SPDX-License-Identifier: Apache-2.0
"""Sets up Lightning Fabric for a run: where it computes, in what precision, and over how many processes."""

from __future__ import annotations

from typing import Any

import lightning_fabric
import torch
from lightning_fabric.plugins import MixedPrecision

from train.config import LoopConfig


class WholeInputs(MixedPrecision):
    """Mixed precision that leaves a batch alone: only what autocast chooses is computed in half precision.

    Fabric's own rounds every float tensor of the inputs, and so the depth that is learnt, by up to 0.3 mm; and it
    refuses frozen dataclasses.
    """

    def convert_input(self, data: Any) -> Any:
        """Return the inputs as they are."""
        return data


def choose_precision(asked: str, device: torch.device) -> str:
    """Return the precision to train in: what was asked, or for auto bf16-mixed where the hardware computes it.

    Args:
        asked: auto, 32-true or bf16-mixed.
        device: Where the training runs.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        flags = torch.cpu.get_capabilities()
        fast = bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16"))
    return "bf16-mixed" if fast else "32-true"


def open_fabric(loop: LoopConfig, several_phases: bool = False) -> lightning_fabric.Fabric:
    """Set up and launch the engine; with several devices each process goes on from here, by Fabric's own launcher.

    Args:
        loop: Accelerator, devices, strategy, precision.
        several_phases: A step's phases use different parts of the task, so each leaves weights without a gradient;
            the processes must then be told to look for them.

    Returns:
        The launched engine.
    """
    devices: Any = int(loop.devices) if loop.devices.isdigit() else loop.devices
    probe = lightning_fabric.Fabric(accelerator=loop.accelerator, devices=devices, strategy=loop.strategy)
    strategy = loop.strategy
    if several_phases and probe.world_size > 1 and strategy in ("auto", "ddp"):
        strategy = "ddp_find_unused_parameters_true"
    mixed = choose_precision(loop.precision, probe.device) == "bf16-mixed"
    fabric = lightning_fabric.Fabric(
        accelerator=loop.accelerator,
        devices=devices,
        strategy=strategy,
        plugins=[WholeInputs("bf16-mixed", probe.device.type)] if mixed else None,
    )
    fabric.launch()
    return fabric
