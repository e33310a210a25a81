// SPDX-License-Identifier: MIT
// Grouped 3x3 binary convolutions of one map at several dilations, each with its own epilogue, summed (MSGDC).
//   acc_d[y,x,c] = sum over taps inside the map of w[d,c,tap,i]*X[y + (kh-1)*dil_d, x + (kw-1)*dil_d, group(c) + i]
// Taps outside the map add 0: acc = 2*popcount(xnor) - inputs, of valid taps only. With EXT > 0 the input has HEIGHT +
// EXT rows, extended row k is map row (ROW0 + k) mod HEIGHT, and output row j is map row (ROW0 + ROT + j) mod HEIGHT.
// While a row arrives, an output row is made whose lowest tap row is the row before. A column of the tap rows enters
// the window per pixel; the output is FAR (the largest dilation) columns behind. A weight word holds PE x D x 9 x
// inputs bits, a constant word the epilogues of PE channels, dilation by dilation.
#ifndef BHVIT_BINARY_CONV_HPP
#define BHVIT_BINARY_CONV_HPP

#include "bhvit/epilogue.hpp"

namespace bhvit {

template <typename P> struct ConvTypes : P {
  static constexpr int ACT = 1, RES1 = 0, RES1_BITS = 8, RM = 1, RES2 = 0, RES2_BITS = 8, K2 = 0;
  static constexpr int RS_MAX = 0, KS_MAX = 0;
  static constexpr int D = P::BRANCHES, CIN = P::IN_CHANNELS, INPUTS = P::IN_CHANNELS / P::GROUPS;
  static constexpr int PER_GROUP = P::OUT_CHANNELS / P::GROUPS, ROWS_IN = P::HEIGHT + P::EXT;
  static constexpr int far(int d) {
    return d == D ? 0 : max_of(entry(P::DILATIONS, d), far(d + 1));
  }
  static constexpr int FAR = far(0), LEAD = P::ROT + FAR + 1, RING = min_of(2 * FAR + 2, ROWS_IN);
  static constexpr int LINES = 2 * D + 1;  // tap rows: the centre, then two per dilation
  static constexpr int BRANCH = P::PE * (P::M_BITS + P::O_BITS + 2 * P::SLOPE_BITS + P::O2_BITS);
  static constexpr int ACC_BITS = bits_of(9 * INPUTS) + 2;
  static constexpr int line(int d, int kh) { return kh == 1 ? 0 : 2 * d + 1 + kh / 2; }
};

// All branches of the PE output channels of fold f, at one pixel.
template <typename P>
typename P::Out0::beat conv_pixel(const ap_uint<P::WEIGHT_WIDTH>& weight, const ap_uint<P::EPILOGUE_WIDTH>& constants,
                                  int f, const ap_uint<P::IN_CHANNELS> window[][2 * ConvTypes<P>::FAR + 1],
                                  const bool row_valid[][3], const bool column_valid[][3]) {
#pragma HLS INLINE
  typedef ConvTypes<P> T;
  typedef typename P::Out0 Out;
  const Residuals<T> none = read_residuals<T>();
  typename Out::beat y = 0;
  for (int pe = 0; pe < P::PE; pe++) {
#pragma HLS UNROLL
    const int group = (f * P::PE + pe) / T::PER_GROUP;
    typename Out::value sum = 0;
    for (int d = 0; d < T::D; d++) {
#pragma HLS UNROLL
      ap_int<T::ACC_BITS> acc = 0;
      for (int kh = 0; kh < 3; kh++) {
#pragma HLS UNROLL
        for (int kw = 0; kw < 3; kw++) {
#pragma HLS UNROLL
          const ap_uint<T::CIN> pixel = window[T::line(d, kh)][T::FAR - (kw - 1) * entry(P::DILATIONS, d)];
          const int at = ((pe * T::D + d) * 9 + kh * 3 + kw) * T::INPUTS;
          const ap_uint<T::INPUTS> x = field<T::INPUTS>(pixel, group * T::INPUTS);
          const ap_uint<T::INPUTS> match = ~(x ^ field<T::INPUTS>(weight, at));
          if (row_valid[d][kh] && column_valid[d][kw])
            acc += 2 * ap_int<T::ACC_BITS>(popcount<T::INPUTS>(match)) - T::INPUTS;
        }
      }
      sum += epilogue<T, P::PE>(acc, constants, d * T::BRANCH, pe, pe, entry(P::SH1, d), entry(P::SH2, d), none);
    }
    Out::set(y, pe, sum);
  }
  return y;
}

template <typename P>
void binary_conv(int set, const ap_uint<P::WEIGHT_WIDTH> weight[P::WEIGHT_DEPTH],
                 const ap_uint<P::EPILOGUE_WIDTH> constants[P::EPILOGUE_DEPTH],
                 hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
  typedef ConvTypes<P> T;
  static_assert(P::IN_CHANNELS % P::GROUPS == 0 && P::OUT_CHANNELS % P::GROUPS == 0,
                "binary_conv: GROUPS must divide the input and the output channels.");
  constexpr int FI = P::In0::FOLDS, FO = P::Out0::FOLDS, STEPS = max_of(T::ROWS_IN, P::HEIGHT + T::LEAD);
  constexpr int FOLDS = max_of(FI, FO), COLUMNS = P::WIDTH + T::FAR;
  ap_uint<T::CIN> ring[T::RING][P::WIDTH], arriving = 0, window[T::LINES][2 * T::FAR + 1];
#pragma HLS ARRAY_PARTITION variable=ring complete dim=1
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
  // of step s: its place in the ring, and the map row of the centre, which is FAR + 1 rows before the arriving one
  int newest = 0, y0 = (P::ROW0 + (T::FAR + 1) * (P::HEIGHT - 1)) % P::HEIGHT;
  for (int s = 0; s < STEPS; s++) {
    for (int c = 0; c < COLUMNS; c++) {
      for (int f = 0; f < FOLDS; f++) {
#pragma HLS PIPELINE II=1
        const int j = s - T::LEAD;  // output row
        bool row_valid[T::D][3];
        int slots[T::LINES];
#pragma HLS ARRAY_PARTITION variable=row_valid complete dim=0
#pragma HLS ARRAY_PARTITION variable=slots complete
        for (int d = 0; d < T::D; d++) {
#pragma HLS UNROLL
          for (int kh = 0; kh < 3; kh++) {
#pragma HLS UNROLL
            const int dy = (kh - 1) * entry(P::DILATIONS, d), y = y0 + dy, back = (T::FAR + 1 - dy) % T::RING;
            row_valid[d][kh] = j >= 0 && j < P::HEIGHT && y >= 0 && y < P::HEIGHT;
            slots[T::line(d, kh)] = newest >= back ? newest - back : newest - back + T::RING;
          }
        }
        if (f == 0 && j >= 0 && j < P::HEIGHT) {
          ap_uint<T::CIN> column[T::RING];  // every row of the ring is read once, whichever rows are taps
#pragma HLS ARRAY_PARTITION variable=column complete
          for (int i = 0; i < T::RING; i++) {
#pragma HLS UNROLL
            column[i] = c < P::WIDTH ? ring[i][c] : ap_uint<T::CIN>(0);
          }
          for (int l = 0; l < T::LINES; l++) {
#pragma HLS UNROLL
            for (int i = 2 * T::FAR; i > 0; i--) {
#pragma HLS UNROLL
              window[l][i] = window[l][i - 1];
            }
            window[l][0] = column[slots[l]];
          }
        }
        if (f < FI && c < P::WIDTH && s < T::ROWS_IN) {
          arriving.range((f + 1) * P::SIMD - 1, f * P::SIMD) = field<P::SIMD>(in0.read(), 0);
          for (int i = 0; i < T::RING; i++) {
#pragma HLS UNROLL
            if (f == FI - 1 && i == newest) ring[i][c] = arriving;
          }
        }
        const int x = c - T::FAR;
        if (f < FO && x >= 0 && j >= 0 && j < P::HEIGHT) {
          bool column_valid[T::D][3];
#pragma HLS ARRAY_PARTITION variable=column_valid complete dim=0
          for (int d = 0; d < T::D; d++) {
#pragma HLS UNROLL
            for (int kw = 0; kw < 3; kw++) {
#pragma HLS UNROLL
              const int column = x + (kw - 1) * entry(P::DILATIONS, d);
              column_valid[d][kw] = column >= 0 && column < P::WIDTH;
            }
          }
          out0.write(conv_pixel<P>(weight[set * FO + f], constants[set * FO + f], f, window, row_valid, column_valid));
        }
        if (f == FOLDS - 1 && c == COLUMNS - 1) {
          newest = newest == T::RING - 1 ? 0 : newest + 1;
          y0 = y0 == P::HEIGHT - 1 ? 0 : y0 + 1;
        }
      }
    }
  }
}

}  // namespace bhvit
#endif
