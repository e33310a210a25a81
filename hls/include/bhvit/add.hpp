// SPDX-License-Identifier: MIT
// Exact element-wise sum of 2 to 4 streams. One beat per cycle.
#ifndef BHVIT_ADD_HPP
#define BHVIT_ADD_HPP

#include "bhvit/core.hpp"

namespace bhvit {

// The sums of the beats so far, then those with the beats of the other streams.
template <typename P> void add_beats(typename P::Out0::beat&) {}
template <typename P, typename S, typename... More> void add_beats(typename P::Out0::beat& y, S& in, More&... more) {
#pragma HLS INLINE
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  const typename In::beat x = in.read();
  for (int i = 0; i < In::LANES; i++) {
#pragma HLS UNROLL
    Out::set(y, i, Out::get(y, i) + In::get(x, i));
  }
  add_beats<P>(y, more...);
}

template <typename P, typename... S> void add(hls::stream<typename P::Out0::beat>& out0, S&... terms) {
  static_assert(sizeof...(S) == P::TERMS, "add: as many input streams as TERMS.");
  for (int beat = 0; beat < P::In0::BEATS; beat++) {
#pragma HLS PIPELINE II=1
    typename P::Out0::beat y = 0;
    add_beats<P>(y, terms...);
    out0.write(y);
  }
}

}  // namespace bhvit
#endif
