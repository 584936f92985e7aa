# SPDX-License-Identifier: Apache-2.0
"""What spec.json says of where a model comes from: its training, and what its files' bytes depend on besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime
import torch

from export.calibration import CHOSEN
from export.deconvolutions import form_for_cpu_int8, form_for_few_weights, forms_of_deconvolutions
from train.config_reader import plain_from_dataclass
from train.data.packed import PackedSet
from train.restore import TrainedNetwork
from train.start import training_stages


def training_notes(trained: TrainedNetwork) -> dict[str, Any]:
    """Return what spec.json says of the training; `averaged`, where there is one, is `train.average`'s note."""
    averaged = {name: trained.data[name] for name in ("averaged",) if name in trained.data}
    return {
        "commit": trained.commit,
        "data": trained.data["name"],
        "frames": trained.data["train_frames"],
        "subjects": trained.data["train_subjects"],
        "samples": trained.samples,
        "steps": trained.step,
        "task": trained.config.task.name,
        "network": plain_from_dataclass(trained.config.network.options),
        "stages": training_stages(trained),
        **averaged,
    }


def chosen_percentiles(models: Mapping[str, onnx.ModelProto]) -> dict[str, float]:
    """Return the percentile of each INT8 graph, by its name without `.onnx`."""
    notes = {name: {note.key: note.value for note in model.metadata_props} for name, model in models.items()}
    return {name.removesuffix(".onnx"): float(own[CHOSEN]) for name, own in notes.items() if CHOSEN in own}


def export_notes(
    plain: onnx.ModelProto, data: PackedSet, calibration_faces: int, models: Mapping[str, onnx.ModelProto]
) -> dict[str, Any]:
    """Return what the files' bytes depend on besides the weights: versions, calibration, forms by layer."""
    forms = {
        "fp32, fp16, int8-trt": forms_of_deconvolutions(plain, form_for_few_weights),
        "int8": forms_of_deconvolutions(plain, form_for_cpu_int8),
    }
    versions = {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    calibration = {
        "data": data.crops.root.resolve().name,
        "key": data.key,
        "faces": calibration_faces,
        "percentiles": chosen_percentiles(models),
    }
    return {"versions": versions, "calibration": calibration, "deconvolutions": forms}
