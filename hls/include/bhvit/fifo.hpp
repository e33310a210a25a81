// SPDX-License-Identifier: MIT
// FIFO of DEPTH beats; it changes nothing but the timing. The queue is a stream of that depth between two processes.
#ifndef BHVIT_FIFO_HPP
#define BHVIT_FIFO_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <int BEATS, typename S, typename D> void copy_beats(S& in, D& out) {
  for (int beat = 0; beat < BEATS; beat++) {
#pragma HLS PIPELINE II=1
    out.write(in.read());
  }
}

template <typename P>
void fifo(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
#pragma HLS DATAFLOW
  static_assert(P::DEPTH >= 1, "fifo: DEPTH is at least 1.");
  hls::stream<typename P::In0::beat, P::DEPTH> queue("queue");
  copy_beats<P::In0::BEATS>(in0, queue);
  copy_beats<P::In0::BEATS>(queue, out0);
}

}  // namespace bhvit
#endif
