// SPDX-License-Identifier: MIT
// Relayout of the beats: TP_IN x SIMD_IN to TP_OUT x SIMD_OUT. Four steps, each left out where it has nothing to do:
// collect channels up to SIMD per beat, split tokens, join tokens, deal channels out. A block of tokens is converted
// at a time.
#ifndef BHVIT_WIDTH_CONVERTER_HPP
#define BHVIT_WIDTH_CONVERTER_HPP

#include "bhvit/core.hpp"

namespace bhvit {

constexpr int gcd_of(int a, int b) { return b == 0 ? a : gcd_of(b, a % b); }

// COUNT words of TP x M elements of BITS bits, made of beats of TP x S elements.
template <int TP, int S, int M, int BITS, int COUNT, typename I, typename O> void gear_up(I& in, O& out) {
  ap_uint<TP * M * BITS> word = 0;
  for (int n = 0; n < COUNT; n++) {
    for (int k = 0; k < M / S; k++) {
#pragma HLS PIPELINE II=1
      const ap_uint<TP * S * BITS> x = in.read();
      for (int t = 0; t < TP; t++) {
#pragma HLS UNROLL
        const int low = (t * M + k * S) * BITS;
        word.range(low + S * BITS - 1, low) = field<S * BITS>(x, t * S * BITS);
      }
      if (k == M / S - 1) out.write(word);
    }
  }
}

// COUNT words of TP x M elements, cut into beats of TP x S elements.
template <int TP, int S, int M, int BITS, int COUNT, typename I, typename O> void gear_down(I& in, O& out) {
  ap_uint<TP * M * BITS> word = 0;
  for (int n = 0; n < COUNT; n++) {
    for (int k = 0; k < M / S; k++) {
#pragma HLS PIPELINE II=1
      if (k == 0) word = in.read();
      ap_uint<TP * S * BITS> y = 0;
      for (int t = 0; t < TP; t++) {
#pragma HLS UNROLL
        const int high = (t + 1) * S * BITS - 1, low = t * S * BITS;
        y.range(high, low) = field<S * BITS>(word, (t * M + k * S) * BITS);
      }
      out.write(y);
    }
  }
}

// GROUPS times FOLDS words of TP tokens, W bits each, to words of one token.
template <int TP, int W, int FOLDS, int GROUPS, typename I, typename O> void token_split(I& in, O& out) {
  ap_uint<TP * W> kept[FOLDS];
  for (int g = 0; g < GROUPS; g++) {
    for (int t = 0; t < TP; t++) {
      for (int f = 0; f < FOLDS; f++) {
#pragma HLS PIPELINE II=1
        if (t == 0) kept[f] = in.read();
        out.write(field<W>(kept[f], t * W));
      }
    }
  }
}

template <int TP, int W, int FOLDS, int GROUPS, typename I, typename O> void token_join(I& in, O& out) {
  ap_uint<TP * W> kept[FOLDS];
  for (int g = 0; g < GROUPS; g++) {
    for (int t = 0; t < TP; t++) {
      for (int f = 0; f < FOLDS; f++) {
#pragma HLS PIPELINE II=1
        ap_uint<TP * W> word = t == 0 ? ap_uint<TP * W>(0) : kept[f];
        word.range((t + 1) * W - 1, t * W) = in.read();
        kept[f] = word;
        if (t == TP - 1) out.write(word);
      }
    }
  }
}

// STEPS: 0 tokens move as well, 1 channels are collected, 2 channels are dealt out, 3 both.
template <typename P, int STEPS> struct WidthConverter {
  static constexpr int M = P::SIMD, W = M * P::BITS, FOLDS = P::CHANNELS / M;
  static_assert(M % P::SIMD_IN == 0 && M % P::SIMD_OUT == 0 && P::CHANNELS % M == 0,
                "width_converter: SIMD_IN and SIMD_OUT must divide SIMD, and SIMD the channels.");
  template <typename O, typename I> static void run(O& out, I& in) {
    constexpr int BLOCK = P::TP_IN / gcd_of(P::TP_IN, P::TP_OUT) * P::TP_OUT;  // tokens
    constexpr int GROUPS_IN = BLOCK / P::TP_IN, GROUPS_OUT = BLOCK / P::TP_OUT;
    for (int block = 0; block < P::In0::TOKENS / BLOCK; block++) {
#pragma HLS DATAFLOW
      hls::stream<ap_uint<P::TP_IN * W>> wide("wide");
      hls::stream<ap_uint<W>> single("single");
      hls::stream<ap_uint<P::TP_OUT * W>> joined("joined");
      gear_up<P::TP_IN, P::SIMD_IN, M, P::BITS, GROUPS_IN * FOLDS>(in, wide);
      token_split<P::TP_IN, W, FOLDS, GROUPS_IN>(wide, single);
      token_join<P::TP_OUT, W, FOLDS, GROUPS_OUT>(single, joined);
      gear_down<P::TP_OUT, P::SIMD_OUT, M, P::BITS, GROUPS_OUT * FOLDS>(joined, out);
    }
  }
};
template <typename P> struct WidthConverter<P, 1> {
  template <typename O, typename I> static void run(O& out, I& in) {
    gear_up<P::TP_IN, P::SIMD_IN, P::SIMD, P::BITS, P::Out0::BEATS>(in, out);
  }
};
template <typename P> struct WidthConverter<P, 2> {
  template <typename O, typename I> static void run(O& out, I& in) {
    gear_down<P::TP_IN, P::SIMD_OUT, P::SIMD, P::BITS, P::In0::BEATS>(in, out);
  }
};
template <typename P> struct WidthConverter<P, 3> {
  static constexpr int M = P::SIMD;
  template <typename O, typename I> static void run(O& out, I& in) {
    for (int word = 0; word < P::In0::GROUPS * P::CHANNELS / M; word++) {
#pragma HLS DATAFLOW
      hls::stream<ap_uint<P::TP_IN * M * P::BITS>> wide("wide");
      gear_up<P::TP_IN, P::SIMD_IN, M, P::BITS, 1>(in, wide);
      gear_down<P::TP_IN, P::SIMD_OUT, M, P::BITS, 1>(wide, out);
    }
  }
};

template <typename P>
void width_converter(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
#pragma HLS INLINE
  // inlined, so that the dataflow region is the top's own: frames overlap only there
  constexpr int STEPS = P::TP_IN != P::TP_OUT ? 0 : P::SIMD == P::SIMD_OUT ? 1 : P::SIMD == P::SIMD_IN ? 2 : 3;
  WidthConverter<P, STEPS>::run(out0, in0);
}

}  // namespace bhvit
#endif
