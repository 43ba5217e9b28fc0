"""External data: read from the model's folder, and from nowhere else."""

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from front_models import make_model, numbers, run_graph
from onnx import TensorProto, external_data_helper, helper

from opml.compiler import compile_graph
from opml.errors import ModelError, UnsupportedError

X, W = numbers(2, 3), numbers(2, 3, seed=1)


def model(**fields: str) -> onnx.ModelProto:
    """x + w, where w lies elsewhere."""
    proto = make_model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": X}, ["y"])
    tensor = TensorProto(name="w", dims=W.shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=value)
    proto.graph.initializer.append(tensor)
    return proto


def save(folder: Path, proto: onnx.ModelProto, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def check(path: Path, expected: np.ndarray = W) -> None:
    np.testing.assert_array_equal(run_graph(compile_graph(path), {"x": X})["y"], X + expected)


def refused(path: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        compile_graph(path)


def test_offset_length_and_neither(tmp_path: Path) -> None:
    data = W.tobytes()
    (tmp_path / "w.bin").write_bytes(data)
    (tmp_path / "more.bin").write_bytes(b"12345" + data + b"rest")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(data)
    check(save(tmp_path, model(location="w.bin")))
    check(save(tmp_path, model(location="more.bin", offset="5", length="24")))
    check(save(tmp_path, model(location="sub/w.bin", offset="0")))
    check(save(tmp_path, model(location="./sub/./w.bin", length="24")))


def test_what_onnx_itself_writes(tmp_path: Path) -> None:
    proto = make_model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": X}, ["y"], {"w": W})
    onnx.save_model(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert external_data_helper.uses_external_data(
        onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer[0]
    )
    check(tmp_path / "m.onnx")


def test_a_constant_node_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    proto = model(location="w.bin")
    tensor = proto.graph.initializer.pop()
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    check(save(tmp_path, proto))


def test_the_checksum_is_of_the_whole_file(tmp_path: Path) -> None:
    data = W.tobytes() + b"more"
    (tmp_path / "w.bin").write_bytes(data)
    digest = hashlib.sha1(data).hexdigest()
    check(save(tmp_path, model(location="w.bin", length="24", checksum=digest)))
    refused(save(tmp_path, model(location="w.bin", length="24", checksum="0" * 40)), "checksum")


def test_bytes_have_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsupportedError, match=r"initialiser 'w' is external data \('w.bin'\)"):
        compile_graph(model(location="w.bin").SerializeToString())


@pytest.mark.parametrize(
    "location",
    ["", "../w.bin", "sub/../../w.bin", "sub/../w.bin", "/etc/passwd", "..", "w\0.bin", "..\\w.bin", "~/../w.bin"],
)
def test_a_place_outside_of_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    refused(save(folder, model(location=location)), "outside of the model's folder")


@pytest.mark.parametrize("location", [".", "sub", "sub/.", "no.bin", "w.bin/x", "~", "x" * 5000])
def test_what_is_no_file(tmp_path: Path, location: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    refused(save(tmp_path, model(location=location)), "initialiser 'w'")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(W.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "up").symlink_to(tmp_path)
    refused(save(folder, model(location="w.bin")), "link")
    refused(save(folder, model(location="up/secret.bin")), "link")


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(save(tmp_path, model(location="pipe")), "no ordinary file")
    if os.geteuid() == 0:
        os.mknod(tmp_path / "zero", 0o20666, os.makedev(1, 5))
        refused(save(tmp_path, model(location="zero", length="24")), "no ordinary file")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"offset": "1"}, "23 bytes"),
        ({"offset": "8", "length": "24"}, "leaves its file"),
        ({"offset": "99"}, "leaves its file"),
        ({"length": "23"}, "23 bytes"),
        ({"length": "25"}, "leaves its file"),
        ({"offset": "-4"}, "offset"),
        ({"offset": "0x4"}, "offset"),
        ({"offset": "9" * 30}, "offset"),
        ({"offset": str((1 << 63) - 1), "length": "24"}, "leaves its file"),
        ({"length": "٣"}, "length"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_lengths_that_lie(tmp_path: Path, fields: dict[str, str], words: str) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    refused(save(tmp_path, model(location="w.bin", **fields)), words)


def test_a_key_given_twice(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    proto = model(location="w.bin")
    proto.graph.initializer[0].external_data.add(key="location", value="w.bin")
    refused(save(tmp_path, proto), "twice")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"")
    refused(save(tmp_path, model(location="w.bin")), "0 bytes")


def test_three_gigabytes_are_mapped(tmp_path: Path) -> None:
    """A file with a hole in it, of which a row is used, read within a quarter of its size."""
    size = 3 << 30
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(size)
        file.seek(size - 24)
        file.write(W.tobytes())
    proto = model(location="w.bin")
    proto.graph.initializer[0].dims[:] = [size // 12, 3]
    proto.graph.node.insert(
        0, helper.make_node("Constant", [], ["last"], value=onnx.numpy_helper.from_array(np.array([-2, -1])))
    )
    proto.graph.node.insert(1, helper.make_node("Gather", ["w", "last"], ["row"], axis=0))
    proto.graph.node[2].input[1] = "row"
    path = save(tmp_path, proto)
    code = f"""
import numpy as np
from opml.compiler import compile_program
from opml.engine import Engine
y = Engine(compile_program({str(path)!r})).run({{"x": np.zeros((2, 3), np.float32)}})["y"]
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(y.tolist(), int(peak) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result, _, peak = done.stdout.strip().rpartition(" ")
    assert result == str(W.tolist())
    assert int(peak) < 768, "MiB"


def test_nothing_is_allocated_for_a_length_that_lies(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    proto = model(location="w.bin")
    proto.graph.initializer[0].dims[:] = [1 << 36]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(save(tmp_path, proto), "24 bytes")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16
