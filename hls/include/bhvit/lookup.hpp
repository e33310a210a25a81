// SPDX-License-Identifier: MIT
// Table look-up of every element: out = table[x - min]. One beat per cycle; a port of the table per lane.
#ifndef BHVIT_LOOKUP_HPP
#define BHVIT_LOOKUP_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void lookup(int set, const ap_uint<P::TABLE_WIDTH> table[P::TABLE_DEPTH], hls::stream<typename P::Out0::beat>& out0,
            hls::stream<typename P::In0::beat>& in0) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  for (int beat = 0; beat < In::BEATS; beat++) {
#pragma HLS PIPELINE II=1
    const typename In::beat x = in0.read();
    typename Out::beat y = 0;
    for (int i = 0; i < In::LANES; i++) {
#pragma HLS UNROLL
      const int a = (set << P::IN_BITS) + int(In::get(x, i)) + (1 << (P::IN_BITS - 1));
      Out::set(y, i, signed_field<P::OUT_BITS>(table[a], 0));
    }
    out0.write(y);
  }
}

}  // namespace bhvit
#endif
