// SPDX-License-Identifier: MIT
// Binary matrix-vector unit with fused epilogue: acc[c] = sum_k w[c,k]*x[k] over +-1, by XNOR and popcount.
#ifndef BHVIT_BINARY_LINEAR_HPP
#define BHVIT_BINARY_LINEAR_HPP

#include "bhvit/linear.hpp"

namespace bhvit {

template <typename P> struct BinaryDot {
  static_assert(P::In0::KIND == BIPOLAR, "binary_linear takes +-1 data.");
  static constexpr int BITS = bits_of(P::IN_CHANNELS);
  typedef ap_uint<BITS> sum;  // of matching bits
  static sum dot(const ap_uint<P::SIMD>& x, const ap_uint<P::SIMD>& w) {
#pragma HLS INLINE
    const ap_uint<P::SIMD> match = ~(x ^ w);
    return popcount<P::SIMD>(match);
  }
  static ap_int<BITS + 2> value(const sum& matches) {
#pragma HLS INLINE
    return 2 * ap_int<BITS + 2>(matches) - P::IN_CHANNELS;
  }
};

template <typename P, typename... R>
void binary_linear(int set, const ap_uint<P::WEIGHT_WIDTH> weight[P::WEIGHT_DEPTH],
                   const ap_uint<P::EPILOGUE_WIDTH> constants[P::EPILOGUE_DEPTH],
                   hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0,
                   R&... residuals) {
#pragma HLS INLINE
  matrix_vector<P, BinaryDot<P>>(set, weight, constants, out0, in0, residuals...);
}

}  // namespace bhvit
#endif
