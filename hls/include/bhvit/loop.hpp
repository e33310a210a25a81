// SPDX-License-Identifier: MIT
// Gate of an engine that ROUNDS identical blocks share: every frame passes the engine ROUNDS times. in0: new frames;
// out0: into the engine; in1: out of the engine; out1: finished frames; out_set: for every frame let in, the set of
// constants that it uses, before its first beat.
// A returning frame goes before a new one; frames return in the order in which they were let in. At most IN_FLIGHT frames
// are under way. A new frame starts once it is here completely, so that it does not hold the engine up; its beats are
// collected whenever there are some, also while another frame passes. A call lets frames in ROUNDS times and one frame
// out, whichever their turn is. Unlike in the RTL, no frame leaves while another one enters.
#ifndef BHVIT_LOOP_HPP
#define BHVIT_LOOP_HPP

#include "bhvit/core.hpp"

namespace bhvit {

// Where the beats of the next new frame are in their ring of BEATS beats.
template <int BEATS> struct Ring {
  int held, write_at, read_at;
  constexpr Ring() : held(0), write_at(0), read_at(0) {}
  static int after(int at) {
#pragma HLS INLINE
    return at == BEATS - 1 ? 0 : at + 1;
  }
  bool complete() const {
#pragma HLS INLINE
    return held == BEATS;
  }
  // Takes a beat from the stream if there is one, and room for it.
  template <typename B> void collect(hls::stream<B>& in, B beats[BEATS]) {
#pragma HLS INLINE
    if (!complete() && !in.empty()) {
      beats[write_at] = in.read();
      write_at = after(write_at);
      held++;
    }
  }
  template <typename B> B take(const B beats[BEATS]) {
#pragma HLS INLINE
    const B x = beats[read_at];
    read_at = after(read_at);
    held--;
    return x;
  }
};

// The frames under way. Their rounds are a queue: twice as many places as frames, as in the schedule of the RTL.
struct UnderWay {
  static constexpr int PLACES = 16;
  int rounds[PLACES], enters, returns, frames;
  constexpr UnderWay() : rounds{}, enters(0), returns(0), frames(0) {}
  void push(int round) {
#pragma HLS INLINE
    rounds[enters] = round;
    enters = (enters + 1) % PLACES;
  }
  int pop() {
#pragma HLS INLINE
    const int round = rounds[returns];
    returns = (returns + 1) % PLACES;
    return round;
  }
};

template <typename P>
void loop(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::Out1::beat>& out1,
          hls::stream<set_beat>& out_set, hls::stream<typename P::In0::beat>& in0,
          hls::stream<typename P::In1::beat>& in1) {
  static_assert(P::ROUNDS >= 1 && P::ROUNDS <= 16, "loop: an engine serves 1 to 16 blocks (ROUNDS).");
  static_assert(P::IN_FLIGHT >= 1 && P::IN_FLIGHT <= 8, "loop: 1 to 8 frames may be under way (IN_FLIGHT).");
  static_assert(P::In0::BEATS == P::BEATS && P::In0::WIDTH == P::WIDTH && P::In1::BEATS == P::BEATS &&
                    P::In1::WIDTH == P::WIDTH,
                "loop: every stream has BEATS beats of WIDTH bits.");
  typedef typename P::In0::beat beat;
  static Ring<P::BEATS> ring;  // these outlast a call; P, and with it this function, belongs to one instance
  static UnderWay under_way;
  // by default a reset leaves statics as they are
#pragma HLS RESET variable=ring
#pragma HLS RESET variable=under_way
  static beat fresh[P::BEATS];
  // a new frame is complete before its first beat is taken: no beat is read soon after it was written
#pragma HLS DEPENDENCE variable=fresh inter false
  for (int move = 0; move <= P::ROUNDS; move++) {
    bool returns = false, enters = false;
    while (!returns && !enters) {  // ends when a stream brings something, as a blocking read does
#pragma HLS PIPELINE II=1
      ring.collect(in0, fresh);
      returns = under_way.frames > 0 && !in1.empty();
      enters = !returns && ring.complete() && under_way.frames < P::IN_FLIGHT;
#ifdef BHVIT_SIM_HLS_STREAM_H
      if (!returns && !enters) hls::sim::wait_for_either(in0, !ring.complete(), in1, under_way.frames > 0);
#endif
    }
    const int round = enters ? 0 : under_way.pop() + 1;
    const bool leaves = round == P::ROUNDS;
    if (enters) under_way.frames++;
    if (!leaves) {
      under_way.push(round);
      out_set.write(round);
    }
    for (int i = 0; i < P::BEATS; i++) {
#pragma HLS PIPELINE II=1
      ring.collect(in0, fresh);
      beat x;
      if (enters)
        x = ring.take(fresh);
      else
        x = in1.read();
      if (leaves)
        out1.write(x);
      else
        out0.write(x);
    }
    if (leaves) under_way.frames--;
  }
}

}  // namespace bhvit
#endif
