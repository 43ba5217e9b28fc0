"""Which model is converted by what, the comparison, and what a user is told. Frameworks are played by their edges."""

import json
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from convert_gguf_files import write_gguf
from onnx import TensorProto, helper, numpy_helper

from opml.cli import main
from opml.convert import errors
from opml.convert.compare import Difference, difference, differences, random_inputs
from opml.convert.dispatch import convert, framework_of
from opml.convert.errors import ConversionError
from opml.convert.python import framework_of as framework_of_value
from opml.convert.wanted import Wanted
from opml.errors import InputError, ModelError, UnsupportedError
from opml.graph import Array

ROOT = Path(__file__).parents[2]


class FakeModel:
    """y = 2x as a framework has it; what is exported computes `factor` times x, and leaves a dimension open."""

    framework = "Fake"

    def __init__(self, factor: float = 2.0, operator: str = "Mul", outputs: int = 1) -> None:
        self.factor, self.operator, self.outputs = factor, operator, outputs
        self.examples: list[Array] = [np.zeros((2, 3), np.float32)]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        return [inputs[0] * np.float32(2)] * self.outputs

    def export(self, target: Path) -> None:
        node = helper.make_node(self.operator, ["x", "two"], ["y"])
        two = numpy_helper.from_array(np.array(self.factor, np.float32), "two")
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph([node], "fake", [x], [y], [two])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), target)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `net.pt` a file of a framework with the given model."""
    monkeypatch.chdir(tmp_path)
    Path("net.pt").write_bytes(b"a model")

    def play(model: FakeModel) -> None:
        module = ModuleType("fake")
        module.load = lambda source, wanted: model  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "opml.convert.torch", module)

    return play


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["convert", *map(str, arguments)])


def test_a_model_is_converted_and_compared(fake: Any) -> None:
    fake(FakeModel())
    warnings: list[str] = []
    done = convert("net.pt", Path("net.onnx"), samples=5, warn=warnings.append)
    assert done.close
    assert done.differences == {"y": Difference(0.0, 0.0)}
    assert (done.framework, done.samples) == ("Fake", 5)
    assert warnings == ["opening net.pt runs the code in it: convert only what you trust"]
    assert done.model.inputs["x"].shape == (2, 3)
    (dims,) = [value.type.tensor_type.shape.dim for value in onnx.load("net.onnx").graph.input]
    assert [dim.dim_value for dim in dims] == [2, 3]


def test_the_command(fake: Any) -> None:
    fake(FakeModel())
    result = run("net.pt")
    assert result.exit_code == 0, result.output
    assert result.stdout == "y: largest difference 0, relative 0\n"
    assert "net.onnx: from Fake, compared on 3 inputs" in result.stderr
    body = json.loads(run("net.pt", "-o", "other.onnx", "--json").stdout)
    assert body["differences"] == {"y": {"relative": 0.0, "absolute": 0.0}}
    assert body["inputs"] == {"x": ["float32", 2, 3]}
    assert Path("other.onnx").is_file()


def test_a_difference_beyond_the_tolerance_fails_and_is_said(fake: Any) -> None:
    fake(FakeModel(factor=2.01))
    result = run("net.pt")
    assert result.exit_code == 3
    assert "error[conversion]: output 'y' differs by 0.005 of its largest element, more than 0.001" in result.stderr
    as_json = json.loads(run("net.pt", "--json").stdout)
    assert as_json["error"]["code"] == "conversion"
    assert as_json["differences"]["y"]["relative"] == pytest.approx(0.005, rel=1e-3)
    assert run("net.pt", "--tolerance", "0.01").exit_code == 0


def test_not_a_number_in_one_of_them_is_no_small_difference(fake: Any) -> None:
    fake(FakeModel(factor=float("nan")))
    result = run("net.pt", "--json", "--tolerance", "1e30")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["differences"]["y"] == {"relative": None, "absolute": None}


def test_what_opml_does_not_have_is_said_by_name_and_the_file_stays(fake: Any) -> None:
    fake(FakeModel(operator="Frobnicate"))
    result = run("net.pt")
    assert result.exit_code == 3
    assert "Frobnicate" in result.stderr
    assert Path("net.onnx").is_file()


@pytest.mark.parametrize(("model", "text"), [(FakeModel(outputs=2), "1 outputs, the original 2")])
def test_another_number_of_outputs_is_refused(fake: Any, model: FakeModel, text: str) -> None:
    fake(model)
    with pytest.raises(ModelError, match=text):
        convert("net.pt", Path("net.onnx"))


def test_another_number_of_inputs_is_refused(fake: Any) -> None:
    model = FakeModel()
    model.examples *= 2
    fake(model)
    with pytest.raises(ConversionError, match="1 inputs, the original takes 2"):
        convert("net.pt", Path("net.onnx"))
    assert not Path("net.onnx").exists()


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("a.pt2", "torch"),
        ("a.pt", "torch"),
        ("a.pth", "torch"),
        ("a.keras", "tensorflow"),
        ("a.tflite", "tensorflow"),
        ("saved", "tensorflow"),
        ("a.py:make", "python"),
        ("package.module:Net", "python"),
    ],
)
def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, module: str) -> None:
    monkeypatch.chdir(tmp_path)
    if source == "saved":
        Path(source).mkdir()
        Path(source, "saved_model.pb").touch()
    elif ":" not in source:
        Path(source).touch()
    assert framework_of(source).module == f"opml.convert.{module}"


@pytest.mark.parametrize("source", ["a.pt", "a.onnx", "nothing", "a:b:c", "a.py:", ":x", "empty", "1a:b"])
def test_what_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(InputError):
        framework_of(source)
    assert run(source).exit_code == 2


@pytest.mark.parametrize("extra", ["torch", "tensorflow", "gguf", "text"])
def test_who_lacks_packages_is_given_the_command(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [f"{package}; extra == '{name}'" for name, packages in extras.items() for package in packages]
    monkeypatch.setattr(errors, "requires", lambda name: listed)
    assert errors.needs("it", extra).hint == "pip install " + " ".join(
        f"'{p}'" for p in project["optional-dependencies"][extra]
    )

    def unknown(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(errors, "requires", unknown)
    assert errors.needs("it", extra).hint == f"pip install '.[{extra}]', in opml's repository"


@pytest.mark.parametrize(("source", "name"), [("net.pt", "PyTorch"), ("net.keras", "TensorFlow")])
def test_a_framework_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(source).touch()
    for package in ("torch", "tensorflow", "keras", "tf2onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, None)
    for module in ("opml.convert.torch", "opml.convert.tensorflow"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    result = run(source)
    assert result.exit_code == 2
    assert f"converting from {name} needs packages that are not installed" in result.stderr
    assert "hint: pip install" in result.stderr


def test_python_code_that_makes_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("code.py").write_text("three = 3\ndef make():\n    return 'text'\n")
    assert "code.py:three is a int, no model" in run("code.py:three").stderr
    assert "code.py:make is a str, no model" in run("code.py:make").stderr
    assert "code.py has no 'none'" in run("code.py:none").stderr
    assert "there is no module 'nomodule'" in run("nomodule:none").stderr
    assert "missing.py: no such file" in run("missing.py:make").stderr
    assert not Path("make.onnx").exists()


def test_a_model_is_known_by_its_classes() -> None:
    module = type("Module", (), {"__module__": "torch.nn.modules.module"})
    keras = type("Model", (), {"__module__": "keras.src.models.model"})
    assert framework_of_value(type("Net", (module,), {})()) == "torch"
    assert framework_of_value(type("Net", (keras,), {})()) == "tensorflow"
    assert framework_of_value(object()) == ""


def test_random_inputs_are_like_the_examples() -> None:
    examples = [
        np.zeros((4, 5), np.float32),
        np.array([[3, 9], [3, 3]], np.int64),
        np.zeros(64, np.bool_),
        np.zeros((0, 2), np.int32),
        np.array(2.0, np.float16),
    ]
    drawn = random_inputs(examples, 0)
    assert [(a.dtype, a.shape) for a in drawn] == [(a.dtype, a.shape) for a in examples]
    assert 0.3 < abs(drawn[0]).mean() < 1.5
    assert 3 <= drawn[1].min() <= drawn[1].max() <= 9
    assert drawn[2].any()
    assert not drawn[2].all()
    assert (random_inputs(examples, 0)[0] == drawn[0]).all()
    assert (random_inputs(examples, 1)[0] != drawn[0]).any()


def test_differences() -> None:
    inf, nan = np.inf, np.nan

    def of(mine: list[float], other: list[float]) -> Difference:
        return difference("y", np.array(mine, np.float32), np.array(other, np.float32))

    assert of([1, 2], [1, 4]) == Difference(0.5, 2.0)
    assert of([], []) == Difference(0.0, 0.0)
    assert of([nan, inf, -inf], [nan, inf, -inf]) == Difference(0.0, 0.0)
    assert of([nan, 1], [1, 1]) == Difference(inf, inf)
    assert of([inf, 1], [-inf, 1]) == Difference(inf, inf)
    assert of([0.5], [0]) == Difference(inf, 0.5)
    with pytest.raises(ModelError, match=r"float32 \[1\] in the exported file, float32 \[2\]"):
        of([1], [1, 2])
    with pytest.raises(ModelError, match="0 outputs, the original 1"):
        differences({}, [np.zeros(1)])


@pytest.mark.parametrize("text", ["x", "x=a", "=1", "x=1,,2", "x=-1"])
def test_shapes_that_are_none(text: str) -> None:
    assert run("net.pt", "--shape", text).exit_code == 2


def test_wanted_is_told(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Wanted] = []
    module = ModuleType("fake")

    def load(source: str, wanted: Wanted) -> FakeModel:
        told.append(wanted)
        return FakeModel()

    module.load = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opml.convert.torch", module)
    run("net.pt", "--shape", "x=2,3", "--shape", "s=", "--dtype", "s=int64", "--opset", "17")
    assert told == [Wanted({"x": (2, 3), "s": ()}, {"s": "int64"}, 17)]


def test_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_gguf(tmp_path / "tiny.gguf")
    body = json.loads(run("tiny.gguf", "--json").stdout)
    assert body["files"] == ["tiny.onnx", "tiny.tokenizer.json", "tiny.jinja"]
    assert all(Path(file).stat().st_size for file in body["files"])
    assert run("none.gguf").exit_code == 2
    Path("junk.gguf").write_bytes(b"junk")
    assert run("junk.gguf").exit_code == 3
    assert UnsupportedError.exit_status == ConversionError.exit_status == 3
