"""Gate of an engine that identical blocks share: frames pass it once for every block, interleaved with others."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..streams import DType, Stream
from .base import Constants, FoldingError, Resources
from .cost import MUX_LUT
from .elementwise import ElementwiseLayer
from .storage import Store

#: most frames under way; the schedule has twice as many entries
MOST_IN_FLIGHT = 8
MOST_ROUNDS = 16


class Loop(ElementwiseLayer):
    """in0 new frames, in1 frames that return from the engine; out0 into the engine, out1 finished frames; all (*dims).

    A frame goes round ``rounds`` times; ``in_flight`` frames at most are under way. `passes/share.py` puts it into a
    graph, whose golden model runs the engine's layers round by round (`ops.execute`).
    """

    stem: ClassVar[str] = "loop"

    dtype: str = "INT8"
    rounds: int = 1
    in_flight: int = 4

    def check(self) -> None:
        super().check()
        for name, value, most in (("rounds", self.rounds, MOST_ROUNDS), ("in_flight", self.in_flight, MOST_IN_FLIGHT)):
            if not 1 <= value <= most:
                raise FoldingError(f"{name}={value} is not supported.", where="layer loop", do=f"choose 1 to {most}")

    def inputs(self) -> list[Stream]:
        return [self.stream(DType.from_name(self.dtype))] * 2

    def outputs(self) -> list[Stream]:
        return self.inputs()

    def golden(self, inputs: list[np.ndarray], constants: Constants) -> list[np.ndarray]:
        """One round; with more, what returns depends on what goes out."""
        if self.rounds != 1:
            raise ValueError("loop: rounds > 1 needs the engine; run the graph with ops.execute")
        return list(inputs)

    def golden_of_returns(self, new: np.ndarray, back: np.ndarray) -> list[np.ndarray]:
        """What a gate puts out whose engine returns a frame at once, so that no other one enters meanwhile.

        Args:
            new: (F, *dims). back: (F * rounds, *dims), whatever the engine made of out0.
        Returns:
            out0 (F * rounds, *dims), out1 (F, *dims).
        """
        returns = back.reshape(len(new), self.rounds, *new.shape[1:])
        entered = np.concatenate([new[:, None], returns[:, :-1]], axis=1)
        return [entered.reshape(back.shape), returns[:, -1]]

    def cycles(self) -> int:
        """One cycle a frame between two frames, to choose."""
        return self.rounds * (self.inputs()[0].beats + 1)

    def stores(self) -> tuple[Store, ...]:
        st = self.inputs()[0]
        return (Store("RAM", st.width, st.beats),)

    def resources(self) -> Resources:
        return self.total(190 + (1 + MUX_LUT) * self.inputs()[0].width)

    def rtl_parameters(self) -> dict[str, int]:
        st = self.inputs()[0]
        return {"WIDTH": st.width, "BEATS": st.beats, "ROUNDS": self.rounds, "IN_FLIGHT": self.in_flight}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            dict(dims=[5, 6], SIMD=3),
            dict(dims=[4, 3, 5], dtype="BIPOLAR", SIMD=5, TP=3, in_flight=1),
            dict(dims=[6, 8], dtype="INT11", SIMD=8, TP=6, in_flight=8),
        ]
