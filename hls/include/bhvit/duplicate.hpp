// SPDX-License-Identifier: MIT
// Fork: every beat of the input, the last port, goes to all outputs, the ports before it. One beat per cycle.
#ifndef BHVIT_DUPLICATE_HPP
#define BHVIT_DUPLICATE_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename B, typename S> B fork(S& in) {
#pragma HLS INLINE
  return in.read();
}
template <typename B, typename S, typename... More> B fork(S& out, More&... more) {
#pragma HLS INLINE
  const B x = fork<B>(more...);
  out.write(x);
  return x;
}

template <typename P, typename... S> void duplicate(S&... ports) {
  static_assert(sizeof...(S) == P::COPIES + 1, "duplicate: as many output streams as COPIES.");
  for (int beat = 0; beat < P::In0::BEATS; beat++) {
#pragma HLS PIPELINE II=1
    fork<typename P::In0::beat>(ports...);
  }
}

}  // namespace bhvit
#endif
