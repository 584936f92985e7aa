# SPDX-License-Identifier: Apache-2.0
"""Turns a network into an ONNX graph: batch norm folded, probabilities inside, the batch axis alone dynamic."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from export.comparison import OUTPUT_RANGE
from facedepth_edge.errors import ArtifactError
from train.networks import probabilities

OPSET = 19  # the first with FP16 scales for Q/DQ; TensorRT 10.3 parses it
INPUT = "face"
MAX_ERROR_OF_RANGE = 1e-4


class ArtifactModule(nn.Module):
    """A network as an artifact promises it: a tuple of outputs in the order of `names`, probabilities not logits."""

    def __init__(self, network: nn.Module, input_hw: tuple[int, int]) -> None:
        super().__init__()
        self.network = network.eval()
        with torch.no_grad():
            self.names = tuple(network(torch.zeros(1, 1, *input_hw)))

    def forward(self, face: Tensor) -> tuple[Tensor, ...]:
        """Run the network on (B, 1, H, W) float32 gray in [-1, 1]."""
        return tuple(probabilities(self.network(face)).values())


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporter's progress off stdout, which carries our results, and PyTorch's notes to itself off stderr."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.export uses its own deprecated names
            yield
    finally:
        logger.setLevel(level)


def onnx_from_network(network: nn.Module, input_hw: tuple[int, int]) -> onnx.ModelProto:
    """Export a network.

    Args:
        network: Any of NETWORKS, trained; not changed.
        input_hw: Height and width of the face.

    Returns:
        The checked graph: input `face` (batch, 1, H, W) float32, outputs `depth`, and `mask` and `validity` where the
        network has them. It holds no trace of the machine that made it.
    """
    module = ArtifactModule(network.fuse(), input_hw).eval()  # type: ignore[operator]
    example = torch.linspace(-1, 1, 2 * input_hw[0] * input_hw[1]).reshape(2, 1, *input_hw)
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[INPUT],
            output_names=list(module.names),
            opset_version=OPSET,
            dynamic_shapes={"face": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = without_traces(program.model_proto)
    check_graph(model, input_hw, module.names)
    return model


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph without source positions, docstrings and exporter's notes: equal runs give equal bytes."""
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.doc_string = ""
    del clean.metadata_props[:]
    graph = clean.graph
    graph.doc_string = ""
    graph.name = "facedepth"
    del graph.metadata_props[:]
    for items in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        for item in items:
            item.doc_string = ""
            del item.metadata_props[:]
    return clean


def check_graph(model: onnx.ModelProto, input_hw: tuple[int, int], names: tuple[str, ...]) -> None:
    """Check that a graph is valid and has the artifact's inputs and outputs.

    Raises:
        ArtifactError: It is not valid, or has others.
    """
    fix = "This is a fault of the exporter; report it with the versions of torch and onnx."
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArtifactError.of("ONNX graph", str(error), "a valid graph", fix) from error
    found = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    if found != ([INPUT], list(names)):
        raise ArtifactError.of("ONNX graph", f"inputs and outputs {found}", f"{[INPUT]} and {list(names)}", fix)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if dims[0].dim_param != "batch" or [dim.dim_value for dim in dims[1:]] != [1, *input_hw]:
        raise ArtifactError.of("ONNX graph", f"input shape {dims}", f"(batch, 1, {input_hw[0]}, {input_hw[1]})", fix)
    if model.functions or any(node.domain not in ("", "ai.onnx") for node in model.graph.node):
        raise ArtifactError.of("ONNX graph", "functions or other domains", "plain ONNX operators", fix)


def run_reference(network: nn.Module, faces: np.ndarray) -> dict[str, np.ndarray]:
    """Run the PyTorch reference, unfused.

    Args:
        network: In inference mode.
        faces: (N, 1, H, W) float32 in [-1, 1].

    Returns:
        The outputs by name, float32.
    """
    with torch.no_grad():
        outputs = probabilities(network(torch.from_numpy(faces)))
    return {name: value.numpy() for name, value in outputs.items()}


def open_session(model: onnx.ModelProto | bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a graph in ONNX Runtime's CPU provider.

    Args:
        model: The graph.
        threads: Of one run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, faces: np.ndarray) -> dict[str, np.ndarray]:
    """Run (N, 1, H, W) float32 faces; return the outputs by name."""
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: faces}), strict=True))


def require_equal_outputs(
    reference: dict[str, np.ndarray], outputs: dict[str, np.ndarray], where: str
) -> dict[str, float]:
    """Compare an FP32 file's outputs with the reference's.

    Args:
        reference: By name.
        outputs: By name.
        where: The file's name, for the error.

    Returns:
        Largest error of each output, as a fraction of its range.

    Raises:
        ArtifactError: An error above MAX_ERROR_OF_RANGE, NaN, or another shape.
    """
    errors = {}
    for name, expected in reference.items():
        got = outputs[name]
        error = float(np.abs(got - expected).max()) / OUTPUT_RANGE[name] if got.shape == expected.shape else np.inf
        if not error <= MAX_ERROR_OF_RANGE:  # NaN fails
            rule = f"at most {MAX_ERROR_OF_RANGE:g} of the range away from PyTorch, shape {expected.shape}"
            fix = "Report it with the versions of torch, onnx and onnxruntime."
            raise ArtifactError.of(f"{where}: {name}", f"{error:g}, shape {got.shape}", rule, fix)
        errors[name] = error
    return errors
