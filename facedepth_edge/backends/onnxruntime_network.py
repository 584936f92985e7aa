# SPDX-License-Identifier: Apache-2.0
"""What both ONNX Runtime backends share: the import, which file runs on which provider, loading a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facedepth_edge.artifacts import Artifact
from facedepth_edge.backends.base import missing_library
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError
from facedepth_edge.spec import ModelSpec

NAME = "onnxruntime"
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FILES = {"fp32": "fp32.onnx", "fp16": "fp16.onnx", "int8": "int8.onnx"}
AUTO_PRECISIONS = {CPU: ("int8", "fp32", "fp16"), CUDA: ("fp16", "fp32")}  # CUDA has no INT8 convolutions
MAX_BATCH = 8
NOT_STARTED = "did not start; ONNX Runtime's own lines on stderr say why"

SPIN_US = 0
"""How long a pool thread waits actively for its next piece of work: not at all.

Measured with `edge` INT8 on two x86-64 cores, predict() every 20 ms, p50 and CPU seconds a second: no spinning 4.2 to
4.6 ms and 0.18; 1 ms of it 5.3 to 6.3 ms and 0.30; ONNX Runtime's own default 3.4 to 3.7 ms, but 1.14: it keeps a core
busy between the frames of a camera. Back to back all three lie between 2.5 and 3.2 ms.
"""

# parts of what a release says about a graph that is too new for it
_TOO_NEW = ("Unsupported model IR version", "is under development")
_EXPORT = "Export the model again with python -m export."


def import_onnxruntime() -> Any:
    """Import ONNX Runtime.

    Returns:
        The module onnxruntime.

    Raises:
        BackendUnavailable: it is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_library(NAME, error) from error
    return onnxruntime


def choose_precision(artifact: Artifact, precision: str, provider: str) -> str | None:
    """Return the precision to run on a provider, or None where the model has no file for it."""
    if precision != "auto":
        runs = precision in AUTO_PRECISIONS[provider] and artifact.has(FILES[precision])
        return precision if runs else None
    return next((name for name in AUTO_PRECISIONS[provider] if artifact.has(FILES[name])), None)


def no_file_error(artifact: Artifact, precision: str) -> ConfigError:
    """Build the error for a precision that the model has no file for."""
    files = ", ".join(name for name in FILES.values() if artifact.has(name)) or "none of these"
    rule = f"a precision whose file the model has ({files})"
    return ConfigError.of("precision", precision, rule, 'Use precision="auto".')


def failures(ort: Any) -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises where it cannot do something; those of plain C++ come as RuntimeError."""
    state = ort.capi.onnxruntime_pybind11_state
    own = (state.Fail, state.NotImplemented, state.RuntimeException, state.EPFail, state.InvalidArgument)
    return (*own, RuntimeError, ValueError)


def open_network(
    ort: Any, content: bytes, where: str, provider: str, threads: int, options: Mapping[str, str] | None = None
) -> tuple[Any, str]:
    """Load a network into ONNX Runtime.

    Args:
        ort: the module onnxruntime.
        content: the ONNX file.
        where: its name, for the error's text.
        provider: CPU, or CUDA with the CPU for what it cannot do.
        threads: of the CPU.
        options: the provider's, as texts.

    Returns:
        (an InferenceSession, ""), or where the CUDA provider does not start, (None, the reason).

    Raises:
        ArtifactError: the file is no valid graph.
        BackendUnavailable: the CPU provider cannot run it.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors only
    settings.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    state = ort.capi.onnxruntime_pybind11_state
    wrong_file = (state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.NoModel)
    providers = [CPU] if provider == CPU else [(provider, dict(options or {})), CPU]
    try:
        # enable_fallback=0: otherwise ONNX Runtime prints on stdout and goes on with another provider by itself
        network = ort.InferenceSession(content, settings, providers=providers, enable_fallback=0)
    except wrong_file as error:
        if any(text in str(error) for text in _TOO_NEW):
            raise _needs_newer(ort, where, error) from error
        raise ArtifactError.of(where, str(error), "a valid ONNX graph", _EXPORT) from error
    except failures(ort) as error:
        if provider != CPU:
            return None, f"did not start: {error}"
        raise _needs_newer(ort, where, error) from error
    return (network, "") if network.get_providers()[0] == provider else (None, NOT_STARTED)


def _needs_newer(ort: Any, where: str, error: Exception) -> BackendUnavailable:
    rule = f"an ONNX Runtime that can load {where}, not {ort.__version__}"
    package = "onnxruntime-gpu" if CUDA in ort.get_available_providers() else "onnxruntime"  # one would hide the other
    return BackendUnavailable.of(f"backend {NAME!r}", str(error), rule, f"Try: pip install --upgrade {package}.")


def checked_outputs(network: Any, spec: ModelSpec, where: str) -> dict[str, tuple[int, ...]]:
    """Compare a network's names and shapes with the spec's.

    Args:
        network: what open_network() returned.
        spec: the model's.
        where: the file's name, for the error's text.

    Returns:
        Each output's shape without the batch.

    Raises:
        ArtifactError: they differ.
    """
    inputs = [(value.name, tuple(value.shape[1:]), value.type) for value in network.get_inputs()]
    expected = [(spec.input.name, (spec.input.channels, *spec.input_hw), "tensor(float)")]
    if inputs != expected:
        raise ArtifactError.of(where, f"the inputs {inputs}", f"{expected} as in spec.json", _EXPORT)
    found = {value.name: (tuple(value.shape[1:]), value.type) for value in network.get_outputs()}
    for name in spec.outputs.names:
        shapes = spec.output_shapes(name)
        if name not in found or found[name] not in [(shape, "tensor(float)") for shape in shapes]:
            rule = f"the output {name} of float32 and shape (batch, ...) with {shapes[0]} as in spec.json"
            raise ArtifactError.of(where, f"the outputs {found}", rule, _EXPORT)
    return {name: found[name][0] for name in spec.outputs.names}
