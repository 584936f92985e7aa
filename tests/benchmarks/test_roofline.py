# SPDX-License-Identifier: Apache-2.0
"""Counts of a graph against sums done by hand, and the floors that follow."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from benchmarks.graph_cost import GraphCost, LayerCost, cost_of_graph
from benchmarks.roofline import DEVICES, floor_ms, main
from export.onnx_from_torch import onnx_from_network
from facedepth_edge.errors import ArtifactError
from train.networks import PaperGenerator


def test_the_papers_generator_has_the_known_counts(tmp_path: Path) -> None:
    with torch.no_grad():
        onnx.save(onnx_from_network(PaperGenerator().eval(), (96, 96)), tmp_path / "paper.onnx")
    cost = cost_of_graph(tmp_path / "paper.onnx")
    # k5 s2: the sizes halve, so each pair of widths costs 25 a b (96 / 2^level)^2.
    widths = [1, 128, 256, 512, 1024]
    down = sum(25 * a * b * (48 >> i) ** 2 for i, (a, b) in enumerate(itertools.pairwise(widths)))
    ups = [1024, 512, 256, 128, 64]
    up = sum(25 * a * b * (6 << i) ** 2 for i, (a, b) in enumerate(itertools.pairwise(ups)))
    assert cost.macs == down + up + 64 * 96 * 96
    assert (
        cost.weights
        == 25 * (sum(a * b for a, b in itertools.pairwise(widths)) + sum(a * b for a, b in itertools.pairwise(ups)))
        + 64
    )
    assert len(cost.layers) == 9


def test_bytes_and_floors() -> None:
    cost = GraphCost((LayerCost("a", "Conv", 2_000_000, 1000, 50, 70), LayerCost("b", "Conv", 0, 24, 70, 10)))
    assert cost.moved_bytes("int8") == 1024
    assert cost.moved_bytes("fp16") == 2048
    assert cost.moved_bytes("fp32", cached_activations=False) == 4 * (1024 + 200)
    device = DEVICES["Jetson AGX Orin 64 GB"]
    least, limit = floor_ms(cost, device, "fp16")
    assert limit == "compute"
    assert least == pytest.approx(2e6 / 21.2e12 * 1e3)
    heavy = GraphCost((LayerCost("a", "Conv", 10, 204_800_000, 1, 1),))
    assert floor_ms(heavy, device, "int8") == (pytest.approx(1.0), "memory")


def test_floors_of_the_papers_weights_are_the_known_ones() -> None:
    """34.6 million weights read once: 0.34 and 0.17 ms on AGX Orin, 1.02 and 0.51 ms on Orin Nano."""
    cost = GraphCost((LayerCost("all", "Conv", 0, 34_600_000, 1, 1),))
    for name, fp16, int8 in (("Jetson AGX Orin 64 GB", 0.34, 0.17), ("Jetson Orin Nano 8 GB", 1.02, 0.51)):
        assert floor_ms(cost, DEVICES[name], "fp16")[0] == pytest.approx(fp16, abs=0.005)
        assert floor_ms(cost, DEVICES[name], "int8")[0] == pytest.approx(int8, abs=0.005)


def test_quantised_graphs_count_like_the_plain_one() -> None:
    models = Path(__file__).resolve().parents[2] / "facedepth_edge" / "models" / "edge"
    plain, quantised = cost_of_graph(models / "fp32.onnx"), cost_of_graph(models / "int8.onnx")
    assert plain.macs == quantised.macs > 90_000_000


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "floors.json"
    assert main(["--model", "edge", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "never: a floor only" in text
    figures = json.loads(out.read_text())
    assert figures["floors_ms"]["H200 SXM"]["int8"] < figures["floors_ms"]["Jetson Orin Nano 8 GB"]["int8"]
    assert main(["--model", str(tmp_path / "none")]) == 1


def test_files_that_do_not_say_their_shapes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match=r"bad\.onnx: got"):
        cost_of_graph(path)
    graph = helper.make_graph(
        [helper.make_node("Foreign", ["x"], ["y"], domain="elsewhere"), helper.make_node("Conv", ["y", "w"], ["z"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3, 3], [0.0] * 9)],
    )
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("elsewhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    with pytest.raises(ArtifactError, match=r"bad\.onnx: got"):
        cost_of_graph(path)
