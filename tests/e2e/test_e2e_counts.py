"""A claim about boxes of which only the data say how many are kept: shown at its size, disputed down to the verdict."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper
from test_e2e_faults import World

from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.deploy import ensure_dev_contract
from opml.chain.devnet import background
from opml.cli import main
from opml.dispute.faults import Bluff, with_fault
from opml.dispute.game import Role
from opml.dispute.player import player
from opml.model import Inference, load
from opml.prover import register

KEPT = ("kept", "sure", "which")


def detector() -> tuple[bytes, dict[str, np.ndarray]]:
    """NonMaxSuppression, and the kept boxes, their scores and their numbers."""
    rng = np.random.default_rng(4)
    low, size = rng.random((1, 12, 2)), rng.random((1, 12, 2))
    feeds = {
        "b": np.concatenate([low, low + size], 2).astype(np.float32),
        "s": rng.random((1, 2, 12)).astype(np.float32),
    }
    constants = {"m": np.array([5]), "iou": np.float32([0.2]), "least": np.float32([0.6])}
    constants |= {"two": np.array([2]), "one": np.array([1]), "zero": np.array([0])}
    nodes = [
        helper.make_node("NonMaxSuppression", ["b", "s", "m", "iou", "least"], ["rows"]),
        helper.make_node("Gather", ["rows", "two"], ["column"], axis=1),
        helper.make_node("Squeeze", ["column", "one"], ["which"]),
        helper.make_node("Squeeze", ["b", "zero"], ["flat"]),
        helper.make_node("Gather", ["flat", "which"], ["kept"]),
        helper.make_node("GatherND", ["s", "rows"], ["sure"]),
    ]
    ports = [helper.make_tensor_value_info(name, 1, array.shape) for name, array in feeds.items()]
    kinds = [helper.make_tensor_value_info(name, 7 if name == "which" else 1, None) for name in KEPT]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "detector", ports, kinds, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return made.SerializeToString(), feeds


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, feeds = detector()
    folder = tmp_path_factory.mktemp("boxes")
    (folder / "model.onnx").write_bytes(made)
    np.savez(folder / "in.npz", **feeds)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def scene(source: Path) -> tuple[World, Inference]:
    world, model = World(), load(source / "model.onnx")
    register(world.client, world.accounts[Role.PROVER], model)
    with np.load(source / "in.npz") as feeds:
        return world, model.infer(dict(feeds))


@pytest.mark.parametrize("lying", [Role.PROVER, Role.CHALLENGER])
@pytest.mark.parametrize("place", ["rank", "nms", "nms_select", "gather", "kept.count"])
def test_a_lie_about_what_is_kept_is_caught(scene: tuple[World, Inference], place: str, lying: Role) -> None:
    world, inference = scene
    program = inference.model.image.program
    node = next(node for node in program.nodes if place in (node.op, node.output))
    size, address = node.out_type.dtype.size, program.tensors[node.output].address
    faults = (with_fault(inference.trace, address + size * i, 1) for i in range(node.out_type.elements))
    liar = Bluff(next(fault for fault in faults if fault.output_root != inference.output_root), step=40)
    claimed = liar.output_root if lying is Role.PROVER else inference.output_root
    view = world.match(inference, lying, claimed, player(liar, lying))
    assert view.length == 1


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with background(tmp_path_factory.mktemp("chain")) as devnet:
        ensure_dev_contract(connect(devnet.url))
        yield devnet.url


def test_commands_show_outputs_at_their_size(source: Path, scene: tuple[World, Inference], url: str) -> None:
    """`run` and `prove` alike; what a claim commits to is the capacity with the count."""
    inference = scene[1]
    count = int(inference.outputs["kept.count"][0])
    assert 0 < count < len(inference.outputs["kept"])
    arguments = [str(source / "model.onnx"), *(f"-i{name}={source / 'in.npz'}:{name}" for name in "bs"), "--json"]
    key = "0x" + bytes(dev_accounts()[0].key).hex()
    for command in (["run"], ["prove", "--rpc", url, "--detach"]):
        result = CliRunner().invoke(main, [*command, *arguments], env={"OPML_KEY": key})
        assert result.exit_code == 0, result.output
        outputs = json.loads(result.stdout)["outputs"]
        assert tuple(outputs) == KEPT
        for name in KEPT:
            assert outputs[name] == inference.results[name].tolist()
            assert len(outputs[name]) == count
