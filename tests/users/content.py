"""The bytes that servers send and clients expect: no part of them repeats."""

import random

DATA = random.Random(20).randbytes(5 << 20)


def data(length, offset=0):
    """So many bytes of the content, from an offset on."""
    assert 0 <= offset <= offset + length <= len(DATA)
    return DATA[offset : offset + length]
