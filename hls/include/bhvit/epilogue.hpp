// SPDX-License-Identifier: MIT
// Everything between an accumulator and the next activation (docs/contract.md, section 1):
//   z = sat_Z_BITS((m[c]*acc + RM*res1 + o[c]) >> sh1)
//   y = sat_OUT_BITS(((z >= 0 ? p[c] : n[c])*z + o2[c] + (res2 << K2)) >> sh2)            ACT = 1
//   y = sat_OUT_BITS((m[c]*acc + RM*res1 + o[c]) >> sh1)                                  ACT = 0
// A constant word holds m, o, then with ACT = 1 also p, n, o2, each of all its channels, lowest bits first. Where
// blocks share an engine, their residuals may differ in scale: RS_MAX > 0 appends rs (res1 counts 2^rs times), KS_MAX >
// 0 appends ks (res2 counts 2^ks times).
#ifndef BHVIT_EPILOGUE_HPP
#define BHVIT_EPILOGUE_HPP

#include "bhvit/core.hpp"

namespace bhvit {

// Beats of the residual streams that belong to one output beat; absent ones stay 0.
template <typename P> struct Residuals {
  typedef typename P::Out0::template with<P::RES1_BITS> Layout1;
  typedef typename P::Out0::template with<P::RES2_BITS> Layout2;
  typename Layout1::beat res1;
  typename Layout2::beat res2;
};

template <typename P> Residuals<P> read_residuals() {
#pragma HLS INLINE
  static_assert(!P::RES1 && !P::RES2, "A residual is declared but its stream is not connected.");
  Residuals<P> r;
  r.res1 = 0;
  r.res2 = 0;
  return r;
}
template <typename P, typename S> Residuals<P> read_residuals(S& only) {
#pragma HLS INLINE
  static_assert(P::RES1 != P::RES2, "One residual stream is connected: exactly one of RES1 and RES2 must be 1.");
  Residuals<P> r;
  r.res1 = 0;
  r.res2 = 0;
  if (P::RES1)
    r.res1 = only.read();
  else
    r.res2 = only.read();
  return r;
}
template <typename P, typename S1, typename S2> Residuals<P> read_residuals(S1& first, S2& second) {
#pragma HLS INLINE
  static_assert(P::RES1 && P::RES2, "Two residual streams are connected: RES1 and RES2 must be 1.");
  Residuals<P> r;
  r.res1 = first.read();
  r.res2 = second.read();
  return r;
}

// One lane. PE: channels of a word. base: first bit of the epilogue's fields in the word. lane, pe: index of the
// element in the beats and of its channel in the word.
template <typename P, int PE, int ACC_BITS, int W>
ap_int<P::OUT_BITS> epilogue(const ap_int<ACC_BITS>& acc, const ap_uint<W>& word, int base, int pe, int lane, int sh1,
                             int sh2, const Residuals<P>& r) {
#pragma HLS INLINE
  static_assert(P::ACT || !P::RES2, "RES2 needs ACT = 1: with one quantizer the residual is RES1.");
  typedef Residuals<P> R;
  constexpr int O_AT = PE * P::M_BITS, P_AT = O_AT + PE * P::O_BITS, N_AT = P_AT + PE * P::SLOPE_BITS;
  constexpr int O2_AT = N_AT + PE * P::SLOPE_BITS, RS_BITS = bits_of(P::RS_MAX), KS_BITS = bits_of(P::KS_MAX);
  constexpr int RS_AT = P::ACT ? O2_AT + PE * P::O2_BITS : P_AT, KS_AT = RS_AT + RS_BITS;
  constexpr int RES1 = P::RES1_BITS + P::RS_MAX, RES2 = P::RES2_BITS + P::K2 + P::KS_MAX;
  constexpr int FIRST = P::ACT ? P::Z_BITS : P::OUT_BITS;
  constexpr int RM_BITS = bits_of(P::RM) + 1;
  constexpr int SUM1 = max_of(max_of(P::M_BITS + ACC_BITS, P::O_BITS), RES1 + RM_BITS) + 2;
  ap_int<SUM1> sum = signed_field<P::M_BITS>(word, base + pe * P::M_BITS) * acc;
  sum += signed_field<P::O_BITS>(word, base + O_AT + pe * P::O_BITS);
  const int rs = P::RS_MAX ? int(field<max_of(RS_BITS, 1)>(word, base + RS_AT)) : 0;
  if (P::RES1) sum += ap_int<RES1>(ap_int<RES1>(R::Layout1::get(r.res1, lane)) << rs) * ap_int<RM_BITS>(P::RM);
  const ap_int<FIRST> z = saturate<FIRST>(ap_int<SUM1>(sum >> sh1));
  if (!P::ACT) return z;
  constexpr int SUM2 = max_of(max_of(P::Z_BITS + P::SLOPE_BITS, P::O2_BITS), RES2) + 2;
  // both are read at constant places: a place that depends on z would be a shifter over the whole word
  const ap_int<P::SLOPE_BITS> above = signed_field<P::SLOPE_BITS>(word, base + P_AT + pe * P::SLOPE_BITS);
  const ap_int<P::SLOPE_BITS> below = signed_field<P::SLOPE_BITS>(word, base + N_AT + pe * P::SLOPE_BITS);
  const ap_int<P::SLOPE_BITS> slope = z >= 0 ? above : below;
  ap_int<SUM2> y = slope * z;
  y += signed_field<P::O2_BITS>(word, base + O2_AT + pe * P::O2_BITS);
  const int ks = P::KS_MAX ? int(field<max_of(KS_BITS, 1)>(word, base + KS_AT)) : 0;
  if (P::RES2) y += ap_int<RES2>(R::Layout2::get(r.res2, lane)) << (P::K2 + ks);
  return saturate<P::OUT_BITS>(ap_int<SUM2>(y >> sh2));
}

}  // namespace bhvit
#endif
