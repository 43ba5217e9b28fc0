"""Classical models as scikit-learn's converter writes them: scaled features, linear models, classes by number."""

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers
from opml.lowering.normalisation import softmax_rows


@lowers("ai.onnx.ml.Scaler")
def scaler(c: Call) -> str:
    """(x - offset) * scale, each one number for all or one for each feature."""
    x, features = _numbers(c), c.shape()[-1] if c.rank() else 1
    for op, name in (("sub", "offset"), ("mul", "scale")):
        values = c.numbers(name)
        if values is None:
            continue
        if len(values) not in (1, features):
            raise UnsupportedError(f"attribute {name!r} has {len(values)} numbers for {features} features")
        x = c.emit(op, [x, c.build.shared(np.array(values, np.float32))])
    return x


@lowers("ai.onnx.ml.Normalizer")
def normalizer(c: Call) -> str:
    """Rows divided by their greatest element or their norm; rows where that is 0 stay as they are."""
    x, norm = _numbers(c), c.text("norm", "MAX")
    _matrix(c)
    over: dict[str, int | list[int]] = {"axes": [1], "keepdims": 1}
    if norm == "MAX":
        size = c.emit("reduce_max", [x], **over)
    elif norm == "L1":
        size = c.emit("reduce_sum", [c.emit("abs", [x])], **over)
    elif norm == "L2":
        size = c.emit("sqrt", [c.emit("reduce_sum", [c.emit("mul", [x, x])], **over)])
    else:
        raise UnsupportedError(f"attribute 'norm' is {norm!r}; opml has 'MAX', 'L1' and 'L2'")
    none = c.emit("equal", [size, c.build.scalar(0.0)])
    return c.emit("div", [x, c.emit("where", [none, c.build.scalar(1.0), size])])


@lowers("ai.onnx.ml.LinearRegressor")
def linear_regressor(c: Call) -> str:
    """x @ coefficients' + intercepts."""
    c.only("post_transform", "NONE")
    return _scores(c, c.integer("targets", 1))


@lowers("ai.onnx.ml.LinearClassifier")
def linear_classifier(c: Call) -> list[str]:
    """The number of the class with the first of the greatest scores, and what `post_transform` makes of the scores."""
    labels, after = c.integers("classlabels_ints"), c.text("post_transform", "NONE")
    c.ignore("multi_class")
    if not labels:
        raise UnsupportedError("its classes are no integers; opml has no strings")
    if len(labels) < 2 or len(c.numbers("intercepts") or labels) != len(labels):
        raise UnsupportedError(f"{len(labels)} classes with scores for {len(c.numbers('intercepts') or labels)}")
    scores = _scores(c, len(labels))
    best = c.emit("argmax", [scores], axis=1, keepdims=0, least=0, select_last=0)
    label = c.emit("gather", [c.build.constant(np.array(labels, np.int64)), best], axis=0)
    if after == "LOGISTIC":
        return [label, c.emit("sigmoid", [scores])]
    if after == "SOFTMAX":
        return [label, softmax_rows(c, scores, 1)]
    if after != "NONE":
        raise UnsupportedError(f"attribute 'post_transform' is {after!r}; opml has NONE, LOGISTIC and SOFTMAX")
    return [label, scores]


@lowers("ai.onnx.ml.ArrayFeatureExtractor")
def array_feature_extractor(c: Call) -> str:
    """The columns that the second input names; a vector is one row."""
    x = c.input() if c.rank() != 1 else c.view(c.input(), (1, *c.shape()))
    rank = len(c.build.shape(x))
    if not rank or 0 in c.shape(1):
        raise UnsupportedError(f"columns {list(c.shape(1))} of a tensor of shape {list(c.shape())}")
    columns = c.view(c.input(1), (int(np.prod(c.shape(1))),))
    return c.emit("gather", [x, columns], axis=rank - 1)


def _scores(c: Call, count: int) -> str:
    """One linear function of the features for each class or target."""
    x, features = _numbers(c), _matrix(c)[1]
    weights, intercepts = c.numbers("coefficients") or [], c.numbers("intercepts")
    if count < 1 or len(weights) != count * features or len(intercepts or [0.0] * count) != count:
        raise UnsupportedError(f"{len(weights)} coefficients for {count} functions of {features} features")
    matrix = c.build.constant(np.array(weights, np.float32).reshape(count, features))
    bias = [c.build.constant(np.array(intercepts, np.float32))] if intercepts else []
    return c.emit("matmul", [x, matrix, *bias], trans_a=0, trans_b=1)


def _matrix(c: Call) -> tuple[int, int]:
    """The shape of the input, rows of features."""
    if c.rank() != 2 or 0 in c.shape():
        raise UnsupportedError(f"a tensor of shape {list(c.shape())}; opml has rows of features")
    return c.shape()[0], c.shape()[1]


def _numbers(c: Call) -> str:
    return c.input() if c.is_float(c.input()) else c.emit("cast", [c.input()], to="float32")
