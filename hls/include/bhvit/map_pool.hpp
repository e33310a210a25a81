// SPDX-License-Identifier: MIT
// Exact sum over the taps of a patch: out[c] = sum_j in[j*C + c]. One input beat per cycle.
#ifndef BHVIT_MAP_POOL_HPP
#define BHVIT_MAP_POOL_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void map_pool(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  static_assert(In::CHANNELS == P::TAPS * Out::CHANNELS, "map_pool: the input has TAPS times the output's channels.");
  typename Out::beat sums[P::FOLDS];
  for (int group = 0; group < In::GROUPS; group++) {
    for (int tap = 0; tap < P::TAPS; tap++) {
      for (int f = 0; f < P::FOLDS; f++) {
#pragma HLS PIPELINE II=1
        const typename In::beat x = in0.read();
        typename Out::beat sum = tap == 0 ? typename Out::beat(0) : sums[f];
        for (int i = 0; i < In::LANES; i++) {
#pragma HLS UNROLL
          Out::set(sum, i, Out::get(sum, i) + In::get(x, i));
        }
        sums[f] = sum;
        if (tap == P::TAPS - 1) out0.write(sum);
      }
    }
  }
}

}  // namespace bhvit
#endif
