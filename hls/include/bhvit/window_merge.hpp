// SPDX-License-Identifier: MIT
// Window tokens and merge tokens back to a map.
//   R[y,x] = sat((pa[c]*L[y,x] << KA + pb[c]*Msum[y / WINDOW, x / WINDOW] + o[c]) >> SH)
// Msum[cell]: sum over all windows of merge token `cell`. The output starts at map row ROW0 and wraps. A frame is
// loaded while the one before is put out.
#ifndef BHVIT_WINDOW_MERGE_HPP
#define BHVIT_WINDOW_MERGE_HPP

#include "bhvit/blend.hpp"

namespace bhvit {

template <typename P> struct WindowMergeTypes {
  static_assert(P::HEIGHT % P::WINDOW == 0 && P::WIDTH % P::WINDOW == 0,
                "window_merge: WINDOW must divide HEIGHT and WIDTH.");
  static constexpr int FOLD = P::CHANNELS / P::SIMD, ROWS = P::HEIGHT / P::WINDOW, COLUMNS = P::WIDTH / P::WINDOW;
  static constexpr int CELLS = ROWS * COLUMNS, WORDS = CELLS * FOLD, SUM_BITS = P::BITS + extra_bits(CELLS);
  typedef typename P::In0 In;
  typedef typename In::template with<SUM_BITS> Sums;
};

template <typename P>
void window_merge_load(hls::stream<typename P::In0::beat>& in0, typename P::In0::beat frame[P::In0::BEATS],
                       typename WindowMergeTypes<P>::Sums::beat sums[WindowMergeTypes<P>::WORDS]) {
  typedef WindowMergeTypes<P> T;
  typedef typename T::Sums Sums;
  for (int top = 0; top < P::HEIGHT; top += P::WINDOW) {
    for (int left = 0; left < P::WIDTH; left += P::WINDOW) {
      for (int line = 0; line < P::WINDOW; line++) {
        for (int a = 0; a < P::WINDOW * T::FOLD; a++) {
#pragma HLS PIPELINE II=1
          frame[((top + line) * P::WIDTH + left) * T::FOLD + a] = in0.read();
        }
      }
      for (int a = 0; a < T::WORDS; a++) {
#pragma HLS PIPELINE II=1
        const typename T::In::beat x = in0.read();
        typename Sums::beat sum = top == 0 && left == 0 ? typename Sums::beat(0) : sums[a];
        for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
          Sums::set(sum, i, Sums::get(sum, i) + T::In::get(x, i));
        }
        sums[a] = sum;
      }
    }
  }
}

template <typename P>
void window_merge_emit(int set, const ap_uint<P::BLEND_WIDTH> constants[P::BLEND_DEPTH],
                       const typename P::In0::beat frame[P::In0::BEATS],
                       const typename WindowMergeTypes<P>::Sums::beat sums[WindowMergeTypes<P>::WORDS],
                       hls::stream<typename P::Out0::beat>& out0) {
  typedef WindowMergeTypes<P> T;
  int y = P::ROW0;
  for (int k = 0; k < P::HEIGHT; k++) {
    for (int x = 0; x < P::WIDTH; x++) {
      for (int f = 0; f < T::FOLD; f++) {
#pragma HLS PIPELINE II=1
        const typename T::In::beat local = frame[(y * P::WIDTH + x) * T::FOLD + f];
        const int cell = y / P::WINDOW * T::COLUMNS + x / P::WINDOW;
        const typename T::Sums::beat sum = sums[cell * T::FOLD + f];
        const ap_uint<P::BLEND_WIDTH> word = constants[set * T::FOLD + f];
        typename P::Out0::beat r = 0;
        for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
          P::Out0::set(r, i, blend<P>(word, i, T::In::get(local, i), T::Sums::get(sum, i)));
        }
        out0.write(r);
      }
    }
    y = y == P::HEIGHT - 1 ? 0 : y + 1;
  }
}

template <typename P>
void window_merge(int set, const ap_uint<P::BLEND_WIDTH> constants[P::BLEND_DEPTH],
                  hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
#pragma HLS DATAFLOW
  typedef WindowMergeTypes<P> T;
  typename P::In0::beat frame[P::In0::BEATS];
  typename T::Sums::beat sums[T::WORDS];
  window_merge_load<P>(in0, frame, sums);
  window_merge_emit<P>(set, constants, frame, sums, out0);
}

}  // namespace bhvit
#endif
