// SPDX-License-Identifier: MIT
// Random words into the patterns (Vtop: module `both`, which holds RTL and netlist); prints cycles and mismatching bits.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>
#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

int main(int argc, char** argv) {
  const long cycles = argc > 1 ? std::atol(argv[1]) : 20000;
  Vtop top;
  uint64_t s = 88172645463325252ull;
  std::vector<long> wrong(512, 0);
  for (long c = 0; c < cycles; c++) {
    for (int i = 0; i < 8; i++) {
      s ^= s << 13; s ^= s >> 7; s ^= s << 17;
      top.x[i] = uint32_t(s >> 16);
    }
    top.clk = 0;
    top.eval();
    if (c > 4000)  // memories that begin undefined are written by then
      for (int i = 0; i < 512; i++) wrong[i] += top.different[i / 32] >> (i % 32) & 1;
    top.clk = 1;
    top.eval();
  }
  std::printf("cycles %ld\n", cycles);
  for (int i = 0; i < 512; i++) if (wrong[i]) std::printf("bit %d: %ld\n", i, wrong[i]);
  return 0;
}
