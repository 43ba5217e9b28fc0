"""TfIdfVectorizer of integers beside ONNX Runtime, and what is refused by name."""

from typing import Any

import numpy as np
import pytest
from front_models import one_node, run_onnxruntime, run_opml
from hypothesis import given, settings
from hypothesis import strategies as st

from opml.compiler import compile_graph
from opml.errors import UnsupportedError

ATTRS = {
    "mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 0, "ngram_counts": [0, 2],
    "ngram_indexes": [2, 0, 1], "pool_int64s": [1, 2, 1, 2],
}  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_counts_weights_and_both(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    shape = data.draw(st.sampled_from([(1,), (7,), (1, 1), (3, 9)]))
    x = rng.integers(0, 4, shape).astype(data.draw(st.sampled_from([np.int32, np.int64])))
    sizes = [data.draw(st.integers(0, 4**size)) for size in (1, 2, 3)]
    known = [rng.permutation(list(np.ndindex(*(4,) * n)))[:k].reshape(-1, n) for n, k in enumerate(sizes, 1)]
    pool, total = np.concatenate([grams.reshape(-1) for grams in known]), sum(sizes)
    shortest = data.draw(st.integers(1, 3))
    attrs: dict[str, Any] = {
        "mode": data.draw(st.sampled_from(["TF", "IDF", "TFIDF"])),
        "min_gram_length": shortest,
        "max_gram_length": data.draw(st.integers(shortest, 3)),
        "max_skip_count": data.draw(st.integers(0, 5)),
        "ngram_counts": [0, sizes[0], sizes[0] + 2 * sizes[1]],
        "ngram_indexes": list(range(total)),
        "pool_int64s": pool,
    }
    if not total:
        return
    if data.draw(st.booleans()):
        attrs["weights"] = [float(n) / 2 for n in range(total)]
    else:
        attrs["ngram_indexes"] = [int(n) for n in rng.permutation(total + 2)[:total]]
    feeds = {"x": x}
    model = one_node("TfIdfVectorizer", feeds, opset=9, **attrs)
    (mine,), (theirs,) = run_opml(model, feeds), run_onnxruntime(model, feeds)
    assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"mode": "BM25"}, "BM25"),
        ({"ngram_indexes": [0, 1, 1]}, "ngram_indexes"),
        ({"ngram_indexes": [0, 1, -2]}, "ngram_indexes"),
        ({"ngram_indexes": [0, 1]}, "ngram_indexes"),
        ({"ngram_indexes": [0, 1, 1 << 62]}, "constants"),
        ({"ngram_counts": [0, 3]}, "ngram_counts"),
        ({"ngram_counts": [2, 0]}, "ngram_counts"),
        ({"ngram_counts": [0, 1 << 62]}, "ngram_counts"),
        ({"min_gram_length": 3}, "n-grams of 3 to 2"),
        ({"max_skip_count": -1}, "skipped"),
        ({"pool_strings": ["a"]}, "pool_strings"),
        ({"mode": "IDF", "weights": [1.0, 2.0, 3.0]}, "weights"),
        ({"mode": "IDF", "ngram_indexes": [0, 1, 2], "weights": [1.0]}, "weights"),
    ],
)
def test_what_makes_no_table_is_refused(changed: dict[str, Any], word: str) -> None:
    model = one_node("TfIdfVectorizer", {"x": np.ones((2, 5), np.int64)}, opset=9, **(ATTRS | changed))
    with pytest.raises(UnsupportedError, match=word):
        compile_graph(model.SerializeToString())
