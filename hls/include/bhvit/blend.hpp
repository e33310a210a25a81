// SPDX-License-Identifier: MIT
// Blend of two values with coefficients per channel: sat((a*va << KA + b*vb + o) >> SH). What window_concat and
// window_merge share. A constant word holds a, then b, then o of SIMD channels.
#ifndef BHVIT_BLEND_HPP
#define BHVIT_BLEND_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P, int WA, int WB>
ap_int<P::BITS> blend(const ap_uint<P::BLEND_WIDTH>& word, int i, const ap_int<WA>& va, const ap_int<WB>& vb) {
#pragma HLS INLINE
  constexpr int C = P::COEF_BITS, FIRST = C + WA + P::KA;
  constexpr int SUM = max_of(max_of(FIRST, C + WB), P::O_BITS) + 2;
  ap_int<SUM> sum = ap_int<FIRST>(signed_field<C>(word, i * C) * va) << P::KA;
  sum += signed_field<C>(word, (P::SIMD + i) * C) * vb;
  sum += signed_field<P::O_BITS>(word, 2 * P::SIMD * C + i * P::O_BITS);
  return saturate<P::BITS>(ap_int<SUM>(sum >> P::SH));
}

}  // namespace bhvit
#endif
