// SPDX-License-Identifier: MIT
// Index of the largest value of each frame, the first one on ties. One input beat per cycle.
#ifndef BHVIT_ARGMAX_HPP
#define BHVIT_ARGMAX_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void argmax(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  typename In::value best = 0;
  typename Out::value index = 0;
  for (int f = 0; f < In::FOLDS; f++) {
#pragma HLS PIPELINE II=1
    const typename In::beat x = in0.read();
    for (int i = 0; i < In::LANES; i++) {
#pragma HLS UNROLL
      const typename In::value candidate = In::get(x, i);
      if ((f == 0 && i == 0) || candidate > best) {
        best = candidate;
        index = f * In::SIMD + i;
      }
    }
    if (f == In::FOLDS - 1) {
      typename Out::beat y = 0;
      Out::set(y, 0, index);
      out0.write(y);
    }
  }
}

}  // namespace bhvit
#endif
