# SPDX-License-Identifier: Apache-2.0
"""Run by test_two_processes.py, in one process or in two: saves the gradients of one step with batch norm frozen."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from train.build import build_task
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, mapping_from_yaml
from train.data.batches import make_batch
from train.data.packed import open_packed_set
from train.fabric import open_fabric


def main(config_file: str, root: str, out: str) -> None:
    config = dataclass_from_mapping(TrainConfig, mapping_from_yaml(Path(config_file), []))
    torch.set_num_threads(1)
    data = open_packed_set(root, config.data.cache_dir, 1, progress=False)
    indices = data.indices("train", faces_only=True)
    torch.manual_seed(config.loop.seed)
    task = build_task(config)
    fabric = open_fabric(config.loop, several_phases=len(task.phases) > 1)
    task.eval()  # frozen batch norm: its statistics would be those of each process's own samples
    raw = task
    optimizers = [torch.optim.SGD(task.phase_parameters(phase), lr=0.0) for phase in task.phases]
    task = fabric.setup(task, *optimizers)[0]
    gradients: dict[str, torch.Tensor] = {}
    chosen = raw.draw(data, indices, 1, 0, config.loop.batch_size, fabric.global_rank, fabric.world_size)
    batch = make_batch(data, chosen, fabric.device)
    for phase in raw.phases:
        task.zero_grad(set_to_none=True)
        fabric.backward(task(phase, batch)["loss"])
        for name, weight in raw.named_parameters():
            if weight.grad is not None:
                gradients[f"{phase}:{name}"] = weight.grad.clone()
    if fabric.is_global_zero:
        torch.save({"world": fabric.world_size, "frames": chosen.tolist(), "gradients": gradients}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
