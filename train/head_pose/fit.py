# SPDX-License-Identifier: Apache-2.0
"""Trains the weights of facedepth_edge.head_pose: the head's rotation, from the depth that a model gives.

The network learns from the model's own depth and mask, so that it knows the model's errors; from boxes that are moved,
scaled, turned and mirrored, because a detector's are off, and cut by the frame's edge, where no mask is; and from the
true angles of rendered frames.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from facedepth_edge.errors import ArtifactError
from facedepth_edge.head_pose import CELLS, LAYERS, features_from_maps, rotation_along_ray
from facedepth_edge.tensor_file import split_tensor_file
from facedepth_edge.whole_file import whole_file
from train.checkpoint import current_commit
from train.data.batches import make_batch
from train.data.geometry_augment import GeometryAugment, Placement, draw_placement
from train.data.packed import PackedSet
from train.networks import Edge, probabilities
from train.start import Start
from train.synth.motion import rotation_from_dataset_angles
from train.units import HALF_RANGE_MM
from train.validation import chunks_of

WIDTHS = (160, 96)
BATCH = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.02
DROPOUT = 0.1
BOXES = GeometryAugment(scale_large=(0.8, 1.25), rotate_large_deg=25.0, frame_edge=0.35, frame_edge_depth=0.45)
MASK_THRESHOLD = 0.5
MIRROR = np.diag([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class FitSettings:
    """How long to train.

    Args:
        repeats: How often each frame is seen: once in its own box, then in boxes that are drawn.
        epochs: Passes over all of these.
        seed: Of boxes, weights and order.
    """

    repeats: int = 3
    epochs: int = 40
    seed: int = 0


class PoseNetwork(nn.Module):
    """Three dense layers from the cells of facedepth_edge.head_pose to the first two columns of a rotation."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.first = nn.Linear(2 * CELLS * CELLS, WIDTHS[0])
        self.second = nn.Linear(WIDTHS[0], WIDTHS[1])
        self.last = nn.Linear(WIDTHS[1], 6)
        self.last.bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])

    def forward(self, cells: Tensor) -> Tensor:
        """Estimate (B, 3, 3) rotations of (B, 2 CELLS CELLS) cells."""
        x = F.dropout(F.relu(self.first(cells - self.mean)), DROPOUT, self.training)
        x = self.last(F.relu(self.second(x)))  # (B, 6)
        first = F.normalize(x[:, :3], dim=1)
        second = F.normalize(x[:, 3:] - (first * x[:, 3:]).sum(dim=1, keepdim=True) * first, dim=1)
        return torch.stack([first, second, torch.linalg.cross(first, second)], dim=2)


def rotation_in_box(
    roll_pitch_yaw_deg: np.ndarray, ray_xy: tuple[float, float], angle_rad: float = 0.0, flip: bool = False
) -> np.ndarray:
    """Return a head's rotation as its box shows it: seen along the ray, turned and mirrored as the box is.

    Args:
        roll_pitch_yaw_deg: (3,) the head's angles in the camera's axes, as data sets count them.
        ray_xy: x / z and y / z of the ray to the box's centre.
        angle_rad: In-plane rotation of the box, from x towards y.
        flip: Whether the sample is mirrored.

    Returns:
        (3, 3) float64.
    """
    seen = rotation_along_ray(ray_xy).T @ rotation_from_dataset_angles(*map(float, roll_pitch_yaw_deg))
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    turned = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ seen
    return MIRROR @ turned @ MIRROR if flip else turned


def samples_of(
    network: nn.Module, data: PackedSet, indices: np.ndarray, repeats: int, generator: torch.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what the network learns from, batch by batch: cells (B, 2 CELLS CELLS) and rotations (B, 3, 3), float32.

    Args:
        network: The model, in inference mode, with a mask; its depth along the same line as the set's.
        data: The packed set.
        indices: (n,) frames with a face.
        repeats: As FitSettings.
        generator: Draws the boxes.
    """
    boxes = (data.crops.crop_px, data.crops.box_px)
    for repeat in range(repeats):
        for chosen in chunks_of(indices):
            placement: Placement | None = None
            if repeat:
                placement = draw_placement(len(chosen), *boxes, BOXES, generator)
            batch = make_batch(data, chosen, placement=placement)
            with torch.no_grad():
                found = probabilities(network(batch.face))
            depth_mm = found["depth"][:, 0].numpy() * HALF_RANGE_MM
            mask = (found["mask"] > MASK_THRESHOLD).logical_and(batch.seen)[:, 0].numpy()
            cells = [features_from_maps(*maps) for maps in zip(depth_mm, mask, strict=True)]
            angles = data.meta["roll_pitch_yaw_deg"][chosen]
            rays = batch.ray_xy.tolist()
            turns = [0.0] * len(chosen) if placement is None else placement.angle_rad.tolist()
            flips = [False] * len(chosen) if placement is None else (placement.flip > 0).tolist()
            rotations = [
                rotation_in_box(angle, tuple(ray), turn, flip)
                for angle, ray, turn, flip in zip(angles, rays, turns, flips, strict=True)
            ]
            yield np.stack(cells), np.stack(rotations).astype(np.float32)


def fit_weights(start: Start, sets: Mapping[str, PackedSet], out: Path, settings: FitSettings) -> str:
    """Train, and write the weights.

    Args:
        start: The model.
        sets: By name; their training people are learnt from.
        out: The .safetensors file.
        settings: How long.

    Returns:
        What was done, for a person.

    Raises:
        ArtifactError: The model has no mask.
        InputError: A set's boxes are not the runtime's.
    """
    network = start.task.network.eval()
    if not isinstance(network, Edge):
        got = f"a {type(network).__name__}"
        raise ArtifactError.of(str(start.path), got, "a network with a mask, edge", "Give another model.")
    generator = torch.Generator().manual_seed(settings.seed)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    people = frames = 0
    for data in sets.values():
        data.require_runtimes_reach()
        data = data.with_depth_along(start.config.data.depth_along)
        indices = data.indices("train", faces_only=True)
        people += len(np.unique(data.meta["subject"][indices]))
        frames += len(indices)
        parts += tqdm(samples_of(network, data, indices, settings.repeats, generator), desc=data.name, unit="batch")
    cells, rotations = (torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True))
    pose, error = _fitted(cells, rotations, settings)
    about = {
        "model": start.about["sha256"],
        "data": list(sets),
        "people": people,
        "frames": frames,
        "repeats": settings.repeats,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "commit": current_commit(),
    }
    write_weights(out, pose, about)
    return f"{out}: {people} people, {len(cells)} samples; at the end {error:.4f} between the rotations' entries"


def _fitted(cells: Tensor, rotations: Tensor, settings: FitSettings) -> tuple[PoseNetwork, float]:
    """Train on samples; returns the network and the last epoch's mean loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        pose = PoseNetwork(cells.mean(dim=0))
        optimizer = torch.optim.AdamW(pose.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        steps = settings.epochs * -(-len(cells) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        mean = math.nan
        for _ in tqdm(range(settings.epochs), desc="training", unit="epoch"):
            losses = []
            for chosen in torch.randperm(len(cells)).split(BATCH):
                squares = (pose(cells[chosen]) - rotations[chosen]).square().sum(dim=(1, 2))
                loss = torch.sqrt(squares + 1e-4).mean()  # an angle's sine rather than its square: outliers count less
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
            mean = float(np.mean(losses))
    return pose.eval(), mean


def write_weights(out: Path, pose: PoseNetwork, about: Mapping[str, object]) -> None:
    """Write the file that facedepth_edge.head_pose reads, in half precision; it appears whole or not at all.

    Args:
        out: The .safetensors file.
        pose: The network.
        about: Where it comes from; the SHA-256 of the weights' bytes goes with it.
    """
    arrays = {"mean": pose.mean.numpy()}
    for name in LAYERS:
        layer = getattr(pose, name)
        arrays[f"{name}_weight"] = layer.weight.detach().numpy().T
        arrays[f"{name}_bias"] = layer.bias.detach().numpy()
    halves = {name: np.ascontiguousarray(array, np.float16) for name, array in arrays.items()}
    _, data = split_tensor_file(save(halves))
    note = json.dumps({**about, "sha256": hashlib.sha256(data).hexdigest()}, sort_keys=True)
    with whole_file(out) as file:
        file.write(save(halves, {"about": note}))
