// SPDX-License-Identifier: MIT
// Window attention of binary q, k, v with probabilities of four levels, without a division.
//   pc[j] = popcount(q xnor k_j)                 e[j] = table[max pc - pc[j]]                 S = sum_j e[j]
//   level[j] = sum over the three thresholds of head h: neg ? (e[j] << ES) <= t*S : (e[j] << ES) >= t*S
//   G[c] = sum_j level[j]*v_j[c] = 2 * (sum of level[j] where v_j[c] = +1) - sum_j level[j]
// The next window loads while one is computed. A row (one head of one token) passes three stages, LP keys a cycle each;
// the stages work on different rows at a time.
#ifndef BHVIT_QD_ATTENTION_HPP
#define BHVIT_QD_ATTENTION_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P> struct QdTypes {
  static_assert(P::TOKENS >= 2, "qd_attention: a window has at least 2 tokens.");
  static_assert(P::LP >= 1 && P::LP <= P::TOKENS, "qd_attention: LP keys per cycle are 1 to TOKENS.");
  static_assert(P::HEAD_DIM % P::SIMD == 0 && P::HEAD_DIM % P::PE == 0,
                "qd_attention: SIMD and PE must divide HEAD_DIM.");
  static constexpr int ROWS = P::TOKENS * P::HEADS, GROUPS = (P::TOKENS + P::LP - 1) / P::LP;
  static constexpr int SUM_BITS = bits_of(P::TOKENS) + P::E_BITS, LEVEL_BITS = bits_of(3 * P::TOKENS);
  typedef ap_uint<P::HEAD_DIM> word;            // one head of one token
  typedef ap_uint<bits_of(P::HEAD_DIM)> count;  // matching bits of two such words
  typedef ap_uint<P::E_BITS> exponential;
};

// The three streams advance together, so a producer that feeds them all needs no window-deep FIFO.
template <typename P, typename S>
void qd_load(S& in0, S& in1, S& in2, typename QdTypes<P>::word q[QdTypes<P>::ROWS],
             typename QdTypes<P>::word k[QdTypes<P>::ROWS], typename QdTypes<P>::word v[QdTypes<P>::ROWS]) {
  constexpr int FOLDS = P::HEAD_DIM / P::SIMD;
  typename QdTypes<P>::word words[3] = {0, 0, 0};
#pragma HLS ARRAY_PARTITION variable=words complete
  for (int row = 0; row < QdTypes<P>::ROWS; row++) {
    for (int f = 0; f < FOLDS; f++) {
#pragma HLS PIPELINE II=1
      const int high = (f + 1) * P::SIMD - 1, low = f * P::SIMD;
      words[0].range(high, low) = field<P::SIMD>(in0.read(), 0);
      words[1].range(high, low) = field<P::SIMD>(in1.read(), 0);
      words[2].range(high, low) = field<P::SIMD>(in2.read(), 0);
      if (f == FOLDS - 1) {
        q[row] = words[0];
        k[row] = words[1];
        v[row] = words[2];
      }
    }
  }
}

template <typename P> int qd_head(int row) {
#pragma HLS INLINE
  return ap_uint<bits_of(QdTypes<P>::ROWS)>(row) % P::HEADS;
}

template <typename P>
void qd_logits(int row, const typename QdTypes<P>::word queries[QdTypes<P>::ROWS],
               const typename QdTypes<P>::word k[QdTypes<P>::ROWS], typename QdTypes<P>::count pc[P::TOKENS],
               typename QdTypes<P>::count& top) {
  const int head = qd_head<P>(row);
  const typename QdTypes<P>::word q = queries[row];
  typename QdTypes<P>::count best = 0;
  for (int g = 0; g < QdTypes<P>::GROUPS; g++) {
#pragma HLS PIPELINE II=1
    for (int l = 0; l < P::LP; l++) {
#pragma HLS UNROLL
      const int j = g * P::LP + l;
      if (j < P::TOKENS) {
        const typename QdTypes<P>::word match = ~(q ^ k[j * P::HEADS + head]);
        const typename QdTypes<P>::count n = popcount<P::HEAD_DIM>(match);
        pc[j] = n;
        if (n > best) best = n;
      }
    }
  }
  top = best;
}

template <typename P>
void qd_exponentials(int set, const ap_uint<P::TABLE_WIDTH> table[P::TABLE_DEPTH],
                     const typename QdTypes<P>::count pc[P::TOKENS], const typename QdTypes<P>::count& top,
                     typename QdTypes<P>::exponential e[P::TOKENS], ap_uint<QdTypes<P>::SUM_BITS>& total) {
  ap_uint<QdTypes<P>::SUM_BITS> sum = 0;
  for (int g = 0; g < QdTypes<P>::GROUPS; g++) {
#pragma HLS PIPELINE II=1
    for (int l = 0; l < P::LP; l++) {
#pragma HLS UNROLL
      const int j = g * P::LP + l;
      if (j < P::TOKENS) {
        const int distance = int(top) - int(pc[j]);
        e[j] = field<P::E_BITS>(table[set * (P::HEAD_DIM + 1) + distance], 0);
        sum += e[j];
      }
    }
  }
  total = sum;
}

template <typename P>
void qd_mix(int set, int row, const ap_uint<P::THRESH_WIDTH> thresholds[P::THRESH_DEPTH],
            const typename QdTypes<P>::exponential e[P::TOKENS], const ap_uint<QdTypes<P>::SUM_BITS>& total,
            const typename QdTypes<P>::word v[QdTypes<P>::ROWS], hls::stream<typename P::Out0::beat>& out0) {
  typedef QdTypes<P> T;
  constexpr int COMPARE = max_of(P::T_BITS + T::SUM_BITS, P::E_BITS + P::ES) + 2;
  const int head = qd_head<P>(row);
  const ap_uint<P::THRESH_WIDTH> word = thresholds[set * P::HEADS + head];
  const ap_uint<1> neg = word[3 * P::T_BITS];
  ap_int<COMPARE> limit[3];
#pragma HLS ARRAY_PARTITION variable=limit complete
  for (int i = 0; i < 3; i++) {
#pragma HLS UNROLL
    limit[i] = signed_field<P::T_BITS>(word, i * P::T_BITS) * ap_int<T::SUM_BITS + 1>(total);
  }
  ap_uint<T::LEVEL_BITS> plus[P::HEAD_DIM], all = 0;
#pragma HLS ARRAY_PARTITION variable=plus complete
  for (int c = 0; c < P::HEAD_DIM; c++) {
#pragma HLS UNROLL
    plus[c] = 0;
  }
  for (int g = 0; g < T::GROUPS; g++) {
#pragma HLS PIPELINE II=1
    for (int l = 0; l < P::LP; l++) {
#pragma HLS UNROLL
      const int j = g * P::LP + l;
      if (j < P::TOKENS) {
        const ap_int<COMPARE> scaled = ap_int<COMPARE>(e[j]) << P::ES;
        ap_uint<2> level = 0;
        for (int i = 0; i < 3; i++) {
#pragma HLS UNROLL
          level += ap_uint<1>(neg ? scaled <= limit[i] : scaled >= limit[i]);
        }
        const typename T::word sign = v[j * P::HEADS + head];
        all += level;
        for (int c = 0; c < P::HEAD_DIM; c++) {
#pragma HLS UNROLL
          if (sign[c]) plus[c] += level;
        }
      }
    }
  }
  for (int f = 0; f < P::HEAD_DIM / P::PE; f++) {
#pragma HLS PIPELINE II=1
    typename P::Out0::beat g = 0;
    for (int i = 0; i < P::PE; i++) {
#pragma HLS UNROLL
      P::Out0::set(g, i, 2 * ap_int<T::LEVEL_BITS + 2>(plus[f * P::PE + i]) - ap_int<T::LEVEL_BITS + 2>(all));
    }
    out0.write(g);
  }
}

// Only calls with variables as arguments: what the compilers document as a canonical dataflow region.
template <typename P>
void qd_window(int set, const ap_uint<P::TABLE_WIDTH> table[P::TABLE_DEPTH],
               const ap_uint<P::THRESH_WIDTH> thresholds[P::THRESH_DEPTH],
               const typename QdTypes<P>::word q[QdTypes<P>::ROWS], const typename QdTypes<P>::word k[QdTypes<P>::ROWS],
               const typename QdTypes<P>::word v[QdTypes<P>::ROWS], hls::stream<typename P::Out0::beat>& out0) {
  typedef QdTypes<P> T;
  constexpr int LANES = P::LP;
  (void)LANES;
  for (int row = 0; row < T::ROWS; row++) {
#pragma HLS DATAFLOW
    typename T::count pc[P::TOKENS], top;
    typename T::exponential e[P::TOKENS];
    ap_uint<T::SUM_BITS> total;
#pragma HLS ARRAY_PARTITION variable=pc cyclic factor=LANES
#pragma HLS ARRAY_PARTITION variable=e cyclic factor=LANES
    qd_logits<P>(row, q, k, pc, top);
    qd_exponentials<P>(set, table, pc, top, e, total);
    qd_mix<P>(set, row, thresholds, e, total, v, out0);
  }
}

template <typename P>
void qd_attention(int set, const ap_uint<P::TABLE_WIDTH> table[P::TABLE_DEPTH],
                  const ap_uint<P::THRESH_WIDTH> thresholds[P::THRESH_DEPTH], hls::stream<typename P::Out0::beat>& out0,
                  hls::stream<typename P::In0::beat>& in0, hls::stream<typename P::In1::beat>& in1,
                  hls::stream<typename P::In2::beat>& in2) {
  constexpr int BANKS = P::LP * P::HEADS;  // the keys of a head that are read together lie HEADS apart
  (void)BANKS;                             // only the pragmas use it
  for (int window = 0; window < P::WINDOWS; window++) {
#pragma HLS DATAFLOW
    typename QdTypes<P>::word q[QdTypes<P>::ROWS], k[QdTypes<P>::ROWS], v[QdTypes<P>::ROWS];
#pragma HLS ARRAY_PARTITION variable=k cyclic factor=BANKS
#pragma HLS ARRAY_PARTITION variable=v cyclic factor=BANKS
    qd_load<P>(in0, in1, in2, q, k, v);
    qd_window<P>(set, table, thresholds, q, k, v, out0);
  }
}

}  // namespace bhvit
#endif
