"""Directions: shipped ones, files of the wild in every layout, and files that must be refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.arrays import F32
from models.directions import Direction, load_direction, shipped_directions
from models.errors import UserError
from models.pickles.unpickle import load_tensors

SHAPES = [(512,), (1, 512), (18, 512), (1, 18, 512)]
REFUSAL_SECONDS = 2.0  # of CPU time: "at once", also for a program as long as is read at all

MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
FLOAT32_TENSOR = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"


def random_vector(shape: tuple[int, ...] = (18, 512)) -> F32:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def short(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def integer(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def tensor_program(count: int = 9216, size: tuple[int, ...] = (18, 512), stride: tuple[int, ...] = (512, 1)) -> bytes:
    """The pickle torch.save writes for one float32 tensor."""
    sizes = b"(" + b"".join(map(integer, size)) + b"t"
    strides = b"(" + b"".join(map(integer, stride)) + b"t"
    identity = short("0") + short("cpu") + integer(count) + b"tQ"
    return FLOAT32_TENSOR + identity + integer(0) + sizes + strides + b"\x89ccollections\nOrderedDict\n)RtR."


def zip_file(program: bytes, storage: bytes = b"", compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file as torch.save lays it out since 1.6."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", storage)
        archive.writestr("archive/version", b"3\n")
    return stream.getvalue()


def legacy_file(program: bytes, storage: bytes = b"", count: int = 9216) -> bytes:
    """A file as torch.save laid it out before 1.6."""
    machine = {"protocol_version": LEGACY_VERSION, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, LEGACY_VERSION, machine))
    return head + program + pickle.dumps(["0"], 2) + struct.pack("<q", count) + storage


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def save_npy(path: Path, array: F32) -> Path:
    np.save(path, array)
    return path


def test_all_shipped_directions_load() -> None:
    for name in shipped_directions():
        direction = load_direction(name)
        assert direction.name == name
        assert direction.vector.shape == (1, 18, 512)
        assert direction.vector.dtype == np.float32
        assert direction.range[0] < 0 < direction.range[1]


def test_the_first_nine_are_the_ones_with_keys() -> None:
    names = shipped_directions()
    assert names[:2] == ("smile", "mouth-open")
    assert list(names[9:]) == sorted(names[9:])


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_npy_of_every_layout_loads(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    vector = random_vector(shape).astype(dtype)
    direction = load_direction(str(save_npy(tmp_path / "smile.npy", vector)))
    assert direction.name == "smile"
    assert direction.vector.dtype == np.float32
    np.testing.assert_array_equal(
        direction.vector, np.broadcast_to(vector.astype(np.float32), (1, 18, 512)), strict=True
    )


def test_npy_in_fortran_order_is_not_transposed(tmp_path: Path) -> None:
    vector = np.asfortranarray(random_vector())
    np.testing.assert_array_equal(load_direction(str(save_npy(tmp_path / "a.npy", vector))).vector[0], vector)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_gives_its_only_or_its_named_array(tmp_path: Path, save: Callable[..., None]) -> None:
    path, vector = tmp_path / "age.npz", random_vector()
    save(path, anything=vector)
    np.testing.assert_array_equal(load_direction(str(path)).vector[0], vector)
    save(path, intercept=np.zeros(1), boundary=vector)
    np.testing.assert_array_equal(load_direction(str(path)).vector[0], vector)
    save(path, first=vector, second=vector)
    with pytest.raises(UserError, match="2 arrays"):
        load_direction(str(path))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (np.array([-1.5, 2], np.float32), (-1.5, 2.0)),
        (np.array([1, 2], np.float32), (-3.0, 3.0)),
        (np.array([np.nan, 2], np.float32), (-3.0, 3.0)),
        (np.array(["a", "b"]), (-3.0, 3.0)),
    ],
)
def test_what_an_export_says_of_its_direction_is_read(
    tmp_path: Path, limits: NDArray[Any], expected: tuple[float, float]
) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, vector=random_vector(), description=np.array("mine,\nfrom 9 pictures"), range=limits)
    direction = load_direction(str(path))
    assert direction.range == expected
    assert direction.description == "mine, from 9 pictures"


@pytest.mark.parametrize("layout", [zip_file, legacy_file])
def test_hand_made_torch_files_load(tmp_path: Path, layout: Callable[[bytes, bytes], bytes]) -> None:
    """The reader follows the format, not one version of PyTorch; needs no torch."""
    vector = random_vector()
    path = write(tmp_path / "pose.pt", layout(tensor_program(), vector.tobytes()))
    np.testing.assert_array_equal(load_direction(str(path)).vector[0], vector)


@pytest.mark.train
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_torch_files_load_as_torch_saved_them(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, zipped: bool
) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(random_vector(shape)).to(getattr(torch, dtype))
    path = tmp_path / "smile.pt"
    torch.save(tensor, path, _use_new_zipfile_serialization=zipped)
    expected = np.broadcast_to(tensor.float().numpy(), (1, 18, 512))
    np.testing.assert_array_equal(load_direction(str(path)).vector, expected)


@pytest.mark.train
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_nested_torch_files_keep_their_structure(tmp_path: Path, zipped: bool, protocol: int) -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    layer = torch.nn.BatchNorm1d(3)
    saved = {
        "view": base.t()[1:, ::2],
        "shared": [base, base],
        "expanded": base[:1].expand(5, 6),
        "parameter": torch.nn.Parameter(base),
        "state": layer.state_dict(),
        "plain": (1, -(2**40), 0.5, None, True, "text", []),
        7: torch.zeros(0, 3),
    }
    path = tmp_path / "checkpoint.pt"
    torch.save(saved, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    loaded: Any = load_tensors(path)
    assert list(loaded) == list(saved)
    np.testing.assert_array_equal(loaded["view"], saved["view"].numpy())
    np.testing.assert_array_equal(loaded["shared"][1], base.numpy())
    np.testing.assert_array_equal(loaded["expanded"], saved["expanded"].numpy())
    np.testing.assert_array_equal(loaded["parameter"], base.numpy())
    assert loaded["plain"] == saved["plain"]
    assert loaded[7].shape == (0, 3)
    state = layer.state_dict()
    assert loaded["state"].keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(loaded["state"][name], value.numpy(), strict=True)


class RunsOnLoading:
    """Pickles to a program that writes a file when Python's own unpickler reads it."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def hostile_programs(proof: str) -> dict[str, bytes]:
    touch = f"open({proof!r}, 'w').close()"
    nested = RunsOnLoading(getattr, RunsOnLoading(__import__, "os"), "system")
    return {
        "os.system": pickle.dumps(RunsOnLoading(os.system, f"touch '{proof}'"), 2),
        "eval": pickle.dumps(RunsOnLoading(eval, touch), 2),
        "exec, protocol 4": pickle.dumps(RunsOnLoading(exec, touch), 4),
        "within a dict": pickle.dumps({"direction": [RunsOnLoading(eval, touch)]}, 2),
        "getattr of import": pickle.dumps(nested, 4),
        "old INST opcode": b"\x80\x02(S'" + f"touch {proof}".encode() + b"'\nios\nsystem\n.",
        "program given to a known name": b"\x80\x02ccollections\nOrderedDict\n(]]cbuiltins\neval\naatR.",
        "attribute of a known name": b"\x80\x02ctorch\nFloatStorage\n}X\x01\x00\x00\x00ac" + b"builtins\neval\nsb.",
    }


@pytest.mark.parametrize("layout", [zip_file, legacy_file, lambda program: program])
@pytest.mark.parametrize("attack", hostile_programs("x"))
def test_programs_are_refused_and_not_run(tmp_path: Path, attack: str, layout: Callable[[bytes], bytes]) -> None:
    proof = tmp_path / "proof"
    program = hostile_programs(str(proof))[attack]
    path = write(tmp_path / "smile.pt", layout(program))
    with pytest.raises(UserError, match=r"was not loaded: .*(asks to load|uses INST|uses STRING)") as caught:
        load_direction(str(path))
    assert "\n" not in str(caught.value)
    assert not proof.exists()


def test_the_hostile_programs_are_real(tmp_path: Path) -> None:
    """Python's own unpickler runs them; else the test above would prove nothing."""
    proof = tmp_path / "proof"
    pickle.loads(hostile_programs(str(proof))["eval"])  # noqa: S301 - the point of this test
    assert proof.exists()


def bombs() -> dict[str, bytes]:
    ten_gigabytes = 10 * 2**30 // 4
    huge = tensor_program(ten_gigabytes, (ten_gigabytes,), (1,))
    repeated = tensor_program(1, (10**6, 10**6), (0, 0))
    endless = b"\x80\x02" + b"]" * (6 << 20) + b"."
    doubling = b"\x80\x02)" + b"".join(b"q\x00h\x00\x86" for _ in range(200)) + b"."
    big_text = b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a."
    memo = b"\x80\x02]r\xff\xff\xff\x7f."
    return {
        "10 GB tensor, zip": zip_file(huge),
        "10 GB tensor, legacy": legacy_file(huge, count=ten_gigabytes),
        "10 GB by repetition": zip_file(repeated, b"\0" * 4),
        "long program": zip_file(endless),
        "long program, legacy": legacy_file(endless),
        "doubling tuples": zip_file(doubling),
        "doubling tuples as a version": pickle.dumps(MAGIC, 2) + doubling,
        "text of 2^60 bytes": big_text,
        "memo of 2^31 places": zip_file(memo),
        "compressed zeros": zip_file(tensor_program(2**24, (2**24,), (1,)), b"\0" * 2**26, zipfile.ZIP_DEFLATED),
        "negative stride": zip_file(tensor_program(stride=(-512, 1)), b"\0" * 36864),
        "outside its storage": zip_file(tensor_program(stride=(513, 1)), b"\0" * 36864),
    }


@pytest.mark.parametrize("bomb", bombs())
def test_bombs_are_refused_at_once(tmp_path: Path, bomb: str) -> None:
    path = write(tmp_path / "smile.pt", bombs()[bomb])
    started = time.thread_time()
    with pytest.raises(UserError):
        load_direction(str(path))
    assert time.thread_time() - started < REFUSAL_SECONDS


def npy_with_header(descr: str, shape: str) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (npy_with_header("<f4", "(2684354560,)"), "cut off"),
        (npy_with_header("<f4", "(99999999999, 99999999999)"), "cut off"),
        (npy_with_header("|O", "(512,)") + pickle.dumps([1]), "pickled Python objects"),
        (npy_with_header("<f4", "(" * 60), "damaged"),
        (npy_with_header("<f4", "(" + "1" * 60000), "damaged"),
        (npy_with_header("zz", "(512,)"), "unknown type"),
        (b"\x93NUMPY", "damaged"),
        (b"text", "damaged"),
        (b"", "empty"),
    ],
)
def test_hostile_npy_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_direction(str(write(tmp_path / "smile.npy", content)))


def test_npz_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "smile.npz"
    np.savez_compressed(path, vector=np.zeros(2**26, np.uint8))
    with pytest.raises(UserError, match="unpacks to more than"):
        load_direction(str(path))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((14, 512), np.float32), r"shape \[14, 512\]; expected one of \[512\]"),
        (np.zeros((512, 18), np.float32), r"shape \[512, 18\]"),
        (np.zeros((0,), np.float32), r"shape \[0\]"),
        (np.ones(512, np.int64), "int64"),
        (np.full(512, np.nan), "not finite"),
        (np.full(512, np.inf), "not finite"),
        (np.full(512, 1e300), "up to 1e\\+300"),
        (np.zeros(512), "all zeros"),
    ],
)
def test_arrays_that_are_no_direction_are_refused(tmp_path: Path, array: F32, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_direction(str(save_npy(tmp_path / "odd.npy", array)))


def test_unknown_names_and_missing_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown direction 'smyle'"):
        load_direction("smyle")
    for name in shipped_directions():
        with pytest.raises(UserError, match=f"did you mean '{name}'"):
            load_direction(name + "x")
    with pytest.raises(UserError, match="does not exist"):
        load_direction(str(tmp_path / "gone.pt"))
    with pytest.raises(UserError, match="at most"):
        load_direction(str(write(tmp_path / "large.pt", b"PK\x03\x04" + bytes(17 << 20))))


def npz_file(vector: F32) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, vector=vector)
    return stream.getvalue()


WELL_FORMED = {
    "a.pt": zip_file(tensor_program(512, (512,), (1,)), random_vector((512,)).tobytes()),
    "c.npz": npz_file(random_vector((512,))),
    "b.pt": legacy_file(tensor_program(512, (512,), (1,)), random_vector((512,)).tobytes(), 512),
}


@pytest.mark.parametrize("name", WELL_FORMED)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_load_or_are_refused_but_never_crash(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(WELL_FORMED[name])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    # Most of the file is tensor elements, where damage is not to be noticed: aim at the rest.
    places = st.integers(0, 400) | st.integers(0, len(WELL_FORMED[name]) - 1)
    for place in data.draw(st.lists(places, max_size=4)):
        if place < len(content):
            content[place] = data.draw(st.integers(0, 255))
    try:
        direction = load_direction(str(write(tmp_path / name, bytes(content))))
    except UserError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert isinstance(direction, Direction)
