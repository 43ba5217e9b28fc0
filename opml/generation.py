"""Greedy generation with a model that says one token per iteration, as one inference that can be claimed.

Such a model is a program that is repeated, with inputs `prompt` int32 [count], `prompt_length` and `length` int32 [1],
and an output `tokens` int32 [count]: what it said in each iteration (`opml.ops.repeat` has the rules).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opml.errors import InputError
from opml.graph import Array, DType, TensorType
from opml.model_memory import read_input
from opml.program import Program

if TYPE_CHECKING:
    from opml.chain import Chain
    from opml.claim import Claim
    from opml.model import Inference, Model

# Is told each token as soon as it is known; that it returns true ends the generation.
Listener = Callable[[int], object]


@dataclass(frozen=True)
class Generation:
    """What a model said after a prompt.

    tokens      the new tokens, an end token included
    ended       whether the last one is an end token
    inference   the inference that says so: the prover claims it as any other
    seconds     of the run, the prompt's part included
    """

    prompt: list[int]
    tokens: list[int]
    ended: bool
    inference: "Inference"
    seconds: float

    @property
    def speed(self) -> float:
        """Tokens a second, those of the prompt included, which take as long."""
        return (len(self.prompt) + len(self.tokens) - 1) / max(self.seconds, 1e-9)

    def prove(self, chain: "Chain | str", **options: Any) -> "Claim":
        """Posts the claim that this is the answer, with a bond, as `Model.prove` does; `options` are those there."""
        from opml.claim import make_claim  # here: who only generates needs no chain

        return make_claim(chain, self.inference, **options)


def context_of(program: Program) -> int:
    """How many tokens prompt and answer may have together, the last one not counted.

    Raises InputError where the program is none that generates.
    """
    count = program.repeat.count if program.repeat else 0
    ports = {port.name: port.type for port in (*program.inputs, *program.outputs)}
    lists, numbers = TensorType(DType.INT32, (count,)), TensorType(DType.INT32, (1,))
    if not count or ports != {"prompt": lists, "prompt_length": numbers, "length": numbers, "tokens": lists}:
        raise InputError("the model does not generate tokens", "run it with --input")
    return count


def prompt_inputs(program: Program, prompt: Sequence[int], length: int) -> dict[str, Array]:
    """The inputs for a prompt of token ids and a number of iterations. Raises InputError."""
    count = context_of(program)
    if not 1 <= len(prompt) <= count:
        raise InputError(f"the prompt has {len(prompt)} tokens; the model takes 1 to {count}")
    size = min(_attribute(program, "next_token", "vocabulary"), default=1 << 31)
    if wrong := [token for token in prompt if not 0 <= token < size]:
        raise InputError(f"there is no token {wrong[0]}; the vocabulary has {size}")
    tokens = np.zeros(count, np.int32)
    tokens[: len(prompt)] = prompt
    return {
        "prompt": tokens,
        "prompt_length": np.array([len(prompt)], np.int32),
        "length": np.array([length], np.int32),
    }


def generate(
    model: "Model",
    prompt: Sequence[int],
    max_new: int | None = None,
    each: Listener | None = None,
    threads: int | None = None,
) -> Generation:
    """Runs a model on a prompt; see `Model.generate`."""
    from opml.model import Inference  # here: the model's own module imports this one

    program = model.image.program
    inputs = prompt_inputs(program, prompt, 0)
    if max_new is not None and max_new < 1:
        raise InputError(f"{max_new} new tokens are none")
    room = context_of(program) - len(prompt) + 1
    new = room if max_new is None else min(max_new, room)
    inputs["length"][0] = len(prompt) - 1 + new
    ends = set(_attribute(program, "chosen_token", "ends"))
    said: list[int] = []

    def watch(iteration: int, outputs: Mapping[str, Array]) -> bool:
        if iteration < len(prompt) - 1:
            return False
        said.append(int(outputs["tokens"]))
        return bool(each and each(said[-1])) or said[-1] in ends

    began = time.perf_counter()
    outputs = model.engine.run(inputs, threads, watch)
    seconds = time.perf_counter() - began
    # What was not run is zero in the outputs, and no part of the claim.
    inputs["length"][0] = len(prompt) - 1 + len(said)
    inference = Inference(model, model.input_region(inputs), outputs)
    return Generation(list(prompt), said, said[-1] in ends, inference, seconds)


def said_in(inference: "Inference") -> list[int]:
    """The new tokens of an inference of such a model, as whoever has its claim reads them. Raises InputError."""
    program = inference.model.image.program
    count = context_of(program)
    inputs = read_input(program, inference.posted)
    first = min(max(int(inputs["prompt_length"][0]), 1), count) - 1
    return [int(token) for token in inference.outputs["tokens"][first : program.iterations(inputs)]]


def _attribute(program: Program, op: str, name: str) -> list[int]:
    """An attribute of all nodes of an operator: its number, or its numbers."""
    found: list[int] = []
    for node in program.nodes:
        value = node.attrs[name] if node.op == op else []
        found += [int(item) for item in value] if isinstance(value, list) else [int(value)]
    return found


__all__ = ["Generation", "context_of", "generate", "prompt_inputs", "said_in"]
