// SPDX-License-Identifier: MIT
// Cuts a map into patches, each one token with channels in the order (kh, kw, c). A strip of PATCH rows is loaded while
// the one before is put out. One beat per cycle: a part of a pixel, or PIXELS neighbours of a row.
#ifndef BHVIT_PATCHIFY_HPP
#define BHVIT_PATCHIFY_HPP

#include "bhvit/core.hpp"

namespace bhvit {

template <typename P, typename B>
void patchify_load(hls::stream<B>& in, B strip[P::PATCH * P::COLUMNS * P::FOLDS / P::PIXELS]) {
  for (int a = 0; a < P::PATCH * P::COLUMNS * P::FOLDS / P::PIXELS; a++) {
#pragma HLS PIPELINE II=1
    strip[a] = in.read();
  }
}

template <typename P, typename B>
void patchify_emit(const B strip[P::PATCH * P::COLUMNS * P::FOLDS / P::PIXELS], hls::stream<B>& out) {
  for (int x = 0; x < P::COLUMNS; x += P::PATCH) {
    for (int kh = 0; kh < P::PATCH; kh++) {
      for (int a = 0; a < P::PATCH * P::FOLDS / P::PIXELS; a++) {  // kw and c lie next to each other
#pragma HLS PIPELINE II=1
        out.write(strip[(kh * P::COLUMNS + x) * P::FOLDS / P::PIXELS + a]);
      }
    }
  }
}

template <typename P>
void patchify(hls::stream<typename P::Out0::beat>& out0, hls::stream<typename P::In0::beat>& in0) {
  static_assert(P::COLUMNS % P::PATCH == 0, "patchify: PATCH must divide the columns of the map.");
  static_assert(P::PATCH % P::PIXELS == 0 && (P::PIXELS == 1 || P::FOLDS == 1),
                "patchify: the pixels of a beat must lie in one patch.");
  static_assert(P::In0::TOKENS % (P::PATCH * P::COLUMNS) == 0, "patchify: PATCH must divide the rows of the map.");
  for (int strips = 0; strips < P::In0::TOKENS / (P::PATCH * P::COLUMNS); strips++) {
#pragma HLS DATAFLOW
    typename P::In0::beat strip[P::PATCH * P::COLUMNS * P::FOLDS / P::PIXELS];
    patchify_load<P>(in0, strip);
    patchify_emit<P>(strip, out0);
  }
}

}  // namespace bhvit
#endif
