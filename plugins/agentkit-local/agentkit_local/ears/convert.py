"""The bigger Moonshine, made fit for live calls.

The package ``moonshine-cpp`` carries Moonshine base with its weights as 8-bit integers that are
turned into numbers again for every token, which is far too slow. This turns them once, and writes
an ONNX model that runs in real time:

    python -m agentkit_local.ears.convert [--to FOLDER]
    agentkit flux --ears FOLDER

Needs the extra ``agentkit-local[base]``. An .ort file is onnxruntime's own flat buffer of a model.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agentkit.errors import ConfigError
from agentkit_local.ears.recognizer import package_folder

DEFAULT = Path.home() / ".cache" / "agentkit" / "moonshine-base-en"


def convert(to: Path = DEFAULT, source: Path | None = None) -> Path:
    """Write a model's files into a folder; one that is there already is kept.

    Args:
        to: the folder.
        source: where the .ort files are; None: the bigger model of the package.

    Raises:
        ConfigError: the packages are not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError("ears", "pip install 'agentkit-local[base]'") from error
    source = (
        source or package_folder("moonshine_cpp", "moonshine-cpp==0.1.4") / "models" / "base-en"
    )
    to.mkdir(parents=True, exist_ok=True)
    for name in ("encoder_model", "decoder_model_merged"):
        target = to / f"{name}.onnx"
        if not target.is_file():
            model = Reader((source / f"{name}.ort").read_bytes()).model()
            folded(model.graph)
            half = target.with_suffix(".part")
            onnx.save(model, str(half))
            half.rename(target)
    shutil.copyfile(source / "tokenizer.bin", to / "tokenizer.bin")
    return to


class Reader:
    """Reads an .ort file (onnxruntime's schema ort.fbs) as an ONNX model."""

    def __init__(self, data: bytes) -> None:
        from onnxruntime.tools.ort_format_model.ort_flatbuffers_py import fbs  # noqa: F401
        from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import (
            InferenceSession,
            TensorTypeAndShape,
        )

        self._shape = TensorTypeAndShape.TensorTypeAndShape
        self._model = InferenceSession.InferenceSession.GetRootAsInferenceSession(data, 0).Model()

    def model(self) -> Any:
        """The whole model."""
        from onnx import helper

        sets = [
            helper.make_opsetid(_text(item.Domain()), item.Version())
            for item in (
                self._model.OpsetImport(at) for at in range(self._model.OpsetImportLength())
            )
        ]
        graph = self._graph(self._model.Graph(), "moonshine")
        return helper.make_model(
            graph, opset_imports=sets, ir_version=min(self._model.IrVersion(), 10)
        )

    def _graph(self, source: Any, name: str) -> Any:
        import onnx

        graph = onnx.GraphProto(name=name)
        values = {
            _text(arg.Name()): arg
            for arg in (source.NodeArgs(at) for at in range(source.NodeArgsLength()))
        }
        for at in range(source.InitializersLength()):
            graph.initializer.append(self._tensor(source.Initializers(at)))
        constants = {item.name for item in graph.initializer}
        for at in range(source.InputsLength()):
            if (given := _text(source.Inputs(at))) not in constants:
                graph.input.append(self._value(values[given]))
        for at in range(source.OutputsLength()):
            graph.output.append(self._value(values[_text(source.Outputs(at))]))
        nodes = [source.Nodes(at) for at in range(source.NodesLength())]
        graph.node.extend(_in_order([self._node(node) for node in nodes if node is not None]))
        return graph

    def _node(self, node: Any) -> Any:
        import onnx

        return onnx.NodeProto(
            name=_text(node.Name()),
            op_type=_text(node.OpType()),
            domain=_text(node.Domain()),
            input=[_text(node.Inputs(at)) for at in range(node.InputsLength())],
            output=[_text(node.Outputs(at)) for at in range(node.OutputsLength())],
            attribute=[
                self._attribute(node.Attributes(at)) for at in range(node.AttributesLength())
            ],
        )

    def _attribute(self, given: Any) -> Any:
        import onnx

        made = onnx.AttributeProto(name=_text(given.Name()), type=given.Type())
        kinds = onnx.AttributeProto
        match given.Type():
            case kinds.FLOAT:
                made.f = given.F()
            case kinds.INT:
                made.i = given.I()
            case kinds.STRING:
                made.s = given.S() or b""
            case kinds.TENSOR:
                made.t.CopyFrom(self._tensor(given.T()))
            case kinds.GRAPH:
                made.g.CopyFrom(self._graph(given.G(), made.name))
            case kinds.FLOATS:
                made.floats.extend(given.Floats(at) for at in range(given.FloatsLength()))
            case kinds.INTS:
                made.ints.extend(given.Ints(at) for at in range(given.IntsLength()))
            case kinds.STRINGS:
                made.strings.extend(given.Strings(at) for at in range(given.StringsLength()))
            case other:
                raise ConfigError("ears", f"the model has an attribute of an unknown kind {other}")
        return made

    def _tensor(self, given: Any) -> Any:
        import onnx

        made = onnx.TensorProto(name=_text(given.Name()), data_type=given.DataType())
        made.dims.extend(given.Dims(at) for at in range(given.DimsLength()))
        if given.RawDataLength():
            made.raw_data = given.RawDataAsNumpy().tobytes()
        return made

    def _value(self, given: Any) -> Any:
        from onnx import helper

        kind = given.Type()
        if kind is None or kind.ValueType() != 1:
            return helper.make_empty_tensor_value_info(_text(given.Name()))
        tensor = self._shape()
        tensor.Init(kind.Value().Bytes, kind.Value().Pos)
        shape = None
        if tensor.Shape() is not None:
            sizes = (tensor.Shape().Dim(at).Value() for at in range(tensor.Shape().DimLength()))
            shape = [_text(size.DimParam()) or size.DimValue() or None for size in sizes]
        return helper.make_tensor_value_info(_text(given.Name()), tensor.ElemType(), shape)


def folded(graph: Any) -> None:
    """Replace integer weights that are cast and scaled by the numbers that come of it."""
    from onnx import numpy_helper

    constants = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    done = set()
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                folded(attribute.g)
        if node.op_type != "Mul":
            continue
        pair = [_constant(name, constants, makers) for name in node.input]
        if pair[0] is None or pair[1] is None:
            continue
        product = (pair[0] * pair[1]).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(product, node.output[0]))
        done.add(node.output[0])
    kept = [node for node in graph.node if not (node.op_type == "Mul" and node.output[0] in done)]
    del graph.node[:]
    graph.node.extend(_without_unused(kept, graph))
    used = {name for node in _all_nodes(graph) for name in node.input}
    used |= {output.name for output in graph.output}
    still = [item for item in graph.initializer if item.name in used]
    del graph.initializer[:]
    graph.initializer.extend(still)


def _constant(name: str, constants: dict[str, Any], makers: dict[str, Any]) -> Any:
    """A constant's value, or that of a constant which is only cast; None for anything else."""
    from onnx import numpy_helper

    if name in constants:
        return numpy_helper.to_array(constants[name])
    maker = makers.get(name)
    if maker is not None and maker.op_type == "Cast":
        inner = constants.get(maker.input[0])
        if inner is not None:
            return numpy_helper.to_array(inner).astype(np.float32)
    return None


def _without_unused(nodes: list[Any], graph: Any) -> list[Any]:
    """Leave out casts whose result nobody needs any more."""
    used = {name for node in nodes for name in _needs(node)}
    used |= {output.name for output in graph.output}
    return [n for n in nodes if n.op_type != "Cast" or any(name in used for name in n.output)]


def _all_nodes(graph: Any) -> list[Any]:
    found = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += _all_nodes(attribute.g)
    return found


def _needs(node: Any) -> list[str]:
    """What a node needs, the nodes of its branches included."""
    names = list(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            names += [output.name for output in attribute.g.output]
            names += [name for inner in attribute.g.node for name in _needs(inner)]
    return names


def _in_order(nodes: list[Any]) -> list[Any]:
    """Each node after those whose results it needs, as ONNX wants it."""
    maker = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    order: list[Any] = []
    seen: set[int] = set()
    for first in range(len(nodes)):
        stack = [(first, False)]
        while stack:
            at, ready = stack.pop()
            if ready:
                order.append(nodes[at])
            elif at not in seen:
                seen.add(at)
                stack.append((at, True))
                stack += [(maker[name], False) for name in _needs(nodes[at]) if name in maker]
    return order


def _text(data: bytes | None) -> str:
    return data.decode() if data is not None else ""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m agentkit_local.ears.convert")
    parser.add_argument("--to", type=Path, default=DEFAULT, help=f"default: {DEFAULT}")
    try:
        folder = convert(parser.parse_args(argv).to)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(f"agentkit flux --ears {folder}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
