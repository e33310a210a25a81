// SPDX-License-Identifier: MIT
// Integer matrix-vector unit with fused epilogue: acc[c] = sum_k w[c,k]*x[k], one multiplier per PE x SIMD x TP.
#ifndef BHVIT_INT_LINEAR_HPP
#define BHVIT_INT_LINEAR_HPP

#include "bhvit/linear.hpp"

namespace bhvit {

template <typename P> struct IntDot {
  typedef typename P::In0 In;
  static_assert(In::KIND != BIPOLAR, "int_linear takes integers; binary_linear takes +-1 data.");
  typedef ap_int<P::IN_BITS + P::W_BITS + 1 + bits_of(P::IN_CHANNELS)> sum;
  static sum dot(const ap_uint<P::SIMD * P::IN_BITS>& x, const ap_uint<P::SIMD * P::W_BITS>& w) {
#pragma HLS INLINE
    sum total = 0;
    for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
      typename In::value a;
      a = field<P::IN_BITS>(x, i * P::IN_BITS);
      total += a * signed_field<P::W_BITS>(w, i * P::W_BITS);
    }
    return total;
  }
  static sum value(const sum& total) { return total; }
};

template <typename P, typename... R>
void int_linear(int set, const ap_uint<P::WEIGHT_WIDTH> weight[P::WEIGHT_DEPTH],
                const ap_uint<P::EPILOGUE_WIDTH> constants[P::EPILOGUE_DEPTH],
                hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0, R&... residuals) {
#pragma HLS INLINE
  matrix_vector<P, IntDot<P>>(set, weight, constants, out0, in0, residuals...);
}

}  // namespace bhvit
#endif
