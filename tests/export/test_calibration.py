# SPDX-License-Identifier: Apache-2.0
"""Calibration: faces in batches, one batch in memory at a time, ranges that rare outliers do not widen."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import PercentileCalibrater

from export.calibration import (
    CALIBRATION_BATCH,
    CHOSEN,
    PERCENTILES,
    CalibrationFaces,
    nearest_to_float,
    quantised_with,
)
from facedepth_edge.errors import ArtifactError, InputError

COUNT = 3 * CALIBRATION_BATCH


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """y = -x, as a convolution."""
    node = helper.make_node("Conv", ["face", "weight"], ["y"], "negate")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, 96, 96]) for name in ("face", "y")]
    weight = numpy_helper.from_array(np.full((1, 1, 1, 1), -1, np.float32), "weight")
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def make_faces() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (COUNT, 1, 96, 96)).astype(np.float32)


def steps_of(model: onnx.ModelProto) -> list[float]:
    """Return the steps of the quantised activations: the input's and the output's."""
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    return [float(constants[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"]


def test_faces_come_in_batches_that_belong_together() -> None:
    first = np.arange(40, dtype=np.float32).reshape(40, 1, 1, 1)
    reader = CalibrationFaces({"first": first, "second": -first})
    batches = list(reader)
    assert len(reader) == len(batches) == 2
    np.testing.assert_array_equal(np.concatenate([batch["first"] for batch in batches]), first)
    assert all((batch["second"] == -batch["first"]).all() for batch in batches)
    assert reader.get_next() is None
    reader.set_range(1, 2)
    np.testing.assert_array_equal([batch["first"] for batch in reader], [batches[1]["first"]])


@pytest.mark.parametrize("place", [0, COUNT - 1])
@pytest.mark.parametrize("outlier", [50.0, -50.0])
def test_a_rare_outlier_does_not_widen_the_range(place: int, outlier: float, model: onnx.ModelProto) -> None:
    faces = make_faces()
    faces[place, 0, 5, 5] = outlier
    quantised = quantised_with(model, {"face": faces}, [], QuantType.QUInt8, 99.999)
    steps = steps_of(quantised)
    assert len(steps) == 2
    assert all(2 / 255 * 0.9 < step < 2 / 255 * 1.1 for step in steps)  # the outlier's range would give 51 / 255


def test_without_outliers_the_range_is_that_of_the_values(model: onnx.ModelProto) -> None:
    quantised = quantised_with(model, {"face": make_faces()}, [], QuantType.QUInt8, 99.999)
    assert steps_of(quantised) == pytest.approx([2 / 255] * 2, rel=2e-3)


def with_weight(model: onnx.ModelProto, weight: float) -> onnx.ModelProto:
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((1, 1, 1, 1), weight, np.float32), "weight"))
    return graph


def test_of_several_percentiles_the_nearest_to_the_float_graph_is_taken(model: onnx.ModelProto) -> None:
    tried = []

    weight = float(numpy_helper.to_array(model.graph.initializer[0]).item())

    def scaled(percentile: float) -> onnx.ModelProto:  # 1 % off for each step from the middle one
        tried.append(percentile)
        return with_weight(model, weight * (1 + 0.01 * abs(PERCENTILES.index(percentile) - 1)))

    nearest = nearest_to_float(model, {"face": make_faces()}, scaled)
    assert tried == list(PERCENTILES)
    assert {note.key: note.value for note in nearest.metadata_props} == {CHOSEN: f"{PERCENTILES[1]:g}"}
    assert numpy_helper.to_array(nearest.graph.initializer[0]) == numpy_helper.to_array(model.graph.initializer[0])
    broken = nearest_to_float(model, {"face": make_faces()}, lambda percentile: with_weight(
        model, np.nan if percentile == PERCENTILES[0] else percentile))  # fmt: skip
    assert broken.metadata_props[0].value == f"{PERCENTILES[1]:g}"  # one that answers NaN is the farthest
    equal = nearest_to_float(model, {"face": make_faces()}, lambda percentile: onnx.ModelProto.FromString(
        model.SerializeToString()))  # fmt: skip
    assert equal.metadata_props[0].value == f"{PERCENTILES[0]:g}"  # of equals the first


def test_one_batch_is_in_memory_at_a_time_and_nothing_is_printed(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sizes = []
    collect = PercentileCalibrater.collect_data

    def counted(self: PercentileCalibrater, reader: CalibrationFaces) -> None:
        batches = list(reader)
        sizes.append(sum(len(batch["face"]) for batch in batches))
        collect(self, iter_reader(batches))

    def iter_reader(batches: list[dict[str, np.ndarray]]) -> CalibrationFaces:
        return CalibrationFaces({"face": np.concatenate([batch["face"] for batch in batches])})

    monkeypatch.setattr(PercentileCalibrater, "collect_data", counted)
    quantised_with(model, {"face": make_faces()}, [], QuantType.QUInt8, 99.999)
    assert sizes == [CALIBRATION_BATCH] * 3
    assert capfd.readouterr().out == ""


def test_too_few_faces_are_told(model: onnx.ModelProto) -> None:
    with pytest.raises(InputError, match="calibration: got 15 faces, expected at least 16 faces"):
        quantised_with(model, {"face": make_faces()[:15]}, [], QuantType.QUInt8, 99.999)


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_activations_without_a_histogram_are_told(model: onnx.ModelProto) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    weight = numpy_helper.from_array(np.full((1, 1, 1, 1), np.nan, np.float32), "weight")
    broken.graph.initializer[0].CopyFrom(weight)
    with pytest.raises(ArtifactError, match=r"calibration: got .*nan.*expected finite activations"):
        quantised_with(broken, {"face": make_faces()}, [], QuantType.QUInt8, 99.999)
    growing = make_faces()
    growing[:CALIBRATION_BATCH] *= 1e-12
    with pytest.raises(ArtifactError, match="calibration: got Unable to allocate"):
        quantised_with(model, {"face": growing}, [], QuantType.QUInt8, 99.999)
