// SPDX-License-Identifier: MIT
// What every kernel uses: the beat layout of a stream, widths, saturation, sets of constants.
#ifndef BHVIT_CORE_HPP
#define BHVIT_CORE_HPP

#include <ap_int.h>
#include <hls_stream.h>

namespace bhvit {

constexpr int max_of(int a, int b) { return a > b ? a : b; }
constexpr int min_of(int a, int b) { return a < b ? a : b; }
// Bits of the unsigned number n: 0 for 0, 3 for 7, 4 for 8.
constexpr int bits_of(long long n) { return n <= 0 ? 0 : 1 + bits_of(n >> 1); }
// Bits by which an exact sum of n values grows.
constexpr int extra_bits(int n) { return bits_of(n - 1); }
// Entry i of a list that the declaration packs eight bits an entry.
constexpr int entry(long long packed, int i) { return int((packed >> (8 * i)) & 255); }

enum Kind { SIGNED, UNSIGNED, BIPOLAR };  // BIPOLAR: one bit, 1 for +1 and 0 for -1

template <int BITS, Kind KIND> struct element { typedef ap_uint<BITS> type; };
template <int BITS> struct element<BITS, SIGNED> { typedef ap_int<BITS> type; };

// Bits [at, at + BITS) of a word as a signed or unsigned number.
template <int BITS, int W> ap_int<BITS> signed_field(const ap_uint<W>& word, int at) {
#pragma HLS INLINE
  ap_int<BITS> x;
  x = ap_uint<BITS>(word.range(at + BITS - 1, at));
  return x;
}
template <int BITS, int W> ap_uint<BITS> field(const ap_uint<W>& word, int at) {
#pragma HLS INLINE
  return ap_uint<BITS>(word.range(at + BITS - 1, at));
}

// Layout of a stream: beats of TP tokens x SIMD channels, token-major, element 0 in the least significant bits, padded
// to bytes; channel folds first, then token groups.
template <int BITS_, Kind KIND_, int SIMD_, int TP_, int TOKENS_, int CHANNELS_> struct Stream {
  static_assert(SIMD_ > 0 && CHANNELS_ % SIMD_ == 0, "SIMD must divide the channels of the stream.");
  static_assert(TP_ > 0 && TOKENS_ % TP_ == 0, "TP must divide the tokens of the stream.");
  static constexpr Kind KIND = KIND_;
  static constexpr int BITS = BITS_, SIMD = SIMD_, TP = TP_, TOKENS = TOKENS_, CHANNELS = CHANNELS_;
  static constexpr int LANES = SIMD * TP, GROUPS = TOKENS / TP, FOLDS = CHANNELS / SIMD, BEATS = GROUPS * FOLDS;
  static constexpr int WIDTH = LANES * BITS;
  typedef typename element<BITS, KIND>::type value;
  typedef ap_uint<(WIDTH + 7) / 8 * 8> beat;
  // The same layout with another element type.
  template <int B, Kind K = SIGNED> using with = Stream<B, K, SIMD, TP, TOKENS, CHANNELS>;

  static value get(const beat& b, int e) {
#pragma HLS INLINE
    value x;
    x = ap_uint<BITS>(b.range((e + 1) * BITS - 1, e * BITS));
    return x;
  }
  static void set(beat& b, int e, const value& x) {
#pragma HLS INLINE
    b.range((e + 1) * BITS - 1, e * BITS) = ap_uint<BITS>(x);
  }
};

// Clips x to OUT signed bits.
template <int OUT, int IN> ap_int<OUT> saturate(const ap_int<IN>& x) {
#pragma HLS INLINE
  static_assert(OUT >= 1 && OUT <= 62, "saturate: the result has 1 to 62 bits.");
  const ap_int<OUT> top = (1LL << (OUT - 1)) - 1, bottom = -(1LL << (OUT - 1));
  return x > top ? top : x < bottom ? bottom : ap_int<OUT>(x);
}

template <int W> ap_uint<bits_of(W)> popcount(const ap_uint<W>& x) {
#pragma HLS INLINE
  ap_uint<bits_of(W)> n = 0;
  for (int i = 0; i < W; i++) {
#pragma HLS UNROLL
    n += ap_uint<1>(x[i]);
  }
  return n;
}

// Constant set of the current frame. REPEAT >= 1: advances after every REPEAT frames, modulo SETS. REPEAT = 0, a layer of
// an engine that blocks share: a stream brings the set of every frame, in the order in which the gate (loop.hpp) lets the
// frames in; a port without a handshake would be read before the gate has chosen. One object per instance.
typedef ap_uint<8> set_beat;

template <int SETS, int REPEAT> struct SetCounter {
  static_assert(SETS > 0 && REPEAT > 0, "SETS is at least 1, and REPEAT, unless a gate says the sets, too.");
  int set, frame;
  constexpr SetCounter() : set(0), frame(0) {}
  int next() {
#pragma HLS INLINE
    const int now = set;
    if (frame == REPEAT - 1) set = set == SETS - 1 ? 0 : set + 1;
    frame = frame == REPEAT - 1 ? 0 : frame + 1;
    return now;
  }
};
template <int SETS> struct SetCounter<SETS, 0> {
  static_assert(SETS > 0 && SETS <= 16, "An engine has 1 to 16 sets of constants: SETS.");
  int next(hls::stream<set_beat>& in_set) {
#pragma HLS INLINE
    return int(in_set.read());
  }
};

}  // namespace bhvit
#endif
