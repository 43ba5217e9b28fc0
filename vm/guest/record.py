"""The node record: how a node of a program lies in memory, for the guest and for native kernels alike.

A record is RECORD_WORDS little-endian 64-bit words. The table at TABLE_BASE starts with a header of one record's size:
magic, node count, total tiles M, zero, then four words that the guest does not read (a hash of the program's
interface), then, for a program that is repeated, how often it may run, its tiles per iteration and the address of
the int32 that says how often it does run; then zeros. The records follow in execution order.
A native kernel gets a copy of the record in which the tensors' addresses are host pointers.
"""

from typing import Final

GUEST_BASE: Final = 0
GUEST_LOG2: Final = 20
TABLE_BASE: Final = 1 << 24
TABLE_MAX_LOG2: Final = 24
TABLE_MAGIC: Final = 0x314C4D504F  # "OPML1"
TABLE_INTERFACE: Final = 4
TABLE_COUNT: Final = 8
TABLE_BODY: Final = 9
TABLE_LENGTH: Final = 10

RECORD_WORDS: Final = 64
RECORD_BYTES: Final = RECORD_WORDS * 8
MAX_INPUTS: Final = 8

# Word indices. In a program that is repeated, the addresses are those of the first iteration, and the words from
# WORD_STRIDE on are the distances in bytes from one iteration's output and inputs to the next one's. A kernel gets a
# copy with the addresses of its iteration, whose number, from 0, is in WORD_ITERATION (in the table it is 0).
WORD_OP: Final = 0
WORD_FIRST_TILE: Final = 1
WORD_TILES: Final = 2
WORD_OUT: Final = 3
WORD_INPUT: Final = 4
WORD_ITERATION: Final = WORD_INPUT + MAX_INPUTS
WORD_STRIDE: Final = WORD_ITERATION + 1
WORD_PARAM: Final = 24
PARAMS: Final = RECORD_WORDS - WORD_PARAM
