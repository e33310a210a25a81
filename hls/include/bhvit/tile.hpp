// SPDX-License-Identifier: MIT
// Repetition of the channels: out[j] = in[j mod C]; the last repetition leaves out its last CUT folds.
#ifndef BHVIT_TILE_HPP
#define BHVIT_TILE_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void tile(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
  typedef typename P::In0 In;
  static_assert(P::CUT >= 0 && P::CUT < In::FOLDS, "tile: CUT must be less than the folds of a token.");
  typename In::beat kept[In::FOLDS];
  for (int group = 0; group < In::GROUPS; group++) {
    for (int repetition = 0; repetition < P::RATIO; repetition++) {
      for (int f = 0; f < In::FOLDS; f++) {
#pragma HLS PIPELINE II=1
        if (repetition == 0) kept[f] = in0.read();
        if (repetition < P::RATIO - 1 || f < In::FOLDS - P::CUT) out0.write(kept[f]);
      }
    }
  }
}

}  // namespace bhvit
#endif
