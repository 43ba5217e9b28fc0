"""The tokenizer of a GGUF file as `tokenizer.json`, the format of the package `tokenizers`; and its chat template."""

from typing import TYPE_CHECKING, Any

from opml.convert.errors import needs
from opml.errors import ModelError, UnsupportedError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTROL, USER_DEFINED = 3, 4
# How llama.cpp splits text before merging, by its own names (`llama-vocab.cpp`).
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPLITS = {
    "default": [GPT2],
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [QWEN2],
}


def make_tokenizer(fields: dict[str, Any]) -> "Tokenizer":
    """The tokenizer that the metadata describe. Raises UnsupportedError for a kind that opml does not have,
    ModelError where it makes no sense, InputError without the package."""
    try:
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    except ImportError:
        raise needs("a tokenizer", "text") from None
    kind, split = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or split not in SPLITS:
        raise UnsupportedError(
            f"a tokenizer of the kind {kind!r}, {split!r}", f"opml has gpt2 with {', '.join(SPLITS)}"
        )
    try:
        tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
        merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        parts: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS[split]]
        parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
        tokenizer.decoder = decoders.ByteLevel()
        named = [(token, what) for token, what in zip(tokens, kinds, strict=True) if what in (CONTROL, USER_DEFINED)]
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token, what in named if what == CONTROL])
        tokenizer.add_tokens([AddedToken(token, normalized=False) for token, what in named if what == USER_DEFINED])
        return tokenizer
    except KeyError as error:
        raise ModelError(f"the tokenizer lacks {error.args[0]!r}") from None
    except Exception as error:  # the package raises no class of its own
        raise ModelError(f"the tokenizer makes no sense: {error}") from error


def chat_template(fields: dict[str, Any]) -> str:
    """The Jinja template of a conversation, "" where the model has none."""
    template = fields.get("tokenizer.chat_template", "")
    return template if isinstance(template, str) else ""
