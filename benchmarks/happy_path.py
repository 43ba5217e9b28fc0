"""What `prove` does beyond `run`, as a share of the inference. The goal: at most 5 % from 10 ms on.

Of one claim: the input region's bytes are laid out and read back, the output is hashed, and the call is encoded.
Shown apart: the chain's own transaction.
"""

import runpy
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from report import MODELS, Spread, arguments, seconds, show

from opml.chain import OpmlClient, connect, ensure_dev_contract
from opml.chain.abi import artifact
from opml.chain.accounts import dev_accounts
from opml.compiler import compile_onnx
from opml.graph import Array
from opml.model import Inference, Model
from opml.model_memory import input_bytes, read_input
from opml.prover import post_claim

LIMIT = 0.05
FROM_SECONDS = 0.010


def models(sizes: list[int]) -> dict[str, onnx.ModelProto]:
    make_vgg: Callable[[int], onnx.ModelProto] = runpy.run_path(str(MODELS / "vgg.py"))["make_vgg"]
    return {"cnn": onnx.load(MODELS / "cnn.onnx")} | {f"vgg {size}x{size}": make_vgg(size) for size in sizes}


def claim_work(model: Model, inputs: Mapping[str, Array], outputs: dict[str, Array]) -> bytes:
    """All that a claim takes but the inference and the transaction: the call's data."""
    program = model.image.program
    posted = input_bytes(program, inputs)
    read_input(program, posted)
    root = Inference(model, posted, outputs).output_root
    return artifact("Opml").abi.encode_call("claim", model.model_id, posted, root, 0)


def measure(name: str, proto: onnx.ModelProto, runs: int, threads: int | None) -> dict[str, Any]:
    model = Model(compile_onnx(proto.SerializeToString()))
    random = np.random.default_rng(0)
    inputs = {port: random.integers(0, 17, kind.shape).astype(kind.dtype.numpy) for port, kind in model.inputs.items()}
    outputs = model.run(inputs, threads=threads)
    claim_work(model, inputs, outputs)

    inference, beyond, share = [], [], []
    for _ in range(runs):
        inference.append(seconds(lambda: model.run(inputs, threads=threads)))
        beyond.append(seconds(lambda: claim_work(model, inputs, outputs)))
        share.append(beyond[-1] / inference[-1])

    chain = connect()
    client = OpmlClient(chain, ensure_dev_contract(chain))
    account, result = dev_accounts()[0], model.infer(inputs)
    post_claim(client, account, result)
    transaction = [seconds(lambda: post_claim(client, account, result)) for _ in range(3)]
    return {
        "model": name,
        "input_bytes": model.header.input_bytes,
        "inference_s": Spread.of(inference),
        "beyond_s": Spread.of(beyond),
        "share": Spread.of(share),
        "transaction_s": Spread.of(transaction),
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 160, 224], help="image sizes of the VGG-like net")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--threads", type=int, help="default: all processors")
    options = parser.parse_args()
    results = [measure(name, proto, options.runs, options.threads) for name, proto in models(options.sizes).items()]
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "model": lambda r: r["model"],
        "input bytes": lambda r: str(r["input_bytes"]),
        "inference": lambda r: r["inference_s"].text("ms", 1e3),
        "beyond": lambda r: r["beyond_s"].text("ms", 1e3),
        "share": lambda r: r["share"].text("%", 100),
        "transaction": lambda r: r["transaction_s"].text("ms", 1e3),
    }
    show("prove beyond run", results, columns, options.json)
    slow = [r for r in results if r["inference_s"].median >= FROM_SECONDS]
    return int(any(r["share"].median > LIMIT for r in slow))


if __name__ == "__main__":
    sys.exit(main())
