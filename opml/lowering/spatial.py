"""The rules for images and signals, from files of their own."""

from opml.lowering import transposed, windows  # noqa: F401  (register rules)
