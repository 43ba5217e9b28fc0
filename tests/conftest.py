"""Compilation of a kernel falls into some example's time: no deadlines."""

from hypothesis import settings

settings.register_profile("compiling", deadline=None)
settings.load_profile("compiling")
