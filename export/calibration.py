# SPDX-License-Identifier: Apache-2.0
"""Runs ONNX Runtime's static quantiser over calibration faces: what both INT8 files share.

Activations are cut off at a percentile: their rare largest values would make every step of the 8 bits coarser. How near
a graph comes to the float one depends on the few values beside the cut, so several percentiles are tried.
"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.onnx_from_torch import open_session, without_traces
from facedepth_edge.errors import ArtifactError, InputError

MIN_CALIBRATION_FACES = 16
CALIBRATION_BATCH = 16
PERCENTILES = (99.99, 99.997, 99.999)  # so many of a tensor's values lie in its range; half of the others are below it
CHOSEN = "calibration_percentile"  # a graph's note


class CalibrationFaces(CalibrationDataReader):
    """Hand calibration faces to the quantiser in batches, all of them or those of one range."""

    def __init__(self, faces: Mapping[str, np.ndarray]) -> None:
        parts = max(1, len(next(iter(faces.values()))) // CALIBRATION_BATCH)
        columns = [[(name, part) for part in np.array_split(array, parts)] for name, array in faces.items()]
        self._all = [dict(row) for row in zip(*columns, strict=True)]
        self.set_range(0, len(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Hand out the batches from `start_index` up to before `end_index` next."""
        self._batches = iter(self._all[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch by input name, None after the last."""
        return next(self._batches, None)


def require_calibration(faces: Mapping[str, np.ndarray]) -> None:
    """Check that there are enough faces to calibrate with.

    Raises:
        InputError: Fewer than MIN_CALIBRATION_FACES.
    """
    count = min(len(array) for array in faces.values())
    if count < MIN_CALIBRATION_FACES:
        rule = f"at least {MIN_CALIBRATION_FACES} faces"
        raise InputError.of("calibration", f"{count} faces", rule, "Give a larger data set.")


def quantised_with(
    model: onnx.ModelProto,
    faces: Mapping[str, np.ndarray],
    excluded: list[str],
    activations: QuantType,
    percentile: float,
    extra_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> onnx.ModelProto:
    """Quantise a graph: Q/DQ around its nodes, INT8 weights per channel.

    Args:
        model: An FP32 graph with named nodes; not changed.
        faces: By the graph's input names, each (N, 1, H, W) float32.
        excluded: Names of the nodes that stay FP32.
        activations: Type of the activations.
        percentile: Share of a tensor's values that its range holds, in per cent.
        extra_options: Of ONNX Runtime's `quantize_static`, beside those of the calibration.
        settings: Further arguments of `quantize_static`.

    Returns:
        A new graph.

    Raises:
        InputError: Fewer than MIN_CALIBRATION_FACES faces.
        ArtifactError: The activations have no histogram: they are not finite, or grow without measure.
    """
    require_calibration(faces)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        _save_prepared(model, source)
        # ONNX Runtime's histograms print their progress.
        with contextlib.redirect_stdout(io.StringIO()), _told_of_histograms():
            quantize_static(
                source,
                target,
                CalibrationFaces(faces),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=activations,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={
                    "CalibPercentile": percentile,
                    "CalibStridedMinMax": 1,  # batch by batch, or all activations of all faces are in memory at once
                    **(extra_options or {}),
                },
                **settings,
            )
        return without_traces(onnx.load(target))


def nearest_to_float(
    model: onnx.ModelProto,
    faces: Mapping[str, np.ndarray],
    make: Callable[[float], onnx.ModelProto],
    percentiles: Sequence[float] = PERCENTILES,
) -> onnx.ModelProto:
    """Quantise with each of some percentiles and return the graph whose answers are nearest to the float graph's.

    Args:
        model: The FP32 graph.
        faces: Calibration faces by its input names; the answers to them are compared.
        make: Percentile to quantised graph, FP32-typed, with the same inputs and outputs.
        percentiles: Which to try; a single one is taken without comparing.

    Returns:
        The nearest by the mean absolute difference, summed over the outputs, with its percentile noted as CHOSEN; of
        equals the first.
    """
    made = [(percentile, make(percentile)) for percentile in percentiles]
    percentile, nearest = made[0]
    if len(made) > 1:
        reference = _answers(model, faces)
        percentile, nearest = min(made, key=lambda one: _distance(_answers(one[1], faces), reference))
    nearest.metadata_props.add(key=CHOSEN, value=f"{percentile:g}")
    return nearest


def _distance(answers: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> float:
    total = sum(float(np.abs(answers[name] - answer).mean()) for name, answer in reference.items())
    return total if math.isfinite(total) else math.inf


def _answers(model: onnx.ModelProto, faces: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = open_session(model)
    names = [value.name for value in session.get_outputs()]
    parts = [session.run(names, batch) for batch in CalibrationFaces(faces)]
    return {name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}


@contextlib.contextmanager
def _told_of_histograms() -> Iterator[None]:
    """Name what ONNX Runtime's histograms cannot hold: NaN, or bins as fine as a first batch of nearly zeros."""
    try:
        yield
    except (ValueError, MemoryError) as error:
        rule = "finite activations of one order of magnitude in all batches"
        fix = "Look at the network's weights and the faces."
        raise ArtifactError.of("calibration", str(error), rule, fix) from error


def _save_prepared(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph as the quantiser wants it: with shapes, and marked as prepared, or it would ask for it."""
    shaped = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shaped.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    onnx.save(shaped, path)
