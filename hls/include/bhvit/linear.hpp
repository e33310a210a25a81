// SPDX-License-Identifier: MIT
// Matrix-vector product folded by PE, SIMD and TP, then the epilogue: what binary_linear and int_linear share.
//   for group of TP tokens: for mf < M/PE: for kf < K/SIMD:  one cycle, one weight word of PE x SIMD weights
// The input of a group is read with its first output fold and kept for the others; residuals are read with the last
// input fold of their output fold. Dot brings the arithmetic: sum (type of a partial sum), dot() of SIMD elements,
// value().
#ifndef BHVIT_LINEAR_HPP
#define BHVIT_LINEAR_HPP

#include "bhvit/epilogue.hpp"

namespace bhvit {

template <typename P, typename Dot, typename... R>
void matrix_vector(int set, const ap_uint<P::WEIGHT_WIDTH> weight[P::WEIGHT_DEPTH],
                   const ap_uint<P::EPILOGUE_WIDTH> constants[P::EPILOGUE_DEPTH],
                   hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0,
                   R&... residuals) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  static_assert(In::TP == Out::TP, "Input and output of a matrix-vector unit share TP.");
  static_assert(In::CHANNELS == P::IN_CHANNELS && Out::CHANNELS == P::OUT_CHANNELS,
                "The streams of a matrix-vector unit have IN_CHANNELS and OUT_CHANNELS channels.");
  constexpr int KF = In::FOLDS, MF = Out::FOLDS, PE = P::PE, X = P::SIMD * In::BITS, LANES = Out::LANES;
  constexpr int W = P::WEIGHT_WIDTH / PE;
  typename In::beat kept[KF];
  typename Dot::sum sums[LANES];
#pragma HLS ARRAY_PARTITION variable=sums complete
  for (int group = 0; group < In::GROUPS; group++) {
    for (int mf = 0; mf < MF; mf++) {
      for (int kf = 0; kf < KF; kf++) {
#pragma HLS PIPELINE II=1
        if (mf == 0) kept[kf] = in0.read();
        const typename In::beat x = kept[kf];
        const ap_uint<P::WEIGHT_WIDTH> word = weight[(set * MF + mf) * KF + kf];
        for (int i = 0; i < LANES; i++) {
#pragma HLS UNROLL
          const typename Dot::sum before = kf == 0 ? typename Dot::sum(0) : sums[i];
          sums[i] = before + Dot::dot(field<X>(x, i / PE * X), field<W>(word, i % PE * W));
        }
        if (kf == KF - 1) {
          const Residuals<P> r = read_residuals<P>(residuals...);
          const ap_uint<P::EPILOGUE_WIDTH> c = constants[set * MF + mf];
          typename Out::beat y = 0;
          for (int i = 0; i < LANES; i++) {
#pragma HLS UNROLL
            Out::set(y, i, epilogue<P, PE>(Dot::value(sums[i]), c, 0, i % PE, i, P::SH1, P::SH2, r));
          }
          out0.write(y);
        }
      }
    }
  }
}

}  // namespace bhvit
#endif
