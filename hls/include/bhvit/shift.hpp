// SPDX-License-Identifier: MIT
// Nine-tap circular cross stencil per channel plus the residual Y; out1 is U at the centre.
//   V[y,x] = sat((sum_k coef[k,c]*U[y+dy_k, x+dx_k] + (Y[y,x] << KY) + o[c]) >> SH)
// Taps: centre, up 1, down 1, up 2, down 2, left 1, right 1, left 2, right 2. The input rows come extended by 4: output
// row j has its centre at input row j + 2. An output row is made while its lowest tap row arrives; the centre row,
// which is complete then, is read two columns ahead, beginning with its last two columns, because columns wrap.
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
  constexpr int SUM = max_of(max_of(P::U_BITS + P::COEF_BITS + 4, P::Y_BITS + P::KY), P::O_BITS) + 2;
  typename U::beat rows[4][W * FOLD], window[AHEAD][FOLD];
  typename Y::beat centres[2][W * FOLD];
#pragma HLS ARRAY_PARTITION variable=rows complete dim=1
#pragma HLS ARRAY_PARTITION variable=window complete dim=1
#pragma HLS ARRAY_PARTITION variable=centres complete dim=1
  for (int r = 0; r < P::HEIGHT + 4; r++) {
    const int slot = r & 3;  // of the arriving row, which replaces the highest tap row
    int ahead = (2 * W - 2) % W;
    for (int c = 0; c < W + AHEAD; c++) {
      for (int f = 0; f < FOLD; f++) {
#pragma HLS PIPELINE II=1
        const typename U::beat right2 = rows[(slot + 2) & 3][ahead * FOLD + f];
        const typename U::beat left2 = window[0][f], left1 = window[1][f], centre = window[2][f], right1 = window[3][f];
        for (int i = 0; i < AHEAD - 1; i++) {
#pragma HLS UNROLL
          window[i][f] = window[i + 1][f];
        }
        window[AHEAD - 1][f] = right2;
        if (c >= AHEAD) {
          const int a = (c - AHEAD) * FOLD + f;
          const typename U::beat down2 = in0.read(), up2 = rows[slot][a];
          const typename U::beat up1 = rows[(slot + 1) & 3][a], down1 = rows[(slot + 3) & 3][a];
          const typename Y::beat y = centres[r & 1][a];
          rows[slot][a] = down2;
          centres[r & 1][a] = in1.read();
          if (r >= 4) {
            const typename U::beat taps[TAPS] = {centre, up1, down1, up2, down2, left1, right1, left2, right2};
            const ap_uint<P::COEF_WIDTH> word = coef[set * FOLD + f];
            typename V::beat v = 0;
            for (int i = 0; i < SIMD; i++) {
#pragma HLS UNROLL
              ap_int<SUM> sum = signed_field<P::O_BITS>(word, TAPS * SIMD * P::COEF_BITS + i * P::O_BITS);
              sum += ap_int<P::Y_BITS + P::KY>(Y::get(y, i)) << P::KY;
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
      ahead = ahead == W - 1 ? 0 : ahead + 1;
    }
  }
}

}  // namespace bhvit
#endif
