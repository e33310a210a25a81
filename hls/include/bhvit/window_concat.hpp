// SPDX-License-Identifier: MIT
// Windows of a map with merge tokens appended: per window its tokens, then one merge token per pooling cell.
//   merge = sat((ca[c]*max << KA + cb[c]*sum + o[c]) >> SH)
// Cell i covers rows WINDOW*i - PADDING to + WINDOW - 1, clipped to the map; likewise columns. The input starts at map
// row ROW0 and wraps. A frame is loaded, and its cells are summed up, first along the rows and then across them, while
// the one before is put out.
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

// Takes values, and parts of sums in the layout PART, into the peaks and sums of SIMD channels.
template <typename P, typename PART>
void window_concat_join(bool first, const typename P::In0::beat& value, const typename PART::beat& part,
                        typename P::In0::beat& peak, typename WindowConcatTypes<P>::Sums::beat& sum) {
#pragma HLS INLINE
  typedef typename P::In0 In;
  typedef typename WindowConcatTypes<P>::Sums Sums;
  for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
    const ap_int<P::BITS> v = In::get(value, i);
    if (first || v > In::get(peak, i)) In::set(peak, i, v);
    Sums::set(sum, i, PART::get(part, i) + (first ? typename Sums::value(0) : Sums::get(sum, i)));
  }
}

template <typename P>
void window_concat_load(hls::stream<typename P::In0::beat>& in0, typename P::In0::beat frame[P::In0::BEATS],
                        typename P::In0::beat peaks[WindowConcatTypes<P>::WORDS],
                        typename WindowConcatTypes<P>::Sums::beat sums[WindowConcatTypes<P>::WORDS]) {
  typedef WindowConcatTypes<P> T;
  typedef typename T::In In;
  typedef typename T::Sums Sums;
  // a cell's part of each map row: written once, so no sum is read back while it is still on its way to the memory
  typename In::beat row_peaks[P::HEIGHT * T::COLUMNS * T::FOLD], run_peak[T::FOLD];
  typename Sums::beat row_sums[P::HEIGHT * T::COLUMNS * T::FOLD], run_sum[T::FOLD];
  int at = P::ROW0 * P::WIDTH * T::FOLD, y = P::ROW0;
  int column = 0, inside = P::PADDING;  // the cell of column x, and the column in it
  for (int k = 0; k < P::HEIGHT; k++) {
    for (int x = 0; x < P::WIDTH; x++) {
      for (int f = 0; f < T::FOLD; f++) {
#pragma HLS PIPELINE II=1
        const typename In::beat now = in0.read();
        frame[at] = now;
        at = at == P::In0::BEATS - 1 ? 0 : at + 1;
        typename In::beat peak = run_peak[f];
        typename Sums::beat sum = run_sum[f];
        window_concat_join<P, In>(x == 0 || inside == 0, now, now, peak, sum);
        run_peak[f] = peak;
        run_sum[f] = sum;
        if (column < T::COLUMNS) {
          row_peaks[(y * T::COLUMNS + column) * T::FOLD + f] = peak;  // the last one of the run stays
          row_sums[(y * T::COLUMNS + column) * T::FOLD + f] = sum;
        }
        if (f == T::FOLD - 1) {
          const bool row_ends = x == P::WIDTH - 1, cell_ends = inside == P::WINDOW - 1;
          column = row_ends ? 0 : cell_ends ? column + 1 : column;
          inside = row_ends ? int(P::PADDING) : cell_ends ? 0 : inside + 1;
          if (row_ends) y = y == P::HEIGHT - 1 ? 0 : y + 1;
        }
      }
    }
  }
  typename In::beat peak = 0;
  typename Sums::beat sum = 0;
  for (int row = 0; row < T::ROWS; row++) {
    for (int a = 0; a < T::COLUMNS * T::FOLD; a++) {
      for (int i = 0; i < P::WINDOW; i++) {
#pragma HLS PIPELINE II=1
        const int line = row * P::WINDOW - P::PADDING + i;
        if (line >= 0) {
          const int part = line * T::COLUMNS * T::FOLD + a;
          window_concat_join<P, Sums>(i == 0 || line == 0, row_peaks[part], row_sums[part], peak, sum);
        }
        if (i == P::WINDOW - 1) {
          peaks[row * T::COLUMNS * T::FOLD + a] = peak;
          sums[row * T::COLUMNS * T::FOLD + a] = sum;
        }
      }
    }
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
      for (int line = 0; line < P::WINDOW; line++) {
        for (int a = 0; a < P::WINDOW * T::FOLD; a++) {
#pragma HLS PIPELINE II=1
          out0.write(frame[((top + line) * P::WIDTH + left) * T::FOLD + a]);
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
