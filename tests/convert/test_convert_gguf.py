"""GGUF files: blocks as ggml reads them, a model that computes what the weights say, bad files refused."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from convert_gguf_files import CONTROL, TEMPLATE, TOKENS, write_gguf
from gguf import GGMLQuantizationType, quants

from opml.convert.blocks import KINDS
from opml.convert.gguf import read_gguf
from opml.convert.vocabulary import chat_template, make_tokenizer
from opml.errors import ModelError, UnsupportedError
from opml.graph import Array

HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q8_0": [0], "Q4_K": [0, 2], "Q6_K": [208]}


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_what_ggml_makes_of_them(kind: str) -> None:
    rng = np.random.default_rng(1)
    nbytes, read = KINDS[kind]
    blocks = rng.integers(0, 256, (6, 4, nbytes)).astype(np.uint8)
    for start in HALVES[kind]:
        halves = (0.1 * rng.standard_normal((6, 4, 1))).astype(np.float16)
        halves[0, 0] = 0  # one value for a whole block
        blocks[..., start : start + 2] = halves.view(np.uint8)
    theirs = quants.dequantize(blocks.reshape(6, -1), GGMLQuantizationType[kind])
    matrix = read(blocks)
    np.testing.assert_allclose(matrix.values(), theirs, rtol=1e-5, atol=1e-4)
    assert matrix.codes.max() < 1 << matrix.bits


def reference(weights: dict[str, Array], tokens: list[int]) -> Array:
    """The decoder in numpy, on all tokens at once: the last one's logits."""
    x = weights["token_embd"][tokens].astype(np.float64)
    rows, depth = len(tokens), 16
    angles = np.arange(rows)[:, None] * 1000.0 ** (-np.arange(0, depth, 2) / depth)

    def norm(x: Array, name: str) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weights[name]

    def turned(x: Array) -> Array:
        pairs = x[..., 0::2] + 1j * x[..., 1::2]
        pairs = pairs * np.exp(1j * angles)[:, None]
        return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)

    for layer in range(2):
        at = f"blk.{layer}"
        y = norm(x, f"{at}.attn_norm")
        q, k, v = ((y @ weights[f"{at}.attn_{part}"].T).reshape(rows, -1, depth) for part in "qkv")
        q, k = turned(q), turned(k)
        k, v = (np.repeat(part, 2, 1) for part in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / 4 + np.triu(np.full((rows, rows), -np.inf), 1)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hij,jhd->ihd", powers / powers.sum(-1, keepdims=True), v).reshape(rows, -1)
        x = x + mixed @ weights[f"{at}.attn_output"].T
        y = norm(x, f"{at}.ffn_norm")
        gate, up = (y @ weights[f"{at}.ffn_{part}"].T for part in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[f"{at}.ffn_down"].T
    return np.asarray(norm(x, "output_norm") @ weights["token_embd"].T)


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_the_model_computes_what_the_weights_say(tmp_path: Path, kind: str) -> None:
    """By ONNX Runtime: all tokens at once, and one after the other with the past."""
    weights = write_gguf(tmp_path / "tiny.gguf", kind)
    model = read_gguf(tmp_path / "tiny.gguf").model
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    tokens = [5, 70, 9, 200, 31]
    names = [output.name for output in session.get_outputs()]

    def step(tokens: list[int], start: int, past: dict[str, Array]) -> dict[str, Array]:
        positions = np.arange(start, start + len(tokens))[None]
        results = session.run(None, {"input_ids": np.array([tokens]), "position_ids": positions, **past})
        return dict(zip(names, results, strict=True))

    caches = [f"past_key_values.{layer}.{part}" for layer in (0, 1) for part in ("key", "value")]
    empty = {name: np.zeros((1, 2, 0, 16), np.float32) for name in caches}
    whole = step(tokens, 0, empty)
    np.testing.assert_allclose(whole["logits"][0], reference(weights, tokens), rtol=1e-3, atol=2e-3)
    past = empty
    for index, token in enumerate(tokens):
        result = step([token], index, past)
        past = {name.replace("present", "past_key_values"): value for name, value in result.items() if name != "logits"}
    np.testing.assert_allclose(result["logits"][0, -1], whole["logits"][0, -1], rtol=1e-3, atol=1e-3)


def test_the_quantised_weights_stay_small(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", "Q4_1")
    model = read_gguf(tmp_path / "tiny.gguf").model
    sizes = {value.name: len(value.raw_data) for value in model.graph.initializer}
    assert sizes["blk.0.ffn_up.codes"] == 64 * 96 // 2
    assert not any(name.startswith("output") and name.endswith("codes") for name in sizes), "the embedding is both"
    assert {entry.key: entry.value for entry in model.metadata_props} == {"opml.context": "32", "opml.eos": "1"}


def test_the_tokenizer(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    fields = read_gguf(tmp_path / "tiny.gguf").fields
    tokenizer = make_tokenizer(fields)
    encoded = tokenizer.encode("<|start|> the 12é", add_special_tokens=False)
    assert encoded.tokens == ["<|start|>", "Ġthe", "Ġ", "1", "2", "Ã", "©"]
    assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == "<|start|> the 12é"
    assert encoded.ids[0] == TOKENS.index(CONTROL[0])
    assert chat_template(fields) == TEMPLATE
    with pytest.raises(UnsupportedError, match="'spm'"):
        make_tokenizer({**fields, "tokenizer.ggml.model": "spm"})
    with pytest.raises(ModelError, match="merges"):
        make_tokenizer({name: value for name, value in fields.items() if not name.endswith("merges")})


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    write_gguf(path, architecture="mamba")
    with pytest.raises(UnsupportedError, match="'mamba'"):
        read_gguf(path)
    write_gguf(path, missing="blk.1.ffn_up")
    with pytest.raises(ModelError, match=r"blk\.1\.ffn_up"):
        read_gguf(path)
    write_gguf(path, misshapen="blk.0.attn_k")
    with pytest.raises(ModelError, match=r"blk\.0\.attn_k.*\[31, 64\], not \[32, 64\]"):
        read_gguf(path)
    write_gguf(path)
    whole = path.read_bytes()
    for size in (0, 3, 40, 5000, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            read_gguf(path)
    with pytest.raises(ModelError):
        read_gguf(tmp_path / "none.gguf")
