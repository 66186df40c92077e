"""Reads the generator of an official network pickle (``.pkl``) of stylegan2-ada-pytorch or of stylegan3.

Such a file is a dict of the networks `G`, `D` and `G_ema`, or one of them alone. A network is pickled as its class's
name, the source text of that class's module, and its state: nested modules, parameters and buffers. The official
reader runs the source text; here it is not looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.checkpoints.generator import MOST_CHANNELS, SIZES, Found, Parts, channel_limits, filter_taps
from models.networks.stylegan2 import FIRST_SIZE, StyleGAN2Config
from models.pickles.pickle_opcodes import Budget, RefusedError
from models.pickles.pickle_program import Name, Record, Value, expect, interpret
from models.pickles.torch_vocabulary import Array, TorchVocabulary
from models.pickles.unpickle import read_torch

_OBJECT = "torch_utils.persistence._reconstruct_persistent_obj"
_STORAGE = "torch.storage._load_from_bytes"
_ENCODE = "_codecs.encode"  # how protocol 2 writes bytes
_DICTS = ("dnnlib.util.EasyDict", "dnnlib.EasyDict")
_PARAMETER = "torch.nn.parameter.Parameter"
_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
# Beside tensors, settings of the training lie in these files; none of them is needed.
_RECORDS = frozenset(
    {
        *_SCALARS,
        *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
        *("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer", "numpy.ndarray", "numpy.dtype"),
        *("builtins.set", "__builtin__.set", "builtins.bytearray", "torch.device", "torch.Size"),
    }
)
_MOST_LAYERS = 64
_LARGE = 1 << 30


def read_official(content: bytes, budget: Budget) -> Parts:
    """What the generator of an official pickle is made of.

    Raises:
        RefusedError: it holds what no such file has, or a generator that is not an unconditional StyleGAN2.
        *DAMAGE: it is damaged.
    """
    value, _ = interpret(content, _NetworkVocabulary(budget), budget)
    network = value.get("G_ema") if isinstance(value, dict) else value
    if not isinstance(network, Record):
        held = (
            f"a dict of {', '.join(map(repr, list(value)[:6]))}" if isinstance(value, dict) else type(value).__name__
        )
        raise RefusedError(f"it has no network 'G_ema' but {held[:200]}")
    return _Generator(network).parts()


class _NetworkVocabulary(TorchVocabulary):
    """What official network pickles speak of: objects with their source text, and storages as files in the file."""

    kind = "a StyleGAN2 network"

    def __init__(self, budget: Budget) -> None:
        super().__init__(_no_storage, _RECORDS)
        self.budget = budget
        self.known |= {_OBJECT, _STORAGE, _ENCODE, _PARAMETER, *_DICTS}

    def name(self, dotted: str) -> Name:
        if dotted.startswith("dnnlib.tflib."):
            raise RefusedError("it is a network of TensorFlow's StyleGAN; expected one of PyTorch's")
        return super().name(dotted)

    def call(self, name: str, arguments: tuple[Value, ...]) -> Value:
        if name == _OBJECT:
            (meta,) = arguments
            class_name, state = expect(meta, dict).get("class_name"), meta.get("state")
            return Record(expect(class_name, str), (), expect(state, dict))
        if name == _STORAGE:
            (blob,) = arguments
            return expect(read_torch(expect(blob, memoryview), self.budget), np.ndarray)
        if name == _ENCODE:
            text = expect(arguments[0], str)
            self.budget.copy(len(text))
            return memoryview(text.encode("latin-1"))
        if name == _PARAMETER and arguments:
            return expect(arguments[0], np.ndarray)
        if name in _DICTS and not arguments:
            return {}
        return super().call(name, arguments)


def _no_storage(key: str, dtype: np.dtype[Any], count: int) -> Array:
    raise RefusedError(f"it has a storage ({key!r}) outside itself")


class _Module:
    """One module of a network, by its name within it."""

    def __init__(self, record: Record, path: str) -> None:
        self.record = record
        self.path = path

    def child(self, name: str) -> _Module:
        found = expect(self.record.fields.get("_modules"), dict).get(name)
        if not isinstance(found, Record):
            raise RefusedError(f"its {self.path} has no module {name!r}: no StyleGAN2 generator")
        return _Module(found, f"{self.path}.{name}")

    def allow(self, modules: set[str], parameters: set[str]) -> None:
        """Refuses modules and parameters beyond these: they would be left out of the network."""
        for kind, names in (("_modules", modules), ("_parameters", parameters)):
            held = expect(self.record.fields.get(kind), dict)
            beyond = [str(name)[:40] for name, value in held.items() if value is not None and name not in names]
            if beyond:
                raise RefusedError(f"its {self.path} has {', '.join(beyond[:5])}, which no StyleGAN2 generator has")

    def optional(self, name: str) -> Array | None:
        for kind in ("_parameters", "_buffers"):
            found = expect(self.record.fields.get(kind), dict).get(name)
            if isinstance(found, np.ndarray):
                return found
        return None

    def tensor(self, name: str) -> Array:
        found = self.optional(name)
        if found is None or (not found.ndim and name.endswith(("weight", "bias"))):
            raise RefusedError(f"its {self.path} has no tensor {name!r}")
        return found

    def field(self, name: str) -> Value:
        if name not in self.record.fields:
            raise RefusedError(f"its {self.path} does not say its {name!r}")
        return self.record.fields[name]

    def integer(self, name: str, most: int) -> int:
        value: int = expect(self.field(name), int)
        if not 0 <= value <= most:
            raise RefusedError(f"its {self.path} has {name} {value}; expected at most {most}")
        return value

    def number(self, name: str) -> float:
        return _number(self.field(name), f"{self.path}.{name}")


def _number(value: Value, name: str) -> float:
    """A Python number, or a scalar of NumPy's (float32 or float64)."""
    if isinstance(value, Record) and value.name in _SCALARS and len(value.arguments) == 2:
        dtype, raw = value.arguments
        if isinstance(raw, memoryview) and len(raw) in (4, 8) and isinstance(dtype, Record):
            return float(np.frombuffer(raw, "<f8" if len(raw) == 8 else "<f4")[0])
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RefusedError(f"its {name} is not a number")
    return float(value)


class _Generator:
    """The network `Generator`: its settings are read from the state of its modules, which is what was trained."""

    def __init__(self, record: Record) -> None:
        self.root = _Module(record, "generator")
        self.synthesis = self.root.child("synthesis")
        self.mapping = self.root.child("mapping")

    def parts(self) -> Parts:
        if "layer_names" in self.synthesis.record.fields:
            raise RefusedError("it is a StyleGAN3 generator; expected a StyleGAN2 one")
        if self.root.integer("c_dim", _LARGE) > 0:
            raise RefusedError(f"it is conditional (c_dim {self.root.field('c_dim')}); expected c_dim 0")
        if self.root.integer("img_channels", _LARGE) != 3:
            raise RefusedError(f"it makes {self.root.field('img_channels')} image channels; expected 3 (RGB)")
        size = self.synthesis.integer("img_resolution", _LARGE)
        if size not in SIZES:
            raise RefusedError(f"it makes pictures of {size} px; expected one of {', '.join(map(str, SIZES))}")
        blocks = {2**i: self.synthesis.child(f"b{2**i}") for i in range(2, size.bit_length())}
        for block in blocks.values():
            if block.field("architecture") != "skip":
                raise RefusedError(f"its architecture is {str(block.field('architecture'))[:20]!r}; expected 'skip'")
        synthesis = self._synthesis(blocks)
        mapping = self._mapping()
        last = [block.child("conv1") for block in blocks.values()]
        channel_base, channel_max = channel_limits([len(conv.tensor("weight")) for conv in last])
        config = StyleGAN2Config(
            size=size,
            z_dim=self.root.integer("z_dim", MOST_CHANNELS),
            w_dim=self.root.integer("w_dim", MOST_CHANNELS),
            channel_base=channel_base,
            channel_max=channel_max,
            mapping_layers=len(mapping) // 2,
            mapping_features=len(mapping["layers.0.bias"].array) if len(mapping) > 2 else None,
            noise="const" if last[0].field("use_noise") is True else "none",
            conv_clamp=None if last[0].field("conv_clamp") is None else last[0].number("conv_clamp"),
            resample_filter=filter_taps(blocks[FIRST_SIZE].tensor("resample_filter")),
            float16_sizes=sum(block.field("use_fp16") is True for block in blocks.values()),
        )
        for pixels, block in blocks.items():
            self._expect_as(config, block.child("conv1"))
            if pixels > FIRST_SIZE:
                self._expect_as(config, block.child("conv0"))
                if filter_taps(block.child("conv0").tensor("resample_filter")) != config.resample_filter:
                    raise RefusedError(f"its {block.path} has another resampling filter than the first block")
        mean_w = self.mapping.optional("w_avg")
        return Parts(config, synthesis, mapping, None if mean_w is None else Found(mean_w))

    def _synthesis(self, blocks: dict[int, _Module]) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for i, (pixels, block) in enumerate(blocks.items()):
            first = pixels == FIRST_SIZE
            block.allow({"conv1", "torgb", *(() if first else ("conv0",))}, {"const"} if first else set())
            if first:
                found["const"] = Found(block.tensor("const"))
            else:
                found |= self._convolution(block.child("conv0"), f"blocks.{i}.conv0")
            found |= self._convolution(block.child("conv1"), f"blocks.{i}.conv1")
            found |= self._picture(block.child("torgb"), f"blocks.{i}.to_rgb")
        return found

    def _convolution(self, module: _Module, ours: str) -> dict[str, Found]:
        module.allow({"affine"}, {"weight", "bias", "noise_strength"})
        if module.field("activation") != "lrelu":
            raise RefusedError(f"its {module.path} has another activation than 'lrelu'")
        found = {f"{ours}.conv.weight": Found(module.tensor("weight")), f"{ours}.bias": Found(module.tensor("bias"))}
        if module.field("use_noise") is True:
            found[f"{ours}.noise_strength"] = Found(module.tensor("noise_strength"))
            found[f"{ours}.noise_picture"] = Found(module.tensor("noise_const"))
        return found | self._dense(module.child("affine"), f"{ours}.conv.affine")

    def _picture(self, module: _Module, ours: str) -> dict[str, Found]:
        module.allow({"affine"}, {"weight", "bias"})
        weight = Found(module.tensor("weight"), module.number("weight_gain"))
        found = {f"{ours}.conv.weight": weight, f"{ours}.bias": Found(module.tensor("bias"))}
        return found | self._dense(module.child("affine"), f"{ours}.conv.affine")

    def _mapping(self) -> dict[str, Found]:
        count = self.mapping.integer("num_layers", _MOST_LAYERS)
        if not count:
            raise RefusedError("its mapping network has no layers")
        names = [f"fc{i}" for i in range(count)]
        self.mapping.allow(set(names), set())
        found: dict[str, Found] = {}
        for i, name in enumerate(names):
            if self.mapping.child(name).field("activation") != "lrelu":
                raise RefusedError(f"its mapping.{name} has another activation than 'lrelu'")
            found |= self._dense(self.mapping.child(name), f"layers.{i}")
        return found

    def _dense(self, module: _Module, ours: str) -> dict[str, Found]:
        module.allow(set(), {"weight", "bias"})
        return {
            f"{ours}.weight": Found(module.tensor("weight"), module.number("weight_gain")),
            f"{ours}.bias": Found(module.tensor("bias"), module.number("bias_gain")),
        }

    def _expect_as(self, config: StyleGAN2Config, conv: _Module) -> None:
        """That a convolution is as that one was from which the settings are."""
        clamp = None if conv.field("conv_clamp") is None else conv.number("conv_clamp")
        noise = "const" if conv.field("use_noise") is True else "none"
        if clamp != config.conv_clamp or noise != config.noise:
            raise RefusedError(f"its {conv.path} has another clamp or noise than the other layers")
