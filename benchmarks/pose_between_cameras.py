# SPDX-License-Identifier: Apache-2.0
"""Whether two cameras that see one head at once agree on how it is turned, beside the turn between the cameras.

    python -m benchmarks.recordings.three_cameras IPCV-3D-Face-Reconstruction recordings/three_cameras
    python -m benchmarks.pose_between_cameras IPCV-3D-Face-Reconstruction recordings/three_cameras --model edge

No recording says how a real head was turned; but the boards of this one say how its cameras are turned against each
other, and so by how much the poses of two pictures of one moment should differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.recordings.three_cameras import calibrate, find_boards
from benchmarks.rgbd_frames import Frame, compare_all, read_frames
from facedepth_edge.errors import InputError
from facedepth_edge.head_pose import angles_from_rotation
from train.command import Outcome, run_command
from train.synth.motion import turn_deg

_FIX = "Convert the recording by benchmarks.recordings.three_cameras."


@dataclass(frozen=True)
class Disagreement:
    """By how much two poses of one head differ from the turn between their cameras.

    Args:
        moment: The picture's name without its camera.
        angle_deg: Of the rotation that is left.
        roll_pitch_yaw_deg: The difference of the poses' turn and the cameras', angle by angle.
    """

    moment: str
    angle_deg: float
    roll_pitch_yaw_deg: tuple[float, float, float]


def moment_and_camera(frame: Frame) -> tuple[str, str]:
    """Return the moment and the camera of a frame named MOMENT_CAMERA.png.

    Raises:
        InputError: It is not named so.
    """
    moment, separator, camera = Path(frame.name).stem.rpartition("_")
    if not separator or not moment:
        raise InputError.of(frame.name, "a name of one part", "MOMENT_CAMERA.png", _FIX)
    return moment, camera.lower()


def disagreements(
    rotations: Mapping[tuple[str, str], np.ndarray], first: str, second: str, turn: np.ndarray
) -> list[Disagreement]:
    """Compare the poses of two cameras, moment by moment.

    Args:
        rotations: (3, 3) of a head in the camera's axes, by moment and camera.
        first: A camera.
        second: Another.
        turn: (3, 3), from the first one's axes to the second one's.
    """
    found = []
    for (moment, camera), rotation in sorted(rotations.items()):
        other = rotations.get((moment, second))
        if camera != first or other is None:
            continue
        between = other @ rotation.T
        apart = np.array(angles_from_rotation(between)) - angles_from_rotation(turn)
        roll, pitch, yaw = (float(angle) for angle in (apart + 180) % 360 - 180)
        found.append(Disagreement(moment, float(turn_deg(between @ turn.T)), (roll, pitch, yaw)))
    return found


def table_of(rows: Sequence[tuple[str, float, list[Disagreement]]]) -> str:
    """Return a Markdown table: cameras, the turn between them in degrees, what their pictures' poses leave of it."""
    lines = ["| cameras | turned by | pairs | apart, mean (median) | yaw | pitch | roll |", "|---|" + "---|" * 6]
    for cameras, turned_deg, found in rows:
        angles = [each.angle_deg for each in found]
        apart = np.array([each.roll_pitch_yaw_deg[::-1] for each in found])  # (n, 3): yaw, pitch, roll
        cells = [cameras, f"{turned_deg:.1f}", str(len(found)), f"{np.mean(angles):.1f} ({np.median(angles):.1f})"]
        cells += [f"{each.mean():+.1f} +- {each.std():.1f}" for each in apart.T]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(["Degrees:", "", *lines])


def main(arguments: list[str] | None = None) -> int:
    """Compare as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    about = "Compare the head poses of two cameras that see one head at once."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pose_between_cameras", description=about)
    parser.add_argument("repository", type=Path, help="the checkout with the boards' pictures")
    parser.add_argument("recording", type=Path, help="the converted recording")
    parser.add_argument("--model", default="edge", help="a bundled model or a model's folder (%(default)s)")
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        frames = read_frames(args.recording)
        rotations = {}
        for comparison in compare_all(frames, args.model):
            pose = comparison.result.head_pose()
            if pose is not None:
                rotations[moment_and_camera(comparison.frame)] = pose.rotation
        rows = []
        for (first, second), pair in calibrate(find_boards(args.repository)).items():
            found = disagreements(rotations, first.lower(), second.lower(), pair.turn)
            if found:
                rows.append((f"{first}, {second}", float(turn_deg(pair.turn)), found))
        if not rows:
            raise InputError.of(str(args.recording), "no moment that two cameras saw", "at least one", _FIX)
        return Outcome(table_of(rows))

    return run_command("python -m benchmarks.pose_between_cameras", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
