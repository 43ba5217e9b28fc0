"""GGUF files of Llama-class decoders → an ONNX model that generates a token at a time, with its tokenizer beside it.

Quantised matrices are not unfolded: blocks of 4 and 8 bits stay blocks of 4 and 8 bits. Other kinds become float32.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from opml.convert.blocks import KINDS
from opml.convert.decoder import Architecture, Matrix, decoder_model
from opml.convert.errors import needs
from opml.errors import ModelError, UnsupportedError
from opml.graph import Array

if TYPE_CHECKING:
    from gguf import GGUFReader

# How the rotary embedding pairs the elements of a head: neighbours (llama.cpp permutes the weights for it), or halves.
INTERLEAVED = {"llama": True, "mistral": True, "qwen2": False}
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
# More would not fit into a file of ONNX's format.
MAX_BYTES = (1 << 31) - (1 << 20)


@dataclass(frozen=True, eq=False)
class GgufModel:
    """What a GGUF file holds: the decoder as ONNX, and the metadata, of which the tokenizer is made."""

    model: onnx.ModelProto
    fields: dict[str, Any]


def read_gguf(path: str | os.PathLike[str]) -> GgufModel:
    """Reads and converts a file. Raises InputError without the package `gguf`, ModelError where the file is corrupt,
    UnsupportedError for an architecture that opml does not have."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise needs("reading GGUF", "gguf") from None
    try:
        reader = GGUFReader(Path(path))
        fields = {name: field.contents() for name, field in reader.fields.items()}
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError) as error:
        raise ModelError(f"{path} is no sound GGUF file: {error}") from error
    try:
        form = architecture(fields)
        weights = _weights(reader, form)
        metadata = {"opml.context": str(form.context)}
        if "tokenizer.ggml.eos_token_id" in fields:
            metadata["opml.eos"] = str(int(fields["tokenizer.ggml.eos_token_id"]))
        return GgufModel(decoder_model(form, weights, metadata), fields)
    except KeyError as error:
        raise ModelError(f"{path} lacks {error.args[0]!r}") from None
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"{path} makes no sense: {error}") from error


def architecture(fields: dict[str, Any]) -> Architecture:
    """The sizes that the metadata tell. Raises UnsupportedError by name, KeyError where one is missing."""
    kind = fields["general.architecture"]
    if kind not in INTERLEAVED:
        raise UnsupportedError(f"architecture {kind!r}", f"opml has {', '.join(INTERLEAVED)}")
    if any(fields.get(f"{kind}.{name}") for name in ("expert_count", "attention.sliding_window")):
        raise UnsupportedError("experts or a sliding window")
    if fields.get(f"{kind}.rope.scaling.type", "none") not in ("none", ""):
        raise UnsupportedError(f"rotary embeddings that are scaled ({fields[f'{kind}.rope.scaling.type']!r})")

    def size(name: str, default: int | None = None) -> int:
        value = fields.get(f"{kind}.{name}", default)
        if value is None:
            raise KeyError(f"{kind}.{name}")
        if not isinstance(value, int) or not 1 <= value < 1 << 31:
            raise UnsupportedError(f"{kind}.{name} is {value!r}")
        return value

    width, heads = size("embedding_length"), size("attention.head_count")
    depth = size("attention.key_length", max(width // heads, 1))
    if depth != size("attention.value_length", depth):
        raise UnsupportedError("keys and values of different sizes")
    return Architecture(
        name=str(fields.get("general.name", "decoder"))[:200],
        layers=size("block_count"),
        width=width,
        heads=heads,
        shared=size("attention.head_count_kv", heads),
        depth=depth,
        hidden=size("feed_forward_length"),
        vocabulary=len(fields["tokenizer.ggml.tokens"]),
        context=size("context_length"),
        epsilon=float(fields[f"{kind}.attention.layer_norm_rms_epsilon"]),
        base=float(fields.get(f"{kind}.rope.freq_base", 10000.0)),
        rotated=size("rope.dimension_count", depth),
        interleaved=INTERLEAVED[kind],
    )


def _weights(reader: "GGUFReader", form: Architecture) -> dict[str, Array | Matrix]:
    """All matrices and vectors, with the shapes that the architecture asks for."""
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if "rope_freqs.weight" in tensors:
        raise UnsupportedError("rotary embeddings with factors of their own (rope_freqs.weight)")
    queries, keys = form.heads * form.depth, form.shared * form.depth
    sizes: dict[str, tuple[int, ...]] = {
        "token_embd": (form.vocabulary, form.width),
        "output_norm": (form.width,),
        "output": (form.vocabulary, form.width),
    }
    for layer in range(form.layers):
        at = f"blk.{layer}"
        sizes |= {
            f"{at}.attn_norm": (form.width,),
            f"{at}.attn_q": (queries, form.width),
            f"{at}.attn_k": (keys, form.width),
            f"{at}.attn_v": (keys, form.width),
            f"{at}.attn_output": (form.width, queries),
            f"{at}.ffn_norm": (form.width,),
            f"{at}.ffn_gate": (form.hidden, form.width),
            f"{at}.ffn_up": (form.hidden, form.width),
            f"{at}.ffn_down": (form.width, form.hidden),
        }
    weights: dict[str, Array | Matrix] = {}
    total = 0
    for name, shape in sizes.items():
        if f"{name}.weight" not in tensors:
            if name == "output":
                continue
            raise KeyError(f"{name}.weight")
        weights[name] = read_weight(tensors[f"{name}.weight"], shape)
        if f"{name}.bias" in tensors:
            weights[f"{name}.bias"] = read_weight(tensors[f"{name}.bias"], shape[:1])
        total += _bytes(weights[name])
        if total > MAX_BYTES:
            raise UnsupportedError("more than 2 GiB of weights; an ONNX file has no room for them")
    return weights


def _bytes(weight: Array | Matrix) -> int:
    if not isinstance(weight, Matrix):
        return weight.nbytes
    return weight.codes.size * weight.bits // 8 + weight.scales.nbytes * (1 if weight.zeros is None else 2)


def read_weight(tensor: Any, shape: tuple[int, ...]) -> Array | Matrix:
    """A tensor of the file: a matrix in blocks stays one."""
    kind = tensor.tensor_type.name
    found = tuple(int(size) for size in reversed(tensor.shape))
    if found != shape:
        raise ModelError(f"{tensor.name} has the shape {list(found)}, not {list(shape)}")
    if kind in KINDS and len(shape) == 2:
        nbytes, read = KINDS[kind]
        return read(np.asarray(tensor.data).view(np.uint8).reshape(shape[0], -1, nbytes))
    return _unfold(tensor, kind).reshape(shape)


def _unfold(tensor: Any, kind: str) -> Array:
    from gguf.quants import dequantize

    dequantized: Callable[..., Array] = dequantize
    try:
        return np.ascontiguousarray(dequantized(tensor.data, tensor.tensor_type), np.float32)
    except NotImplementedError:
        raise UnsupportedError(
            f"{tensor.name} is of the kind {kind}", f"opml has F32, F16, {', '.join(KINDS)}"
        ) from None
