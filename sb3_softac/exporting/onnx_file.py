"""An ONNX file of a policy, which is checked before it is written."""

import contextlib
import importlib
import io
import json
import logging
import pathlib
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import stable_baselines3
import torch as th
from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac.exporting.check import BATCHES, largest_difference
from sb3_softac.exporting.deployed import DeployedPolicy, ExportError
from sb3_softac.exporting.inputs import Input, space_as_json
from sb3_softac.exporting.layers import cause, layer_is_named, named
from sb3_softac.saving import files
from sb3_softac.settings.parsing import whole_number
from sb3_softac.version import __version__

#: PyTorch's exporter writes this one itself, and converts it to newer ones; every runtime since 2023 reads it
OPSET = 18
NEWEST_OPSET = 23
#: largest difference from ``predict``, as a part of the range of an action: single precision is far below
TOLERANCE = 1e-4
SUFFIX = ".onnx"
#: in the messages of PyTorch's exporter: name of the operation that has no counterpart, without its number
FAILED_NODE = re.compile(r"translating node %([a-z0-9_]+?)(_\d+)? ")
#: the layers around an operation, in what torch.export notes at it
LAYERS = "nn_module_stack"


class ExportedPolicy(NamedTuple):
    """An ONNX file that was written, and how it was checked; printed, it is a short report.

    :param path: of the file
    :param inputs: of the graph
    :param output: of the graph: the action
    :param opset: version of ONNX's operators
    :param n_bytes: size of the file
    :param difference: largest difference from ``predict``: for Box as a part of the range of an action, otherwise the
        1 if an action is another one, and 0 if not
    :param tolerance: beyond which no file is written
    """

    path: pathlib.Path
    inputs: tuple[Input, ...]
    output: Input
    opset: int
    n_bytes: int
    difference: float
    tolerance: float

    def __str__(self) -> str:
        rows = ", ".join(map(str, BATCHES))
        return "\n".join(
            [
                f"Exported: {self.path} ({self.n_bytes:,} bytes, opset {self.opset})",
                *(f"  input   {each}" for each in self.inputs),
                f"  output  {self.output}",
                f"  largest difference from predict: {self.difference:.1e} of {self.tolerance:.0e} allowed, in batches "
                f"of {rows}",
            ]
        )


def export(
    deployed: DeployedPolicy,
    path: Any,
    normalize: VecNormalize | None,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    facts: Mapping[str, Any] | None = None,
) -> ExportedPolicy:
    """Write a policy to an ONNX file, if it acts as ``predict`` does.

    :param deployed: the policy with all that stands around it
    :param path: of the file; ``.onnx`` is added where there is no suffix
    :param normalize: ``VecNormalize`` of the environment, to compare with; None for none
    :param opset: version of ONNX's operators
    :param tolerance: largest difference from ``predict``
    :param facts: further entries of the metadata
    :return: the file, its inputs and its output, and the difference that was found
    :raises ValueError: a wrong argument
    :raises ExportError: a layer cannot be exported, or the file would act otherwise; no file is written
    :raises ImportError: the extra ``export`` is not installed
    """
    path = _checked_path(path)
    _check_numbers(opset, tolerance)
    onnx, runtime, _ = (_imported(name) for name in ("onnx", "onnxruntime", "onnxscript"))
    model = _translated(deployed, opset)
    with _runtime_is_named():
        session = _opened(runtime, model)
        difference = largest_difference(deployed, normalize, lambda inputs: session.run([deployed.output], inputs)[0])
    if not difference <= tolerance:
        raise ExportError(
            f"The exported policy differs from `predict` by {difference:.2g}, more than `tolerance={tolerance}`: no "
            "file was written. A layer of your own that is random, keeps a state or depends on the size of the batch "
            "cannot be exported; if observations are very large numbers, normalise them or pass a larger `tolerance`"
        )
    result = _output_of(session, deployed)
    onnx.helper.set_model_props(model, _metadata(deployed, result, opset, difference, tolerance, facts or {}))
    content = model.SerializeToString()
    with files.replaced(path) as file:
        file.write(content)
    return ExportedPolicy(path, deployed.inputs, result, opset, len(content), difference, tolerance)


def _checked_path(path: Any) -> pathlib.Path:
    if pathlib.Path(path).is_dir():
        example = pathlib.Path(path) / f"agent{SUFFIX}"
        raise ValueError(f"`path={str(path)!r}` is a folder; name the file, such as {str(example)!r}")
    path = files.with_suffix(path, SUFFIX)
    if path.suffix != SUFFIX:
        raise ValueError(f"`path={str(path)!r}` must end with {SUFFIX!r}, or have no suffix")
    return path


def _check_numbers(opset: int, tolerance: float) -> None:
    opset = whole_number("opset", opset, minimum=0)
    if not OPSET <= opset <= NEWEST_OPSET:
        raise ValueError(
            f"`opset={opset}` must be {OPSET} to {NEWEST_OPSET}. Older ones: `onnx.version_converter` converts the file"
        )
    if not tolerance > 0.0:
        raise ValueError(f"`tolerance={tolerance}` must be above 0, such as {TOLERANCE}")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"An export to ONNX needs {name} ({error}): pip install 'sb3_softac[export]'") from error


def _opened(runtime: Any, model: Any) -> Any:
    """A session of onnxruntime. On one thread, as networks are small; and without its warnings."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@contextmanager
def _runtime_is_named() -> Iterator[None]:
    """Context in which an error of onnxruntime, which has no public class, is one of ours."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise ExportError(
            f"onnxruntime does not run what was exported ({cause(error)}): no file was written. Try another "
            "`opset`, or a newer onnxruntime"
        ) from error


# Translation


def _translated(deployed: DeployedPolicy, opset: int) -> Any:
    """The policy as a model of ONNX."""
    arguments = deployed.example()
    shapes = deployed.batch_axes(th.export.Dim("batch"))
    with _quiet():
        with layer_is_named(deployed), th.no_grad():
            program = th.export.export(deployed, arguments, dynamic_shapes=shapes)
        try:
            translated = th.onnx.export(
                program,
                arguments,
                dynamic_shapes=shapes,
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except th.onnx.OnnxExporterError as error:
            raise ExportError(_untranslated(deployed, program, error)) from error
    assert translated is not None  # with dynamo=True
    _name(translated.model.graph, [each.name for each in deployed.inputs], deployed.output)
    return _without_notes(translated.model_proto)


def _name(graph: Any, inputs: list[str], output: str) -> None:
    """Name inputs and output. PyTorch would do so as well, but lets them clash with values in between.

    :param graph: of onnx_ir, in which names are attributes of the values
    :param inputs: names, in their order
    :param output: name
    """
    taken = {*inputs, output}
    for value in (value for node in graph for value in node.outputs):
        if value.name in taken:
            value.name = f"{value.name}_value"
    for value, name in zip((*graph.inputs, *graph.outputs), (*inputs, output), strict=True):
        value.name = name


def _without_notes(model: Any) -> Any:
    """The model without what PyTorch notes at each node: lines and paths of the code that it came from."""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Context without the warnings and the log of PyTorch's exporter, which speak of its own code.

    Where it fails, it prints the whole graph; the error says it in a sentence.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _untranslated(deployed: DeployedPolicy, program: th.export.ExportedProgram, error: BaseException) -> str:
    """Message of an error, which names the layer whose operation ONNX does not have."""
    found = FAILED_NODE.search(str(error))
    # PyTorch has taken the operation to pieces: a piece has a part of its name.
    nodes = [node for node in program.graph.nodes if found and found[1] in node.name and node.meta.get(LAYERS)]
    path = list(nodes[0].meta[LAYERS].values())[-1][0] if nodes else ""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{named(deployed, path)} cannot be exported to ONNX: {cause(error)}. Write it with other operations"


# Metadata


def _output_of(session: Any, deployed: DeployedPolicy) -> Input:
    dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    (output,) = session.get_outputs()
    return Input(deployed.output, tuple(output.shape[1:]), np.dtype(dtype[output.type]))


def _metadata(
    deployed: DeployedPolicy, result: Input, opset: int, difference: float, tolerance: float, facts: Mapping[str, Any]
) -> dict[str, str]:
    """Entries of ``metadata_props``, each of them JSON."""
    versions = {"sb3_softac": __version__, "stable_baselines3": stable_baselines3.__version__, "torch": th.__version__}
    policy = deployed.policy
    entries: dict[str, Any] = {
        "inputs": [each.described() for each in deployed.inputs],
        "output": result.described(),
        "observation_space": space_as_json(policy.observation_space),
        "action_space": space_as_json(deployed.action_space),
        "deterministic": deployed.deterministic,
        "normalized": sorted(deployed.normalized),
        "opset": opset,
        "versions": versions,
        "check": {"difference": difference, "tolerance": tolerance, "batches": list(BATCHES)},
        **facts,
    }
    return {name: json.dumps(value) for name, value in entries.items()}
