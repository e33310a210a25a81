// SPDX-License-Identifier: MIT
// A host at the other end of the serial line of a verilated board design (ports clk, rx, tx, button, leds). It reads lines
// from standard input and answers each with one line:
//
//   divisor N          cycles per bit of the host's side (may differ a little from the board's); answers "ok"
//   send HEX           bytes without gaps; "gap N" before it puts N idle cycles between them; answers "ok"
//   gap N | run N      idle cycles between bytes from now on | let N cycles pass
//   break N            hold the line at 0 for N cycles
//   button N           press the button for N cycles
//   expect N PATIENCE  wait until N bytes are there, or none came for PATIENCE cycles; answers with the bytes in hexadecimal
//   leds               answers with the lights in hexadecimal
//   cycles             answers with the cycles since the start
//   quit
//
// What the board sends is decoded bit by bit, in the middle of each bit; a wrong stop bit ends the program with code 4.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

namespace {

Vtop* top;
uint64_t cycle = 0, last_byte = 0;
int divisor = 25, gap = 0;
std::deque<uint8_t> received;

struct Decoder {
  int timer = 0, bit = -1, value = 0;
  void step(int line) {
    if (bit < 0) {
      if (!line) bit = 0, timer = divisor / 2, value = 0;
      return;
    }
    if (--timer > 0) return;
    timer = divisor;
    if (bit == 0 && line) { std::fprintf(stderr, "no start bit in cycle %" PRIu64 "\n", cycle); std::exit(4); }
    if (bit >= 1 && bit <= 8) value |= line << (bit - 1);
    if (bit++ < 9) return;
    if (!line) { std::fprintf(stderr, "wrong stop bit in cycle %" PRIu64 "\n", cycle); std::exit(4); }
    received.push_back(uint8_t(value));
    last_byte = cycle;
    bit = -1;
  }
} decoder;

void run(uint64_t cycles) {
  for (; cycles; cycles--) {
    top->clk = 1;
    top->eval();
    decoder.step(top->tx);
    top->clk = 0;
    top->eval();
    cycle++;
  }
}

void send(uint8_t value) {
  top->rx = 0;
  run(uint64_t(divisor));
  for (int i = 0; i < 8; i++) {
    top->rx = value >> i & 1;
    run(uint64_t(divisor));
  }
  top->rx = 1;
  run(uint64_t(divisor + gap));
}

}  // namespace

int main(int argc, char** argv) {
  Verilated::commandArgs(argc, argv);
  top = new Vtop;
  top->rx = 1;
  top->button = 0;
  top->clk = 0;
  top->eval();
  char* line = nullptr;
  size_t size = 0;
  while (getline(&line, &size, stdin) > 0) {
    std::string text(line);
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    const auto space = text.find(' ');
    const std::string verb = text.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : text.substr(space + 1);
    const uint64_t n = std::strtoull(rest.c_str(), nullptr, 10);
    if (verb == "quit") break;
    if (verb == "divisor") divisor = int(n);
    else if (verb == "gap") gap = int(n);
    else if (verb == "run") run(n);
    else if (verb == "send") {
      for (size_t i = 0; i + 1 < rest.size(); i += 2) send(uint8_t(std::stoi(rest.substr(i, 2), nullptr, 16)));
    } else if (verb == "break") {
      top->rx = 0;
      run(n);
      top->rx = 1;
      run(uint64_t(2 * divisor));
    } else if (verb == "button") {
      top->button = 1;
      run(n);
      top->button = 0;
    } else if (verb == "leds") {
      std::printf("%02x\n", unsigned(top->leds));
      std::fflush(stdout);
      continue;
    } else if (verb == "cycles") {
      std::printf("%" PRIu64 "\n", cycle);
      std::fflush(stdout);
      continue;
    } else if (verb == "expect") {
      const auto at = rest.find(' ');
      const uint64_t patience = at == std::string::npos ? 1000000 : std::strtoull(rest.c_str() + at, nullptr, 10);
      const uint64_t begun = cycle;
      while (received.size() < n && cycle - (last_byte > begun ? last_byte : begun) < patience) run(64);
      for (uint64_t i = 0; i < n && !received.empty(); i++) {
        std::printf("%02x", received.front());
        received.pop_front();
      }
      std::printf("\n");
      std::fflush(stdout);
      continue;
    } else {
      std::printf("what is `%s`?\n", verb.c_str());
      std::fflush(stdout);
      continue;
    }
    std::printf("ok\n");
    std::fflush(stdout);
  }
  top->final();
  delete top;
  return 0;
}
