// SPDX-License-Identifier: MIT
// Sign of an integer tensor per channel: +1 if (x >= t[c]) xor pol[c], else -1. One beat per cycle.
// A constant word holds t of SIMD channels, then their pol bits.
#ifndef BHVIT_THRESHOLD_HPP
#define BHVIT_THRESHOLD_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void threshold(int set, const ap_uint<P::THRESHOLD_WIDTH> thresholds[P::THRESHOLD_DEPTH],
               hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  constexpr int T = P::BITS + 1;
  for (int group = 0; group < In::GROUPS; group++) {
    for (int f = 0; f < In::FOLDS; f++) {
#pragma HLS PIPELINE II=1
      const typename In::beat x = in0.read();
      const ap_uint<P::THRESHOLD_WIDTH> word = thresholds[set * In::FOLDS + f];
      typename Out::beat y = 0;
      for (int i = 0; i < In::LANES; i++) {
#pragma HLS UNROLL
        const int c = i % P::SIMD;
        const bool reached = In::get(x, i) >= signed_field<T>(word, c * T), reversed = word[P::SIMD * T + c];
        Out::set(y, i, ap_uint<1>(reached != reversed));
      }
      out0.write(y);
    }
  }
}

}  // namespace bhvit
#endif
