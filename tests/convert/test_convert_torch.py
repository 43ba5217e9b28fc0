"""PyTorch models, converted by PyTorch itself: every form of a source, and those that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from convert_models import TORCH_SOURCE

import opml
from opml.cli import main

pytestmark = pytest.mark.convert


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "net.py"
    file.write_text(TORCH_SOURCE)
    monkeypatch.chdir(tmp_path)
    return file


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["convert", *map(str, arguments), "-o", "out.onnx"])


SHAPE = ["--shape", "image=1,3,8,8"]


@pytest.mark.parametrize("name", ["net.py:make", "net.py:Net", "net:make"])
def test_python_code(source: Path, name: str) -> None:
    result = run(name, *SHAPE)
    assert result.exit_code == 0, result.output
    assert "linear: largest difference" in result.stdout
    assert f"opening {name} runs the code in it" in result.stderr
    model = opml.load("out.onnx")
    assert model.inputs["image"].shape == (1, 3, 8, 8)


def test_an_optional_input_and_inputs_that_the_code_brings(source: Path) -> None:
    assert run("net.py:Net", *SHAPE, "--shape", "scale=10").exit_code == 0
    assert list(opml.load("out.onnx").inputs) == ["image", "scale"]
    result = run("net.py:pair", "--json")
    assert result.exit_code == 0, result.output
    assert '"ids": ["int64", 2, 5]' in result.stdout


def test_files(source: Path) -> None:
    import torch

    space: dict[str, Any] = {}
    exec(TORCH_SOURCE, space)
    net, x = space["Net"]().eval(), torch.zeros(1, 3, 8, 8)
    torch.export.save(torch.export.export(net, (x,)), "net.pt2")
    torch.jit.trace(net, x).save("net.pt")
    torch.save(net.state_dict(), "weights.pt")
    assert run("net.pt2").exit_code == 0
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (ours,) = opml.load("out.onnx").run({"image": image}).values()
    np.testing.assert_allclose(ours, net(torch.from_numpy(image)).detach().numpy(), atol=1e-6)
    assert run("net.pt", *SHAPE).exit_code == 0
    refused = run("weights.pt", *SHAPE)
    assert refused.exit_code == 3
    assert "weights alone are no model" in refused.stderr


def test_what_differs_is_said_and_fails(source: Path) -> None:
    result = run("net.py:Random", "--shape", "x=4,4")
    assert result.exit_code == 3
    assert "error[unsupported]" in result.stderr or "more than 0.001" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["net.py:make"], 2, "--shape image=1,3,224,224"),
        (["net.py:make", "--shape", "y=3"], 2, "its inputs are image, scale"),
        (["net.py:make", "--shape", "image=1,4,8,8"], 3, "torch.onnx cannot export"),
        (["net.py:make", *SHAPE, "--dtype", "image=floating"], 2, "no numpy dtype"),
        (["net.py:three"], 2, "is a int, no model"),
        (["net.py:none"], 2, "has no 'none'"),
    ],
)
def test_mistakes(source: Path, arguments: list[str], status: int, text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert text in result.stderr
    assert not Path("out.onnx").exists()
