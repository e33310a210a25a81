// SPDX-License-Identifier: MIT
// Nine-tap circular cross stencil per channel plus the residual Y; out1 is U at the centre.
//   V[y,x] = sat((sum_k coef[k,c]*U[y+dy_k, x+dx_k] + (Y[y,x] << KY + ks) + o[c]) >> SH)
// KS_MAX > 0: a constant word ends with ks, which belongs to the set.
// Taps: centre, up 1, down 1, up 2, down 2, left 1, right 1, left 2, right 2. The input rows come extended by 4: output
// row j has its centre at input row j + 2. An output row is made while its lowest tap row arrives; the centre row,
// which is complete then, is read two columns ahead, beginning with its last two columns, because columns wrap, and its
// first two are kept for the end. lines[0..3] are the rows above the arriving one, highest first, and move up column by
// column: every line is read and written once a cycle, under a constant index.
#ifndef BHVIT_SHIFT_HPP
#define BHVIT_SHIFT_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void shift(int set, const ap_uint<P::COEF_WIDTH> coef[P::COEF_DEPTH], hls::stream<typename P::Out0::beat>& out0,
           hls::stream<typename P::Out1::beat>& out1, hls::stream<typename P::In0::beat>& in0,
           hls::stream<typename P::In1::beat>& in1) {
  typedef typename P::In0 U;
  typedef typename P::In1 Y;
  typedef typename P::Out0 V;
  static_assert(P::EXT == 4, "shift: the kernel needs a map whose rows are extended by 4 (EXT = 4).");
  static_assert(P::CHANNELS % P::SIMD == 0, "shift: SIMD must divide CHANNELS.");
  constexpr int W = P::WIDTH, FOLD = P::CHANNELS / P::SIMD, SIMD = P::SIMD, TAPS = 9, AHEAD = 4;
  constexpr int Y_SHIFTED = P::Y_BITS + P::KY + P::KS_MAX, KS_BITS = bits_of(P::KS_MAX);
  constexpr int SUM = max_of(max_of(P::U_BITS + P::COEF_BITS + 4, Y_SHIFTED), P::O_BITS) + 2;
  typename U::beat lines[4][W * FOLD], window[AHEAD][FOLD], first[2][FOLD];
  typename Y::beat centres[2][W * FOLD];
#pragma HLS ARRAY_PARTITION variable=lines complete dim=1
#pragma HLS ARRAY_PARTITION variable=window complete dim=1
#pragma HLS ARRAY_PARTITION variable=first complete dim=1
#pragma HLS ARRAY_PARTITION variable=centres complete dim=1
  for (int r = 0; r < P::HEIGHT + 4; r++) {
    for (int c = 0; c < W + AHEAD; c++) {
      for (int f = 0; f < FOLD; f++) {
#pragma HLS PIPELINE II=1
        const int ahead = W == 1 ? 0 : c < 2 ? c + W - 2 : c - 2;
        typename U::beat right2;
        if (c < W + 2)
          right2 = lines[2][ahead * FOLD + f];
        else
          right2 = first[c - W - 2][f];
        if (c == 2) first[0][f] = right2;
        if (c == 3) first[1][f] = right2;
        const typename U::beat left2 = window[0][f], left1 = window[1][f], centre = window[2][f], right1 = window[3][f];
        for (int i = 0; i < AHEAD - 1; i++) {
#pragma HLS UNROLL
          window[i][f] = window[i + 1][f];
        }
        window[AHEAD - 1][f] = right2;
        if (c >= AHEAD) {
          const int a = (c - AHEAD) * FOLD + f;
          const typename U::beat down2 = in0.read(), up2 = lines[0][a], up1 = lines[1][a], down1 = lines[3][a];
          const typename Y::beat y = centres[r & 1][a];
          lines[0][a] = up1;
          lines[1][a] = centre;
          lines[2][a] = down1;
          lines[3][a] = down2;
          centres[r & 1][a] = in1.read();
          if (r >= 4) {
            const typename U::beat taps[TAPS] = {centre, up1, down1, up2, down2, left1, right1, left2, right2};
#pragma HLS ARRAY_PARTITION variable=taps complete
            const ap_uint<P::COEF_WIDTH> word = coef[set * FOLD + f];
            const int ks = P::KS_MAX ? int(field<max_of(KS_BITS, 1)>(word, P::COEF_WIDTH - KS_BITS)) : 0;
            typename V::beat v = 0;
            for (int i = 0; i < SIMD; i++) {
#pragma HLS UNROLL
              ap_int<SUM> sum = signed_field<P::O_BITS>(word, TAPS * SIMD * P::COEF_BITS + i * P::O_BITS);
              sum += ap_int<Y_SHIFTED>(Y::get(y, i)) << (P::KY + ks);
              for (int k = 0; k < TAPS; k++) {
#pragma HLS UNROLL
                sum += signed_field<P::COEF_BITS>(word, (i * TAPS + k) * P::COEF_BITS) * U::get(taps[k], i);
              }
              V::set(v, i, saturate<P::OUT_BITS>(ap_int<SUM>(sum >> P::SH)));
            }
            out0.write(v);
            out1.write(centre);
          }
        }
      }
    }
  }
}

}  // namespace bhvit
#endif
