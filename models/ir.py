"""Reads the constants of an OpenVINO IR without OpenVINO: names, shapes and byte ranges in the ``.bin``.

An ONNX initialiser can point at such a byte range (external data), so published IR weights run in any engine
without being copied or converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from models.arrays import F32


@dataclass(frozen=True)
class Constant:
    """A float32 array stored at bytes [offset, offset + size) of the ``.bin``."""

    name: str
    offset: int
    size: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class IntermediateRepresentation:
    """The graph of one IR, as far as finding its weights needs it.

    Attributes:
        bin_path: the weights file beside the ``.xml``.
        constants: float32 constants by layer id.
        names: layer name -> layer id (of the last layer with that name).
        types: layer id -> operation type.
        inputs: layer id -> ids of the layers it reads, in port order.
        readers: layer id -> ids of the layers that read it.
    """

    bin_path: Path
    constants: dict[str, Constant]
    names: dict[str, str]
    types: dict[str, str]
    inputs: dict[str, list[str]]
    readers: dict[str, list[str]]

    def named(self, name: str) -> Constant:
        """The constant called `name`."""
        return self.constants[self.names[name]]

    def reader(self, layer: str, kind: str) -> str:
        """The first layer of type `kind` downstream of `layer`, along first readers."""
        while True:
            layer = self.readers[layer][0]
            if self.types[layer] == kind:
                return layer

    def constant_input(self, layer: str) -> Constant:
        """The float32 constant that `layer` reads."""
        return next(self.constants[i] for i in self.inputs[layer] if i in self.constants)

    def load(self, constant: Constant) -> F32:
        """The values of `constant`, float32 of its shape."""
        values = np.fromfile(self.bin_path, np.float32, constant.size // 4, offset=constant.offset)
        return values.reshape(constant.shape)


def read(xml_path: Path) -> IntermediateRepresentation:
    """Reads the ``.xml`` of an IR whose ``.bin`` lies beside it."""
    root = ElementTree.parse(xml_path).getroot()
    constants: dict[str, Constant] = {}
    names: dict[str, str] = {}
    types: dict[str, str] = {}
    for layer in root.iterfind("layers/layer"):
        layer_id, name, kind = layer.attrib["id"], layer.attrib["name"], layer.attrib["type"]
        types[layer_id] = kind
        names[name] = layer_id
        data = layer.find("data")
        if kind == "Const" and data is not None and data.attrib["element_type"] == "f32":
            shape = tuple(int(n) for n in data.attrib["shape"].split(",") if n.strip())
            constants[layer_id] = Constant(name, int(data.attrib["offset"]), int(data.attrib["size"]), shape)
    inputs: dict[str, list[str]] = {layer_id: [] for layer_id in types}
    readers: dict[str, list[str]] = {layer_id: [] for layer_id in types}
    edges = sorted(root.iterfind("edges/edge"), key=lambda e: int(e.attrib["to-port"]))
    for edge in edges:
        source, target = edge.attrib["from-layer"], edge.attrib["to-layer"]
        inputs[target].append(source)
        readers[source].append(target)
    return IntermediateRepresentation(xml_path.with_suffix(".bin"), constants, names, types, inputs, readers)
