"""A decoder that takes a token and the past, and gives logits and the present → a program that generates text.

The body is the model for one token. It is repeated; the tokens are those of the prompt, then the model's own best ones.
What the model is given besides tokens is known: positions count up, the mask is open, pasts are histories.

    prompt          int32 [count]  tokens; what follows the prompt's end is not looked at
    prompt_length   int32 [1]
    length          int32 [1]      of prompt and answer together, less one: how often the body runs
    tokens          int32 [count]  the best token after each; of a prompt's, too
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from opml.errors import ModelError, UnsupportedError
from opml.graph import Attribute, DType, Graph, Node, Repeat, TensorType
from opml.lowering.builder import Builder
from opml.lowering.memory import Memory
from opml.lowering.scope import lower_nodes, unknown_operators
from opml.onnx_nodes import OnnxGraph
from opml.passes.fold import FREE_BYTES

TOKENS, POSITIONS, MASKS = ("input_ids", "tokens"), ("position_ids", "cache_position"), ("attention_mask",)
PAST = re.compile(r"past(_key_values)?(?=[._])")
PRESENT = ("present", "present_key_values")
INPUTS = ("prompt", "prompt_length", "length")
OUTPUT = "tokens"


def present_of(past: str, outputs: Sequence[str]) -> str:
    """The output that is an input's past with the newest entry, by their names; "" where there is none."""
    candidates = [PAST.sub(present, past, count=1) for present in PRESENT]
    return next((name for name in candidates if name != past and name in outputs), "")


def _check_context(context: int) -> None:
    if not 2 <= context < 1 << 20:
        raise UnsupportedError(f"a context of {context} tokens")


def pins(labels: Mapping[str, Sequence[int | str]], outputs: Sequence[str], context: int) -> dict[str, int]:
    """The dimensions of a decoder's inputs for one token, the last of `context`; sizes that the model fixes stay.

    `labels` are the dimensions of the inputs: numbers, or names of dynamic ones.
    """
    _check_context(context)
    pinned: dict[str, int] = {}
    for name, dims in labels.items():
        if name in MASKS:
            sizes = [1, context]
        elif present_of(name, outputs) and len(dims) == 4:
            sizes = [1, 0, context - 1, 0]
        else:
            sizes = [1] * len(dims)
        for label, size in zip(dims, sizes, strict=False):
            if isinstance(label, str) and size and pinned.setdefault(label, size) != size:
                raise UnsupportedError(f"the dimension {label} stands for {pinned[label]} and for {size}")
    return pinned


def lower_decoder(source: OnnxGraph, context: int, ends: Sequence[int]) -> Graph:
    """The repeated program of a decoder whose dimensions are pinned, for at most `context` tokens in all.

    Any token of `ends` ends an answer. Raises UnsupportedError, ModelError.
    """
    return _Lowering(source, context, ends).graph()


class _Lowering:
    def __init__(self, source: OnnxGraph, context: int, ends: Sequence[int]) -> None:
        if unknown := sorted(unknown_operators(source)):
            raise UnsupportedError(f"operator {', '.join(unknown)}")
        self.source, self.count, self.ends = source, context, ends
        _check_context(context)
        names = {*source.types, *(name for node in source.nodes for name in node.outputs), *INPUTS, OUTPUT}
        self.build = build = Builder(source.name, names)
        build.budget.bytes = FREE_BYTES + 4 * sum(value.nbytes for value in source.constants.values())
        build.narrow = dict(source.narrow)
        self.names = {name: build.constant(value, name) for name, value in source.constants.items()}
        for name, size in zip(INPUTS, (self.count, 1, 1), strict=True):
            if name in build.graph.types:
                raise UnsupportedError(f"a model with a tensor named {name!r}")
            build.graph.inputs.append(name)
            build.graph.types[name] = TensorType(DType.INT32, (size,))
        self.memory = build.memory = Memory(build, self.count)

    def graph(self) -> Graph:
        build, graph = self.build, self.build.graph
        chosen = build.fresh()
        graph.types[chosen] = TensorType(DType.INT32, (self.count,))
        token = build.emit("next_token", ["prompt", "prompt_length", chosen], vocabulary=1)
        place = len(graph.nodes) - 1
        self.bind_inputs(token)
        lower_nodes(build, self.source, self.names)
        logits = self.logits()
        # Only now it is known how many tokens there are.
        attrs: dict[str, Attribute] = {"vocabulary": build.shape(logits)[-1]}
        graph.nodes[place] = replace(graph.nodes[place], attrs=attrs)
        best = build.emit("argmax", [logits], axis=-1, keepdims=0)
        inputs = (best, token, "prompt_length")
        ends = [int(end) for end in self.ends]
        graph.nodes.append(Node("chosen_token", inputs, (OUTPUT,), {"ends": ends}, OUTPUT))
        graph.types[OUTPUT] = TensorType(DType.INT32, ())
        graph.outputs.append(OUTPUT)
        self.forget_pasts()
        graph.repeat = Repeat(self.count, "length", {chosen: OUTPUT, **self.memory.histories})
        return graph

    def forget_pasts(self) -> None:
        """Pasts and presents are no tensors; UnsupportedError where something takes them for one."""
        names = {*self.memory.pasts, *self.memory.presents}
        for node in self.build.graph.nodes:
            if names.intersection(node.inputs):
                raise UnsupportedError(
                    f"{node.name!r} reads the past, which only attention may",
                    "opml has Attention and com.microsoft.GroupQueryAttention",
                )
        for name in names:
            del self.build.graph.types[name]

    def bind_inputs(self, token: str) -> None:
        """What each input of the model is in the body."""
        found = False
        for name in self.source.inputs:
            kind = self.source.types[name]
            value = ""
            if name in TOKENS:
                found, value = True, token
            elif name in POSITIONS:
                value = self.memory.position
            elif name in MASKS:
                value = self.open_mask()
            elif present_of(name, self.source.outputs) and len(kind.shape) == 4:
                _, heads, past, depth = kind.shape
                if kind != TensorType(DType.FLOAT32, (1, heads, past, depth)) or past != self.count - 1:
                    raise UnsupportedError(f"the past {name!r} is {kind.dtype.value} {list(kind.shape)}")
                self.names[name] = self.memory.add_past(self.build.fresh(), heads, depth)
                continue
            if not value:
                raise UnsupportedError(
                    f"input {name!r}: a decoder takes {TOKENS[0]}, {POSITIONS[0]}, {MASKS[0]} and past_key_values",
                    "make it a constant of the model",
                )
            if self.build.type(value).dtype is not kind.dtype:
                value = self.build.emit("cast", [value], to=kind.dtype.value)
            self.names[name] = self.build.view(value, kind.shape)
        if not found or not self.memory.pasts:
            raise UnsupportedError(f"a model without the input {TOKENS[0]!r}, or without a past: it is no decoder")

    def open_mask(self) -> str:
        """int64 [1, count]: 1 for the tokens so far, else 0."""
        build = self.build
        ahead = build.emit("sub", [self.memory.position, build.arange(self.count)])
        one = build.constant(np.array(1, np.int64))
        return build.emit("clip", [build.emit("add", [ahead, one])], min=0, max=1)

    def logits(self) -> str:
        """The logits, once it is sure that what the model gives as present is what it goes on with as past."""
        outputs = self.source.outputs
        if missing := [name for name in outputs if name not in self.names]:
            raise ModelError(f"output {missing[0]!r} is not computed")
        presents = set()
        for name in self.source.inputs:
            past = self.names[name]
            if past in self.memory.pasts:
                present = present_of(name, outputs)
                if self.memory.presents.get(self.names[present]) != past:
                    raise UnsupportedError(f"output {present!r} is not {name!r} with the newest token's")
                presents.add(present)
        rest = [name for name in outputs if name not in presents]
        name = "logits" if "logits" in rest else next(iter(rest), "")
        kind = self.build.type(self.names[name]) if name else None
        if kind is None or kind.dtype is not DType.FLOAT32 or not kind.shape or kind.elements != kind.shape[-1]:
            raise UnsupportedError(f"output {name!r} is no vector of logits")
        return self.build.view(self.names[name], kind.shape[-1:])
