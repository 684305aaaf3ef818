"""CRC-32 of a concatenation from the CRCs of its parts, as zlib's ``crc32_combine`` (Python's zlib does not offer it)."""

from __future__ import annotations

_POLYNOMIAL = 0xEDB88320  # RFC 1952, section 8, bits reversed


def crc32_combine(first: int, second: int, length: int) -> int:
    """The CRC-32 of A + B from those of A and of B, where B is ``length`` bytes long.

    Appending zeros to A is linear over GF(2): the operator for one zero bit is a 32 x 32 matrix, squared for each bit of
    ``length``. About 1 ms for any length.
    """
    operator = [_POLYNOMIAL] + [1 << n for n in range(31)]
    length *= 8
    while length:
        if length & 1:
            first = _times(operator, first)
        operator = [_times(operator, column) for column in operator]
        length >>= 1
    return first ^ second


def _times(matrix: list[int], vector: int) -> int:
    total = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            total ^= column
        vector >>= 1
    return total
