# SPDX-License-Identifier: Apache-2.0
"""The settings of the data sets' readers; whatever is read with other settings is packed apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from facedepth_edge.errors import ConfigError
from train.units import HALF_RANGE_MM

ANGLES = ("roll", "pitch", "yaw")


@dataclass(frozen=True)
class ReaderConfig:
    """How Pandora and Biwi are read and cropped; our own crops (dataset.json) need none of it.

    Args:
        box_px: Side of eq. 6's box in the cropped frames.
        margin: Side of the crops that raw frames give, over the box's side, so that augmentation has room. The group's
            processed crops have no margin: theirs is always 1.
        distance: "mean", as in the paper's section 3.2, or "median" of the measured pixels in a 40 mm window around the
            head centre: D.
        head_range_mm: Real sets have no labels. A pixel counts as head (label 1) where its depth is measured and D plus
            the first number <= depth <= D plus the second. Ours; neck, shoulders and hands in that range count too.
        angle_order: The labels of Pandora's data.json (for processed crops: the columns, which are called roll, pitch
            and yaw in this order) under which the true roll, pitch and yaw are found. Public loaders warn that the
            labels are permuted in places; the default takes them as they are named.
        joint_pixels: Whose pixels `joints` of Pandora's data.json are: "depth" or "colour". The default is what the
            renderer writes; not checked against real files.
        pandora_focal_xy_px: fx and fy of eq. 6 for raw Pandora; None: the depth camera's own (365 as in the paper).
        pandora_calibration: JSON file for sequences that have no calibration.json beside data.json or in the set's
            folder; None: the nominal Kinect One (train.data.pandora_calibration).
        pandora_val_subjects: Validation subjects.
        pandora_test_subjects: Test subjects.
        pandora_exclude: Leave out the test frames that the group excluded as badly cropped
            (train.data.pandora_tables.EXCLUDED_TEST_FRAMES), raw and cropped alike. False for rendered raw frames,
            whose numbers mean nothing of the kind.
        biwi_focal_xy_px: fx and fy of eq. 6 for Biwi; None: the RGB camera's own (about 517.7), so that the box covers
            320 mm at D as in every other set. The paper used [370, 370], which covers 229 mm.
        biwi_val_sequences: Validation sequences. Ours: three people who were recorded once.
        biwi_test_sequences: Test sequences, those of the group.
    """

    box_px: int = 96
    margin: float = 1.5
    distance: str = "mean"
    head_range_mm: tuple[float, float] = (-HALF_RANGE_MM, HALF_RANGE_MM)
    angle_order: tuple[str, str, str] = ANGLES
    joint_pixels: str = "depth"
    pandora_focal_xy_px: tuple[float, float] | None = None
    pandora_calibration: str | None = None
    pandora_val_subjects: tuple[int, ...] = (9, 18, 21, 22)
    pandora_test_subjects: tuple[int, ...] = (10, 14, 16, 20)
    pandora_exclude: bool = True
    biwi_focal_xy_px: tuple[float, float] | None = None
    biwi_val_sequences: tuple[int, ...] = (8, 12, 17)
    biwi_test_sequences: tuple[int, ...] = (1, 10, 11)

    def __post_init__(self) -> None:
        _require(16 <= self.box_px <= 1024, "box_px", self.box_px, "16 to 1024")
        crop_px = self.box_px * self.margin
        fits = (
            1 <= self.margin <= 4 and abs(crop_px - round(crop_px)) < 1e-6 and (round(crop_px) - self.box_px) % 2 == 0
        )
        rule = "1 to 4, with box_px * margin whole and of box_px's parity"
        _require(fits, "margin", self.margin, rule)
        _require(self.distance in ("mean", "median"), "distance", self.distance, "mean or median")
        low, high = self.head_range_mm
        _require(low < high, "head_range_mm", self.head_range_mm, "two numbers, the first below the second")
        rule = "roll, pitch and yaw, each once"
        _require(sorted(self.angle_order) == sorted(ANGLES), "angle_order", self.angle_order, rule)
        _require(self.joint_pixels in ("depth", "colour"), "joint_pixels", self.joint_pixels, "depth or colour")
        for name in ("pandora_focal_xy_px", "biwi_focal_xy_px"):
            focal = getattr(self, name)
            _require(focal is None or min(focal) > 0, name, focal, "two numbers above 0, or null")
        for first, second in (
            ("pandora_val_subjects", "pandora_test_subjects"),
            ("biwi_val_sequences", "biwi_test_sequences"),
        ):
            shared = set(getattr(self, first)) & set(getattr(self, second))
            _require(not shared, first, getattr(self, first), f"none of {second} {getattr(self, second)}")

    @property
    def crop_px(self) -> int:
        """Side of the crops of raw frames, in pixels."""
        return round(self.box_px * self.margin)

    def settings_for(self, dataset: str) -> dict[str, object]:
        """Return the settings that the crops of "pandora" or "biwi" follow from, for the cache's key.

        The calibration's path is left out: its content counts.
        """
        others = {"pandora": "biwi_", "biwi": "pandora_"}[dataset]
        settings = asdict(self)
        return {
            name: settings[name] for name in sorted(settings) if not name.startswith(others) and "calib" not in name
        }


def _require(ok: bool, name: str, got: object, rule: str) -> None:
    if not ok:
        raise ConfigError.of(f"data.reader.{name}", got, rule, "Correct it in the config or by --set.")
