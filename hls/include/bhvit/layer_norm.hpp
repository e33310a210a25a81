// SPDX-License-Identifier: MIT
// Layer norm of tokens in exact integer arithmetic, with a correctly rounded inverse square root.
//   S = sum x     Q = sum x^2     v = C*Q - S^2 + eps         r = floor(2^K / sqrt(v) + 1/2)
//   n = sat_N_BITS(((C*x - S)*r) >> S1)                        y = sat_OUT_BITS((m[c]*n + o[c]) >> SH)
// eps is EPS_INT, or one of eps_sets where every set has its own; likewise S1 and s1_sets. Three stages work on different tokens at a time:
// sums, root, scaling. A constant word holds m, then o of SIMD channels.
#ifndef BHVIT_LAYER_NORM_HPP
#define BHVIT_LAYER_NORM_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P> struct LayerNormTypes {
  static constexpr int SUM_BITS = P::IN_BITS + bits_of(P::CHANNELS);
  static constexpr int SQUARE_BITS = 2 * P::IN_BITS + bits_of(P::CHANNELS);
  typedef ap_int<SUM_BITS> sum;
  typedef ap_uint<P::V_BITS> variance;
  typedef ap_uint<P::R_BITS> root;
};

template <typename P>
void layer_norm_sums(int set, hls::stream<typename P::In0::beat>& in0, typename P::In0::beat token[P::In0::FOLDS],
                     typename LayerNormTypes<P>::sum& total, typename LayerNormTypes<P>::variance& v) {
  typedef LayerNormTypes<P> T;
  typename T::sum s = 0;
  ap_uint<T::SQUARE_BITS> q = 0;
  for (int f = 0; f < P::In0::FOLDS; f++) {
#pragma HLS PIPELINE II=1
    const typename P::In0::beat x = in0.read();
    token[f] = x;
    for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
      const ap_int<P::IN_BITS> a = P::In0::get(x, i);
      s += a;
      q += ap_uint<2 * P::IN_BITS>(a * a);
    }
  }
  total = s;
  const ap_uint<32> eps = P::EPS_SETS_COUNT ? P::eps_sets(set) : P::EPS_INT;
  v = ap_int<T::SQUARE_BITS + bits_of(P::CHANNELS) + 2>(P::CHANNELS * q) - s * s + eps;
}

// The largest r with (2r-1)^2 * v <= 4^(K+1), bit by bit, by additions alone: with a = 2r-1 and r + 2^b for r,
// a*v grows by v*2^(b+1), and a^2*v by a*v*2^(b+2) + v*2^(2b+2).
template <typename P>
void layer_norm_root(const typename LayerNormTypes<P>::variance& v, typename LayerNormTypes<P>::root& root) {
  constexpr int BITS = max_of(P::V_BITS + 2 * P::R_BITS + 4, 2 * P::K + 4);
  typedef ap_int<BITS> number;
  const number limit = number(1) << (2 * P::K + 2);
  number single = -number(v), square = v;  // a*v and a^2*v of r = 0
  typename LayerNormTypes<P>::root r = 0;
  for (int b = P::R_BITS - 1; b >= 0; b--) {
#pragma HLS PIPELINE II=1
    const number tried = square + (single << (b + 2)) + (number(v) << (2 * b + 2));
    if (tried <= limit) {
      square = tried;
      single += number(v) << (b + 1);
      r[b] = 1;
    }
  }
  root = r;
}

template <typename P>
void layer_norm_scale(int set, const ap_uint<P::SCALE_WIDTH> scale[P::SCALE_DEPTH],
                      const typename P::In0::beat token[P::In0::FOLDS], const typename LayerNormTypes<P>::sum& total,
                      const typename LayerNormTypes<P>::root& root, hls::stream<typename P::Out0::beat>& out0) {
  constexpr int CENTRED = LayerNormTypes<P>::SUM_BITS + 2, PRODUCT = CENTRED + P::R_BITS + 1;
  const int s1 = P::S1_SETS_COUNT ? int(P::s1_sets(set)) : P::S1;
  constexpr int SUM = max_of(P::M_BITS + P::N_BITS, P::O_BITS) + 1;
  for (int f = 0; f < P::In0::FOLDS; f++) {
#pragma HLS PIPELINE II=1
    const ap_uint<P::SCALE_WIDTH> word = scale[set * P::In0::FOLDS + f];
    typename P::Out0::beat y = 0;
    for (int i = 0; i < P::SIMD; i++) {
#pragma HLS UNROLL
      const ap_int<CENTRED> centred = P::In0::get(token[f], i) * P::CHANNELS - total;
      const ap_int<PRODUCT> product = centred * ap_int<P::R_BITS + 1>(root);
      const ap_int<P::N_BITS> n = saturate<P::N_BITS>(ap_int<PRODUCT>(product >> s1));
      ap_int<SUM> sum = signed_field<P::M_BITS>(word, i * P::M_BITS) * n;
      sum += signed_field<P::O_BITS>(word, P::SIMD * P::M_BITS + i * P::O_BITS);
      P::Out0::set(y, i, saturate<P::OUT_BITS>(ap_int<SUM>(sum >> P::SH)));
    }
    out0.write(y);
  }
}

template <typename P>
void layer_norm(int set, const ap_uint<P::SCALE_WIDTH> scale[P::SCALE_DEPTH], hls::stream<typename P::Out0::beat>& out0,
                hls::stream<typename P::In0::beat>& in0) {
  static_assert(P::EPS_INT >= 1, "layer_norm: EPS_INT is at least 1, since v must be positive.");
  for (int t = 0; t < P::TOKENS; t++) {
#pragma HLS DATAFLOW
    typename P::In0::beat token[P::In0::FOLDS];  // passes the root by: three buffers, so that all stages overlap
#pragma HLS STREAM variable=token type=pipo depth=3
    typename LayerNormTypes<P>::sum total;
    typename LayerNormTypes<P>::variance v;
    typename LayerNormTypes<P>::root root;
    layer_norm_sums<P>(set, in0, token, total, v);
    layer_norm_root<P>(v, root);
    layer_norm_scale<P>(set, scale, token, total, root, out0);
  }
}

}  // namespace bhvit
#endif
