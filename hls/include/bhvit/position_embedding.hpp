// SPDX-License-Identifier: MIT
// Sum of the stream and a stored tensor, requantized: sat((x << KA + pe << KB + OFFSET) >> SH). One beat per cycle.
#ifndef BHVIT_POSITION_EMBEDDING_HPP
#define BHVIT_POSITION_EMBEDDING_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P>
void position_embedding(int set, const ap_uint<P::PE_WIDTH> pe[P::PE_DEPTH], hls::stream<typename P::Out0::beat>& out0,
                        hls::stream<typename P::In0::beat>& in0) {
  typedef typename P::In0 In;
  typedef typename P::Out0 Out;
  constexpr int SUM = max_of(max_of(P::IN_BITS + P::KA, P::PE_BITS + P::KB), 32) + 2;
  for (int beat = 0; beat < In::BEATS; beat++) {
#pragma HLS PIPELINE II=1
    const typename In::beat x = in0.read();
    const ap_uint<P::PE_WIDTH> word = pe[set * In::BEATS + beat];
    typename Out::beat y = 0;
    for (int i = 0; i < In::LANES; i++) {
#pragma HLS UNROLL
      ap_int<SUM> sum = P::OFFSET;
      sum += ap_int<SUM>(In::get(x, i)) << P::KA;
      sum += ap_int<SUM>(signed_field<P::PE_BITS>(word, i * P::PE_BITS)) << P::KB;
      Out::set(y, i, saturate<P::OUT_BITS>(ap_int<SUM>(sum >> P::SH)));
    }
    out0.write(y);
  }
}

}  // namespace bhvit
#endif
