"""A GGUF file as files: the model (.onnx), its tokenizer (.tokenizer.json) and its chat template (.jinja)."""

from pathlib import Path

import onnx

from opml.convert.gguf import read_gguf
from opml.convert.vocabulary import chat_template, make_tokenizer
from opml.errors import InputError


def write_gguf(source: Path, target: Path) -> list[Path]:
    """Writes the model to `target` and the rest beside it; returns what was written. Raises as `read_gguf`."""
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    gguf = read_gguf(source)
    onnx.save(gguf.model, target)
    tokenizer = target.with_suffix(".tokenizer.json")
    tokenizer.write_text(make_tokenizer(gguf.fields).to_str(), encoding="utf-8")
    written = [target, tokenizer]
    if template := chat_template(gguf.fields):
        written.append(target.with_suffix(".jinja"))
        written[-1].write_text(template, encoding="utf-8")
    return written
