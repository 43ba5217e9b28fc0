"""The primitive operators, a file per family."""
