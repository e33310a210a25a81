"""Tensors to the bytes that the accelerator's streams take, and back: numpy only, no loop over elements.

The innermost dimension is packed: element 0 in the least significant bits of byte 0, `bits` per element, two's
complement, zeros up to a whole byte. +-1 data (BIPOLAR) is one bit, 1 for +1. In FINN's terms this is
`finnpy_to_packed_bytearray(x, dtype, reverse_inner=True, reverse_endian=True)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd

import numpy as np

from .errors import HostError

_NAME = re.compile(r"(?:DataType\[['\"])?(BIPOLAR|BINARY|U?INT(\d+))(?:['\"]\])?")
#: elements of any packed type that are packed at a time: the temporary arrays stay in the cache
_BLOCK = 1 << 16
#: the lowest bit of each of eight bytes
_ODD = 0x0101010101010101


@dataclass(frozen=True)
class DataType:
    """An integer type by FINN's name: BIPOLAR, BINARY, INT<n>, UINT<n> with n up to 32."""

    name: str
    bits: int
    signed: bool

    @classmethod
    def of(cls, name: str | DataType) -> DataType:
        """Read a name; `DataType['INT8']` is understood too. Raises HostError for an unknown type."""
        if isinstance(name, DataType):
            return name
        found = _NAME.fullmatch(str(name).strip())
        bits = int(found[2]) if found and found[2] else 1
        if found is None or not 1 <= bits <= 32:
            raise HostError("The data type is not known.", repr(name), do="use BIPOLAR, BINARY, INT<n> or UINT<n>, "
                            "n from 1 to 32")
        return cls(found[1], bits, found[1] == "BIPOLAR" or found[1].startswith("INT"))

    @property
    def bipolar(self) -> bool:
        return self.name == "BIPOLAR"

    @property
    def min(self) -> int:
        return -1 if self.bipolar else -(1 << self.bits - 1) if self.signed else 0

    @property
    def max(self) -> int:
        return 1 if self.bipolar else (1 << self.bits - int(self.signed)) - 1

    @property
    def container(self) -> np.dtype:
        """The smallest numpy integer that holds it."""
        size = next(s for s in (1, 2, 4) if 8 * s >= self.bits)
        return np.dtype(f"{'i' if self.signed else 'u'}{size}")

    def packed_bytes(self, elements: int) -> int:
        """Bytes of so many packed elements."""
        return (elements * self.bits + 7) // 8


def pack(x: np.ndarray, dtype: str | DataType, out: np.ndarray | None = None) -> np.ndarray:
    """Pack the innermost dimension.

    Args:
        x: values (..., n) of any integer or float type. dtype: their type. out: uint8 (..., ceil(n * bits / 8)), e.g. a
            view of a DMA buffer, to be filled.
    Raises:
        HostError: a value is no integer of that type.
    """
    t = DataType.of(dtype)
    x = np.asarray(x)
    shape = (*x.shape[:-1], t.packed_bytes(x.shape[-1]))
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8:
        raise HostError("The output array does not fit.", why=f"it is {out.dtype} {out.shape}, needed is uint8 {shape}")
    if not x.size:
        return out
    if t.bits == 1:
        bits = _bits(x, t)
        if x.shape[-1] % 8:
            whole = np.zeros((*shape[:-1], 8 * shape[-1]), np.bool_)
            whole[..., :x.shape[-1]] = bits
            bits = whole
        # numpy takes one long row four times as fast as many short ones
        out[...] = np.packbits(bits.reshape(-1), bitorder="little").reshape(shape)
        return out
    x = _integers(x, t)
    if t.bits in (8, 16, 32):
        wide = np.ascontiguousarray(x, t.container.newbyteorder("<"))
        out[...] = wide.view(np.uint8).reshape(shape)
        return out
    per = 8 // gcd(t.bits, 8)  # elements whose bits fill whole bytes
    if x.shape[-1] % per == 0 and out.flags.c_contiguous:
        _pack_any(np.ascontiguousarray(x).reshape(-1), t.bits, out.reshape(-1))
        return out
    padded = np.zeros((*x.shape[:-1], -(-x.shape[-1] // per) * per), x.dtype)
    padded[..., :x.shape[-1]] = x
    flat = np.empty(padded.size * t.bits // 8, np.uint8)
    _pack_any(padded.reshape(-1), t.bits, flat)
    out[...] = flat.reshape(*x.shape[:-1], -1)[..., :shape[-1]]
    return out


def unpack(data: np.ndarray, dtype: str | DataType, elements: int) -> np.ndarray:
    """Inverse of :func:`pack`: uint8 (..., bytes) to (..., elements) in the type's numpy container."""
    t = DataType.of(dtype)
    data = np.asarray(data)
    need = t.packed_bytes(elements)
    if data.dtype != np.uint8 or data.shape[-1] != need:
        raise HostError("The packed data does not fit.", why=f"it is {data.dtype} {data.shape}; {elements} {t.name} "
                        f"need {need} bytes")
    shape = (*data.shape[:-1], elements)
    if t.bits == 1:
        if elements % 8 == 0:
            bits = np.unpackbits(data.reshape(-1), bitorder="little").reshape(shape)
        else:
            bits = np.unpackbits(data, axis=-1, count=elements, bitorder="little")
        if not t.signed:
            return bits
        values = np.left_shift(bits, 1, out=bits).view(np.int8) if t.bipolar else bits.view(np.int8)
        return np.subtract(values, 1, out=values) if t.bipolar else np.negative(values, out=values)
    if t.bits in (8, 16, 32):
        wide = np.ascontiguousarray(data).view(t.container.newbyteorder("<")).reshape(shape)
        return wide.astype(t.container)
    per = 8 // gcd(t.bits, 8)
    groups = -(-elements // per)
    unit = per * t.bits // 8
    if groups * unit != data.shape[-1]:
        padded = np.zeros((*data.shape[:-1], groups * unit), np.uint8)
        padded[..., :data.shape[-1]] = data
        data = padded
    flat = np.ascontiguousarray(data).reshape(-1)
    out = np.empty(flat.size // unit * per, t.container)
    _unpack_any(flat, t, out)
    return out.reshape(*shape[:-1], groups * per)[..., :elements]


def _bits(x: np.ndarray, t: DataType) -> np.ndarray:
    """One bit per element as bool, after a check of the values."""
    if t.bipolar:
        if x.dtype == np.int8 and x.size % 8 == 0 and x.flags.c_contiguous:  # within [-1, 1], and all are odd
            odd = int(np.bitwise_and.reduce(x.reshape(-1).view(np.uint64))) & _ODD == _ODD
            good = odd and x.min() >= -1 and x.max() <= 1
        else:
            good = (np.abs(x) == 1).all()
        if not good:
            _refuse(x, t)
        return x > 0
    bits = x != 0
    if x.dtype != np.bool_ and not ((x == t.min) | (x == t.max)).all():
        _refuse(x, t)
    return bits


def _integers(x: np.ndarray, t: DataType) -> np.ndarray:
    """The values as integers that hold the type, after a check of the range where one is needed."""
    if x.dtype.kind == "f":
        whole = x.astype(np.int64)
        if not (whole == x).all():
            _refuse(x, t)
        x = whole
    elif x.dtype.kind not in "iub":
        _refuse(x, t)
    if x.dtype != t.container or t.bits != 8 * x.dtype.itemsize:
        low, high = int(x.min()), int(x.max())
        if low < t.min or high > t.max:
            _refuse(x, t)
    return x if x.dtype == t.container else x.astype(t.container)


def _refuse(x: np.ndarray, t: DataType) -> None:
    span = f" in [{x.min()}, {x.max()}]" if x.dtype.kind in "iufb" else ""
    raise HostError(f"The values are no {t.name}.", why=f"they are {x.dtype}{span}, allowed are "
                    + ("-1 and +1" if t.bipolar else f"integers in [{t.min}, {t.max}]"))


def _pack_any(x: np.ndarray, bits: int, out: np.ndarray) -> None:
    """x (n,) integers, n * bits a multiple of 8, to out (n * bits / 8,) uint8."""
    if bits == 24:
        _pack_24(x, out)
        return
    per = 8 // gcd(bits, 8)
    unit = per * bits // 8
    block = max(1, _BLOCK // per)
    mask = np.uint64((1 << bits) - 1)
    for start in range(0, len(x) // per, block):
        group = x[start * per:(start + block) * per].reshape(-1, per)
        target = out[start * unit:(start + block) * unit].reshape(-1, unit)
        columns = [group[:, j].astype(np.int64).view(np.uint64) & mask for j in range(per)]
        for byte in range(unit):  # every byte takes bits of one element or of several
            value = np.zeros(len(group), np.uint64)
            for j in range(byte * 8 // bits, -(-(byte * 8 + 8) // bits)):
                shift = byte * 8 - j * bits
                value |= columns[j] >> np.uint64(shift) if shift >= 0 else columns[j] << np.uint64(-shift)
            target[:, byte] = value.astype(np.uint8)


def _pack_24(x: np.ndarray, out: np.ndarray) -> None:
    """Every element is written as four bytes, three bytes apart and in ascending order: the next one covers the top
    byte. The last one must not write behind the end."""
    if len(x) > 1:
        np.ndarray((len(x) - 1,), "<i4", out, strides=(3,))[:] = x[:-1]
    out[-3:] = np.ascontiguousarray(x[-1:], "<i4").view(np.uint8)[:3]


def _unpack_24(data: np.ndarray, t: DataType, out: np.ndarray) -> None:
    """Every element is read with the byte before it, and shifted into place with its sign."""
    word = "<i4" if t.signed else "<u4"
    if len(out) > 1:
        out[1:] = np.ndarray((len(out) - 1,), word, data, offset=2, strides=(3,))
    out[:1] = np.array([0, *data[:3]], np.uint8).view(word)
    np.right_shift(out, 8, out=out)


def _unpack_any(data: np.ndarray, t: DataType, out: np.ndarray) -> None:
    """data (m,) uint8 to out (m * 8 / bits,), sign extended."""
    if t.bits == 24:
        _unpack_24(data, t, out)
        return
    bits, per = t.bits, 8 // gcd(t.bits, 8)
    unit = per * bits // 8
    block = max(1, _BLOCK // per)
    lift = np.uint64(64 - bits)
    for start in range(0, len(data) // unit, block):
        group = data[start * unit:(start + block) * unit].reshape(-1, unit)
        target = out[start * per:(start + block) * per].reshape(-1, per)
        for j in range(per):
            value = np.zeros(len(group), np.uint64)
            for byte in range(j * bits // 8, -(-(j + 1) * bits // 8)):
                shift, column = byte * 8 - j * bits, group[:, byte].astype(np.uint64)
                value |= column << np.uint64(shift) if shift >= 0 else column >> np.uint64(-shift)
            raised = value << lift
            target[:, j] = (raised.view(np.int64) >> np.int64(64 - bits)) if t.signed else raised >> lift
