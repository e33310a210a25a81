// SPDX-License-Identifier: MIT
// Windows of a map with merge tokens appended: per window its tokens, then one merge token per pooling cell.
//   merge = sat((ca[c]*max << KA + cb[c]*sum + o[c]) >> SH)
// Cell i covers rows WINDOW*i - PADDING to + WINDOW - 1, clipped to the map; likewise columns. The input starts at map
// row ROW0 and wraps. A frame is loaded, and its cells are summed up, while the one before is put out.
#ifndef BHVIT_WINDOW_CONCAT_HPP
#define BHVIT_WINDOW_CONCAT_HPP

#include "bhvit/blend.hpp"

namespace bhvit {

template <typename P> struct WindowConcatTypes {
  static_assert(P::HEIGHT % P::WINDOW == 0 && P::WIDTH % P::WINDOW == 0,
                "window_concat: WINDOW must divide HEIGHT and WIDTH.");
  static constexpr int FOLD = P::CHANNELS / P::SIMD, ROWS = P::HEIGHT / P::WINDOW, COLUMNS = P::WIDTH / P::WINDOW;
  static constexpr int CELLS = ROWS * COLUMNS, WORDS = CELLS * FOLD;
  static constexpr int SUM_BITS = P::BITS + extra_bits(P::WINDOW * P::WINDOW);
  typedef typename P::In0 In;
  typedef typename In::template with<SUM_BITS> Sums;
};

template <typename P>
void window_concat_load(hls::stream<typename P::In0::beat>& in0, typename P::In0::beat frame[P::In0::BEATS],
                        typename P::In0::beat peaks[WindowConcatTypes<P>::WORDS],
                        typename WindowConcatTypes<P>::Sums::beat sums[WindowConcatTypes<P>::WORDS]) {
  typedef WindowConcatTypes<P> T;
  typedef typename T::In In;
  typedef typename T::Sums Sums;
  typename In::beat lowest = 0;
  for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
    In::set(lowest, i, -(1LL << (P::BITS - 1)));
  }
  for (int a = 0; a < T::WORDS; a++) {
#pragma HLS PIPELINE II=1
    peaks[a] = lowest;
    sums[a] = 0;
  }
  int y = P::ROW0;
  for (int k = 0; k < P::HEIGHT; k++) {
    for (int x = 0; x < P::WIDTH; x++) {
      for (int f = 0; f < T::FOLD; f++) {
#pragma HLS PIPELINE II=1
        const typename In::beat now = in0.read();
        frame[(y * P::WIDTH + x) * T::FOLD + f] = now;
        const int row = (y + P::PADDING) / P::WINDOW, column = (x + P::PADDING) / P::WINDOW;
        if (row < T::ROWS && column < T::COLUMNS) {
          const int a = (row * T::COLUMNS + column) * T::FOLD + f;
          typename In::beat peak = peaks[a];
          typename Sums::beat sum = sums[a];
          for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
            const ap_int<P::BITS> value = In::get(now, i);
            if (value > In::get(peak, i)) In::set(peak, i, value);
            Sums::set(sum, i, Sums::get(sum, i) + value);
          }
          peaks[a] = peak;
          sums[a] = sum;
        }
      }
    }
    y = y == P::HEIGHT - 1 ? 0 : y + 1;
  }
}

template <typename P>
void window_concat_emit(int set, const ap_uint<P::BLEND_WIDTH> constants[P::BLEND_DEPTH],
                        const typename P::In0::beat frame[P::In0::BEATS],
                        const typename P::In0::beat peaks[WindowConcatTypes<P>::WORDS],
                        const typename WindowConcatTypes<P>::Sums::beat sums[WindowConcatTypes<P>::WORDS],
                        hls::stream<typename P::Out0::beat>& out0) {
  typedef WindowConcatTypes<P> T;
  typedef typename T::In In;
  for (int top = 0; top < P::HEIGHT; top += P::WINDOW) {
    for (int left = 0; left < P::WIDTH; left += P::WINDOW) {
      for (int y = top; y < top + P::WINDOW; y++) {
        for (int a = 0; a < P::WINDOW * T::FOLD; a++) {
#pragma HLS PIPELINE II=1
          out0.write(frame[(y * P::WIDTH + left) * T::FOLD + a]);
        }
      }
      for (int cell = 0; cell < T::CELLS; cell++) {
        for (int f = 0; f < T::FOLD; f++) {
#pragma HLS PIPELINE II=1
          const int a = cell * T::FOLD + f;
          const ap_uint<P::BLEND_WIDTH> word = constants[set * T::FOLD + f];
          typename P::Out0::beat merge = 0;
          for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
            P::Out0::set(merge, i, blend<P>(word, i, In::get(peaks[a], i), T::Sums::get(sums[a], i)));
          }
          out0.write(merge);
        }
      }
    }
  }
}

template <typename P>
void window_concat(int set, const ap_uint<P::BLEND_WIDTH> constants[P::BLEND_DEPTH],
                   hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
#pragma HLS DATAFLOW
  typedef WindowConcatTypes<P> T;
  typename P::In0::beat frame[P::In0::BEATS], peaks[T::WORDS];
  typename T::Sums::beat sums[T::WORDS];
  window_concat_load<P>(in0, frame, peaks, sums);
  window_concat_emit<P>(set, constants, frame, peaks, sums, out0);
}

}  // namespace bhvit
#endif
