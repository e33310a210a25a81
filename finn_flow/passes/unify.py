"""Make layers that differ in shifts and widths equal, exactly, so that one engine can do the work of all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..layers.base import Constants, Layer

Group = tuple[list[dict], list[Constants]]


class CannotShare(ValueError):
    """Layers differ in something that no constant can absorb; the message names the field and its values."""


def unify(group: list[Layer], constants: list[Constants]) -> tuple[Layer, list[Constants]]:
    """One declaration for layers of the same kind, and the constants of each under it (with one set).

    The layers keep their functions: only shifts, widths and constants change. The result still lacks ``sets``.
    Raises:
        CannotShare: they differ in shape or in another field that has no rule.
    """
    cls = type(group[0])
    fields, constants = [g.model_dump() for g in group], [dict(c) for c in constants]
    extra = RULES.get(cls.stem, lambda f, c: {})(fields, constants)
    _widths(cls, fields, constants)
    different = {k: [f[k] for f in fields] for k in fields[0] if any(f[k] != fields[0][k] for f in fields)}
    different = {k: v for k, v in different.items() if k not in extra}
    if different:
        raise CannotShare("; ".join(f"{k} is {', '.join(map(str, v))}" for k, v in different.items()))
    # `sets` is set by the caller; with several sets eps_sets and s1_sets are legal
    return _build(cls, {**fields[0], **extra}, len(group)), constants


def _build(cls: type[Layer], fields: dict, sets: int) -> Layer:
    return cls(**{**fields, "sets": sets})


def _bits(values: np.ndarray) -> int:
    """Bits of two's complement that hold all values."""
    low, high = int(values.min()), int(values.max())
    return max((high if high >= 0 else ~high).bit_length(), (low if low >= 0 else ~low).bit_length()) + 1


WIDTHS = {"m": "m_bits", "o": "o_bits", "p": "slope_bits", "n": "slope_bits", "o2": "o2_bits", "coef": "coef_bits",
          "ca": "coef_bits", "cb": "coef_bits", "pa": "coef_bits", "pb": "coef_bits", "t": "t_bits"}


def _widths(cls: type[Layer], fields: list[dict], constants: list[Constants]) -> None:
    """Every width of constants becomes what the widest needs, and no less than it was."""
    need: dict[str, int] = {}
    for name, width in WIDTHS.items():
        if name in constants[0] and width in fields[0]:
            values = max(_bits(c[name]) for c in constants)
            need[width] = max(need.get(width, 0), values, *(f[width] for f in fields))
    for f in fields:
        f.update(need)


def _raise_shift(fields: list[dict], constants: list[Constants], shift: str, scaled: tuple[str, ...],
                 then: Callable[[dict, Constants, int], None] = lambda f, c, d: None) -> None:
    """Bring field ``shift`` to the largest by multiplying the named constants; ``then`` does what else follows."""
    top = max(f[shift] for f in fields)
    for f, c in zip(fields, constants):
        d = top - f[shift]
        f[shift] = top
        for name in scaled:
            if name in c:
                c[name] = c[name] << d
        then(f, c, d)


def _per_set(fields: list[dict], constants: list[Constants], values: list[int], most: str, name: str) -> None:
    """A constant per set that holds the differences to the least value."""
    low = min(values)
    spread = max(values) - low
    if not spread:
        return
    for f, c, v in zip(fields, constants, values):
        f[most] = spread
        c[name] = np.array([[v - low]], np.int64)


def _epilogue(fields: list[dict], constants: list[Constants]) -> dict:
    def first(f: dict, c: Constants, d: int) -> None:
        if f["res1"]:
            f["rm"] <<= d

    def second(f: dict, c: Constants, d: int) -> None:
        if f["res2"]:
            f["k2"] += d

    if any(isinstance(f["sh1"], list) for f in fields):
        return {}
    if any(f["rs_max"] or f["ks_max"] for f in fields):
        raise CannotShare("a layer is shared already")
    _raise_shift(fields, constants, "sh1", ("m", "o"), first)
    if fields[0]["act"]:
        _raise_shift(fields, constants, "sh2", ("p", "n", "o2"), second)
    if fields[0]["res1"]:
        odd = {f["rm"] // (f["rm"] & -f["rm"]) for f in fields}
        if len(odd) > 1:
            raise CannotShare(f"rm is {', '.join(str(f['rm']) for f in fields)}: no powers of two times one number")
        values = [(f["rm"] & -f["rm"]).bit_length() - 1 for f in fields]
        _per_set(fields, constants, values, "rs_max", "rs")
        for f in fields:
            f["rm"] = odd.copy().pop() << min(values)
    if fields[0]["res2"]:
        values = [f["k2"] for f in fields]
        _per_set(fields, constants, values, "ks_max", "ks")
        for f in fields:
            f["k2"] = min(values)
    return {}


def _shift(fields: list[dict], constants: list[Constants]) -> dict:
    def then(f: dict, c: Constants, d: int) -> None:
        f["ky"] += d

    _raise_shift(fields, constants, "sh", ("coef", "o"), then)
    values = [f["ky"] for f in fields]
    _per_set(fields, constants, values, "ks_max", "ks")
    for f in fields:
        f["ky"] = min(values)
    return {}


def _blend(wide: str, narrow: str) -> Callable[[list[dict], list[Constants]], dict]:
    """((a << ka) + b + o) >> sh"""
    def rule(fields: list[dict], constants: list[Constants]) -> dict:
        def then(f: dict, c: Constants, d: int) -> None:
            f["ka"] += d

        _raise_shift(fields, constants, "sh", (narrow, "o"), then)
        low = min(f["ka"] for f in fields)
        for f, c in zip(fields, constants):
            c[wide] = c[wide] << (f["ka"] - low)
            f["ka"] = low
        return {}

    return rule


def _layer_norm(fields: list[dict], constants: list[Constants]) -> dict:
    _raise_shift(fields, constants, "sh", ("m", "o"))
    found: dict = {}
    for one, sets in (("eps_int", "eps_sets"), ("s1", "s1_sets")):
        values = [f[one] for f in fields]
        if len(set(values)) > 1:
            found |= {one: max(values), sets: values}
    return found


def _qd_attention(fields: list[dict], constants: list[Constants]) -> dict:
    _raise_shift(fields, constants, "es", ("t",))  # e << es >= t*S
    return {}


RULES: dict[str, Callable[[list[dict], list[Constants]], dict]] = {
    "affine": _epilogue, "binary_linear": _epilogue, "int_linear": _epilogue, "shift": _shift,
    "window_concat": _blend("ca", "cb"), "window_merge": _blend("pa", "pb"), "layer_norm": _layer_norm,
    "qd_attention": _qd_attention}
"""How differences between blocks are absorbed, by stem; other layers must be equal but for widths of constants."""
