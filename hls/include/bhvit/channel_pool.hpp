// SPDX-License-Identifier: MIT
// Exact sums of RATIO adjacent channels. The slower side sets the rate: an output beat takes FILL input beats, or an
// input beat gives DRAIN output beats.
#ifndef BHVIT_CHANNEL_POOL_HPP
#define BHVIT_CHANNEL_POOL_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void channel_pool(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  constexpr bool WIDE = P::SIMD >= P::RATIO;
  static_assert((WIDE ? P::SIMD % P::RATIO : P::RATIO % P::SIMD) == 0,
                "channel_pool: SIMD must be a multiple or a divisor of RATIO.");
  constexpr int NATURAL = WIDE ? P::SIMD / P::RATIO : 1;    // sums per token that an input beat completes
  constexpr int PER_SUM = WIDE ? 1 : P::RATIO / P::SIMD;    // input beats of one sum
  constexpr int FILL = max_of(In::FOLDS / Out::FOLDS, 1), DRAIN = max_of(Out::FOLDS / In::FOLDS, 1);
  static_assert(In::FOLDS * DRAIN == Out::FOLDS * FILL,
                "channel_pool: PE must be a multiple or a divisor of the sums of an input beat.");
  constexpr int SUMS = max_of(P::PE, NATURAL);
  typename Out::value sums[P::TP][SUMS];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=0
  for (int group = 0; group < In::GROUPS * In::FOLDS / FILL; group++) {
    for (int i = 0; i < FILL; i++) {
      for (int j = 0; j < DRAIN; j++) {
#pragma HLS PIPELINE II=1
        if (j == 0) {
          const typename In::beat x = in0.read();
          for (int e = 0; e < In::LANES; e++) {
#pragma HLS UNROLL
            const int t = e / P::SIMD, c = e % P::SIMD;
            const int k = i / PER_SUM * NATURAL + c / P::RATIO;
            const bool first = WIDE ? c % P::RATIO == 0 : c == 0 && i % PER_SUM == 0;
            sums[t][k] = (first ? typename Out::value(0) : sums[t][k]) + In::get(x, e);
          }
        }
        if (i == FILL - 1) {
          typename Out::beat y = 0;
          for (int e = 0; e < Out::LANES; e++) {
#pragma HLS UNROLL
            Out::set(y, e, sums[e / P::PE][j * P::PE + e % P::PE]);
          }
          out0.write(y);
        }
      }
    }
  }
}

}  // namespace bhvit
#endif
