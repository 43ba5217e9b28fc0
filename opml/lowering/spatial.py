"""The rules for images and signals, from files of their own."""

from opml.lowering import channel_norm, padding, regions, resize, signal, transposed, windows  # noqa: F401
