// SPDX-License-Identifier: MIT
// Rotate, extend or cut the row order of a map: output row k is input row (START + k) mod HEIGHT.
// FRAME = 0 passes rows through and keeps only those that come back; FRAME = 1 loads a frame while the one before is
// put out. One beat per cycle.
#ifndef BHVIT_WRAP_ROWS_HPP
#define BHVIT_WRAP_ROWS_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P, typename B> void wrap_rows_load(hls::stream<B>& in, B frame[P::In0::BEATS]) {
  for (int a = 0; a < P::In0::BEATS; a++) {
#pragma HLS PIPELINE II=1
    frame[a] = in.read();
  }
}

template <typename P, typename B> void wrap_rows_emit(const B frame[P::In0::BEATS], hls::stream<B>& out) {
  constexpr int ROW = P::In0::BEATS / P::HEIGHT;
  int row = P::START;
  for (int k = 0; k < P::COUNT; k++) {
    for (int a = 0; a < ROW; a++) {
#pragma HLS PIPELINE II=1
      out.write(frame[row * ROW + a]);
    }
    row = row == P::HEIGHT - 1 ? 0 : row + 1;
  }
}

template <typename P, int FRAME> struct WrapRows {
  template <typename S> static void run(S& out, S& in) {
    constexpr int ROW = P::In0::BEATS / P::HEIGHT, END = P::START + P::COUNT;
    constexpr int KEPT = min_of(P::HEIGHT, max_of(END - P::HEIGHT, 1));
    typename P::In0::beat kept[KEPT * ROW];
    int row = 0;  // of the map
    for (int r = 0; r < max_of(P::HEIGHT, END); r++) {
      for (int a = 0; a < ROW; a++) {
#pragma HLS PIPELINE II=1
        const bool again = r >= P::HEIGHT;
        typename P::In0::beat x;
        if (again)
          x = kept[row * ROW + a];
        else
          x = in.read();
        if (!again && r < KEPT) kept[r * ROW + a] = x;
        if (r >= P::START && r < END) out.write(x);
      }
      row = row == P::HEIGHT - 1 ? 0 : row + 1;
    }
  }
};
template <typename P> struct WrapRows<P, 1> {
  template <typename S> static void run(S& out, S& in) {
#pragma HLS DATAFLOW
    typename P::In0::beat frame[P::In0::BEATS];
    wrap_rows_load<P>(in, frame);
    wrap_rows_emit<P>(frame, out);
  }
};

template <typename P>
void wrap_rows(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
#pragma HLS INLINE
  // inlined, so that the dataflow region is the top's own: frames overlap only there
  static_assert(P::START >= 0 && P::START < P::HEIGHT, "wrap_rows: START must be a row of the map.");
  static_assert(P::COUNT >= 1, "wrap_rows: COUNT is at least 1.");
  WrapRows<P, P::FRAME>::run(out0, in0);
}

}  // namespace bhvit
#endif
