"""Which instances of a layer the C simulation runs: shapes from the declaration's examples, in several foldings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from ..layers.base import FoldingError, Layer

#: attributes that fold, wherever they appear
FOLDINGS = ("PE", "SIMD", "TP", "LP", "PIXELS", "SIMD_IN", "SIMD_OUT", "TP_IN", "TP_OUT")
#: attributes that say how large a layer is, and may be varied one by one
EXTENTS = ("dims", "token_dims", "channels", "in_channels", "out_channels", "classes", "tokens", "windows", "heads",
           "head_dim", "width", "height")


def try_layer(cls: type[Layer], attrs: dict[str, Any]) -> Layer | None:
    """The layer, or None where these attributes are not possible."""
    try:
        return cls(**attrs)
    except (FoldingError, ValidationError, ValueError):
        return None


def foldings(cls: type[Layer], attrs: dict[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """Up to ``count`` different foldings of a shape, the given one first, the others drawn at random."""
    base = cls(**attrs)
    names = [f for f in FOLDINGS if f in cls.model_fields]
    extents = {n for s in (*base.inputs(), *base.outputs()) for n in (s.channels, s.tokens)}
    extents |= {getattr(base, e) for e in EXTENTS if isinstance(getattr(base, e, None), int)}
    choices = sorted({d for n in extents for d in range(1, min(n, 64) + 1) if n % d == 0})
    draw = random.Random(seed)
    found = [{n: getattr(base, n) for n in names}]
    for _ in range(600):
        if len(found) >= count or not names:
            break
        folding = {n: draw.choice(choices) for n in names}
        if folding not in found and try_layer(cls, attrs | folding):
            found.append(folding)
    return [attrs | f for f in found]


def _varied(attrs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same shape with one extent more, or twice as large; foldings are drawn anew for it."""
    plain = {k: v for k, v in attrs.items() if k not in FOLDINGS}
    for name in EXTENTS:
        value = plain.get(name)
        if isinstance(value, int):
            yield plain | {name: 2 * value}
            yield plain | {name: value + 1}
        elif isinstance(value, list):
            yield plain | {name: [*value[:-1], 2 * value[-1]]}
            yield plain | {name: [value[0] + 1, *value[1:]]}


def spread(cls: type[Layer], shapes: int = 5, per_shape: int = 3) -> list[Layer]:
    """Every example that can be built, in ``per_shape`` foldings, and variations of them up to ``shapes`` such shapes.

    A shape that has fewer foldings is kept but does not count.
    """
    found: list[Layer] = []
    seen: list[dict[str, Any]] = []
    full = 0
    for attrs in _shapes(cls):
        if full >= shapes and len(seen) >= len(cls.examples()):
            break
        shape = {k: v for k, v in attrs.items() if k not in FOLDINGS}
        if shape in seen or try_layer(cls, attrs) is None:
            continue
        folded = foldings(cls, attrs, per_shape, seed=len(seen))
        if len(seen) >= len(cls.examples()) and len(folded) < per_shape:
            continue
        seen.append(shape)
        full += len(folded) >= per_shape
        found += [cls(**a) for a in folded]
    return found


def _shapes(cls: type[Layer]) -> Iterator[dict[str, Any]]:
    yield from cls.examples()
    for attrs in cls.examples():
        yield from _varied(attrs)
