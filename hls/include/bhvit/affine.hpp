// SPDX-License-Identifier: MIT
// Elementwise epilogue: batch norm, residual addition, blends and requantization. One beat per cycle.
#ifndef BHVIT_AFFINE_HPP
#define BHVIT_AFFINE_HPP

#include "bhvit/epilogue.hpp"

namespace bhvit {

template <typename P, typename... R>
void affine(int set, const ap_uint<P::EPILOGUE_WIDTH> constants[P::EPILOGUE_DEPTH],
            hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0, R&... residuals) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  for (int group = 0; group < In::GROUPS; group++) {
    for (int f = 0; f < In::FOLDS; f++) {
#pragma HLS PIPELINE II=1
      const typename In::beat x = in0.read();
      const Residuals<P> r = read_residuals<P>(residuals...);
      const ap_uint<P::EPILOGUE_WIDTH> word = constants[set * In::FOLDS + f];
      typename Out::beat y = 0;
      for (int i = 0; i < In::LANES; i++) {
#pragma HLS UNROLL
        Out::set(y, i, epilogue<P, P::SIMD>(In::get(x, i), word, 0, i % P::SIMD, i, P::SH1, P::SH2, r));
      }
      out0.write(y);
    }
  }
}

}  // namespace bhvit
#endif
