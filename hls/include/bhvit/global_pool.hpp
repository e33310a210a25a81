// SPDX-License-Identifier: MIT
// Exact sum over all tokens of a frame. One input beat per cycle.
#ifndef BHVIT_GLOBAL_POOL_HPP
#define BHVIT_GLOBAL_POOL_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void global_pool(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  typename Out::beat sums[In::FOLDS];
  for (int group = 0; group < In::GROUPS; group++) {
    for (int f = 0; f < In::FOLDS; f++) {
#pragma HLS PIPELINE II=1
      const typename In::beat x = in0.read();
      typename Out::beat sum = group == 0 ? typename Out::beat(0) : sums[f];
      for (int i = 0; i < In::LANES; i++) {
#pragma HLS UNROLL
        const int c = i % In::SIMD;
        Out::set(sum, c, Out::get(sum, c) + In::get(x, i));
      }
      sums[f] = sum;
      if (group == In::GROUPS - 1) out0.write(sum);
    }
  }
}

}  // namespace bhvit
#endif
