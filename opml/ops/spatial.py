"""The primitives of images and signals, from files of their own."""

from opml.ops import conv_nd, deform, eliminate, fold_blocks, grid_sample, pool_index, resample, roi

_FILES = (conv_nd, resample, grid_sample, deform, roi, fold_blocks, pool_index, eliminate)

OPS = [op for file in _FILES for op in file.OPS]
