"""Rotary embeddings, in ONNX's and in ONNX Runtime's domain."""

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers


def rotate(c: Call, x: str, cosines: str, sines: str, heads: int, interleaved: int, dim: int = 0) -> str:
    """Turns x [B, heads, S, D], or [B, S, heads * D], by tables [B or 1, S, pairs]; all of a head, or `dim` of it."""
    shape = c.build.shape(x)
    tables = c.build.shape(cosines)
    flat = len(shape) == 3
    if flat:
        # The heads of a row lie together: each row is a batch of its own.
        if heads < 1 or shape[2] % heads:
            raise UnsupportedError(f"a tensor of shape {list(shape)} has no {heads} heads")
        if tables[0] == 1 and shape[0] > 1:
            cosines, sines = (c.emit("expand", [table], shape=[shape[0], *tables[1:]]) for table in (cosines, sines))
        rows = shape[0] * shape[1]
        x = c.view(x, (rows, heads, 1, shape[2] // heads))
        cosines, sines = (c.view(table, (rows, 1, tables[2])) for table in (cosines, sines))
    depth = c.build.shape(x)[3]
    if tables[2] != (dim or depth) // 2:
        raise UnsupportedError(f"tables of {tables[2]} angles for {dim or depth} elements")
    return c.view(c.emit("rotary", [x, cosines, sines], interleaved=interleaved), shape)


def take_rows(c: Call, table: str, positions: str) -> str:
    """The rows of a table at some positions."""
    memory = c.build.memory
    if memory is not None and positions == memory.position and (row := memory.row(table)):
        return row
    return c.emit("gather", [table, positions], axis=0)


def span(c: Call, table: str, start: int, count: int) -> str:
    """The rows from `start` on of a table [positions, pairs], as [1, count, pairs]."""
    pairs = c.build.shape(table)[1]
    part = c.emit("slice", [table], starts=[start, 0], steps=[1, 1], sizes=[count, pairs])
    return c.view(part, (1, count, pairs))


def rows_of(c: Call, table: str, positions: str) -> str:
    """The rows of a table [positions, pairs] at [B, S] positions, or the table [B, S, pairs] itself without any."""
    return take_rows(c, table, positions) if positions else table


@lowers("RotaryEmbedding")
def rotary_embedding(c: Call) -> str:
    positions = c.optional(3)
    cosines, sines = (rows_of(c, c.input(index), positions) for index in (1, 2))
    dim, interleaved = c.integer("rotary_embedding_dim", 0), c.flag("interleaved")
    return rotate(c, c.input(0), cosines, sines, c.integer("num_heads", 0), interleaved, dim)


@lowers("com.microsoft.RotaryEmbedding")
def microsoft_rotary_embedding(c: Call) -> str:
    """Positions are the second input: [B, S] of them, or the first of S."""
    c.only("is_packed_batching", 0)
    c.only("scale", 1.0)
    x, positions, shape = c.input(0), c.input(1), c.shape(0)
    rows = shape[-2]
    if c.build.type(positions).elements == 1 and c.rank(1) == 1:
        positions = c.emit("add", [c.view(positions, (1, 1)), c.view(c.build.arange(rows), (1, rows))])
    cosines, sines = (take_rows(c, c.input(index), positions) for index in (2, 3))
    dim, pairs = c.integer("rotary_embedding_dim", 0), c.build.shape(cosines)[2]
    heads = c.integer("num_heads", 0) or (shape[2] // (dim or 2 * pairs) if len(shape) == 3 else 0)
    return rotate(c, x, cosines, sines, heads, c.flag("interleaved"), dim)
