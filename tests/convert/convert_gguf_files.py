"""Small GGUF files of a Llama-class decoder with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize

from opml.graph import Array

LAYERS, WIDTH, HEADS, SHARED, HIDDEN, CONTEXT = 2, 64, 4, 2, 96, 32
# Bytes as the vocabulary of GPT-2 writes them, three merges, and two control tokens.
LETTERS = [chr(code) for code in [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)]]
MERGES = ["Ġ t", "h e", "Ġt he"]
CONTROL = ["<|start|>", "<|end|>"]
TOKENS = [*CONTROL, *LETTERS, *("".join(merge.split()) for merge in MERGES)]
TEMPLATE = "{% for m in messages %}<|start|>{{ m['content'] }}<|end|>{% endfor %}"


def sizes() -> dict[str, tuple[int, ...]]:
    """The tensors and their shapes."""
    depth = WIDTH // HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        shapes |= {f"{at}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"{at}.attn_q": (WIDTH, WIDTH), f"{at}.attn_output": (WIDTH, WIDTH)}
        shapes |= {f"{at}.attn_{name}": (SHARED * depth, WIDTH) for name in "kv"}
        shapes |= {f"{at}.ffn_{name}": (HIDDEN, WIDTH) for name in ("gate", "up")}
        shapes[f"{at}.ffn_down"] = (WIDTH, HIDDEN)
    return shapes


def write_gguf(path: Path, kind: str = "Q4_1", architecture: str = "llama", **changes: Any) -> dict[str, Array]:
    """Writes a file, matrices quantised as `kind`, the embedding as Q8_0; gives the weights as they then are."""
    writer = GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(SHARED)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1000.0)
    writer.add_tokenizer_model(changes.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)))
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    rng, weights = np.random.default_rng(3), {}
    for name, shape in sizes().items():
        scale = 1.0 if name.endswith("norm") else 2 / np.sqrt(shape[-1])
        value = (scale * rng.standard_normal(shape)).astype(np.float32)
        if name == changes.get("missing"):
            continue
        if name == changes.get("misshapen"):
            value = value[:-1]
        weights[name] = value
        if len(shape) == 1 or kind == "F32":
            writer.add_tensor(f"{name}.weight", value)
            continue
        form = GGMLQuantizationType["Q8_0" if name == "token_embd" else kind]
        blocks = quantize(value, form)
        weights[name] = dequantize(blocks, form)
        writer.add_tensor(f"{name}.weight", blocks, raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights
