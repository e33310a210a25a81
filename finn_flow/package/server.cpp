// SPDX-License-Identifier: MIT
// A Verilated accelerator as a server: a simulated device speaks to it over a pipe. One input and one output stream.
//
// Generated beside it: "ports.inc" (see finn_flow/sim/harness.cpp). Run in the folder of the memory images.
//
//   server IN_BYTES IN_BEATS OUT_BYTES OUT_BEATS PATIENCE        (bytes per beat, beats per frame)
//
// Requests on standard input, little endian: one byte, a 32-bit number n, and for 'I' n bytes.
//   'I' n   n bytes for the input          'O' n   the receiver takes n bytes more; without, the output is not ready
//   'P' 0   how far is it?                 'R' 0   reset, everything in flight is lost
//   'D' 0   forget what the accelerator has not taken and what the receiver wanted, as a reset of the DMA alone does
// Every answer is the struct Status below and `data_bytes` bytes of output. While something is to be done the clock runs
// between the requests; when nothing has moved for PATIENCE cycles, it runs a little with each request.
#include <poll.h>
#include <unistd.h>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>
#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

namespace {

constexpr uint64_t kBetweenRequests = 256;  // cycles

#pragma pack(push, 1)
struct Status {
  uint64_t cycles = 0;    // since the start, resets do not change it
  uint64_t taken = 0;     // input bytes that have entered the accelerator since the last reset
  uint64_t given = 0;     // output bytes that the receiver has taken since the last reset
  uint64_t frames_in = 0, frames_out = 0;  // begun at the input, complete at the output, since the last reset
  uint64_t interval = 0, latency = 0;      // cycles, of the last frame
  uint32_t broken = 0;    // handshake rules that the output broke: 1 VALID dropped, 2 TDATA changed
  uint32_t data_bytes = 0;
};
#pragma pack(pop)

struct Stream {
  size_t bytes = 1;
  uint64_t per_frame = 1, beats = 0;
  std::vector<uint8_t> data;  // input: not yet taken; output: not yet fetched
  size_t at = 0;              // input: next byte of data
  bool offered = false;
  std::vector<uint8_t> held;
};

Stream in, out;
Status status;
uint64_t room = 0;                   // bytes that the receiver still takes
std::vector<uint8_t> partial;        // rest of a beat of which the receiver took a part
std::vector<uint64_t> begun;         // cycles at which the frames in flight began
size_t oldest = 0;
uint64_t last_end = 0;
Vtop* top = nullptr;

template <class T> void put(T& port, const uint8_t* src, size_t n) { std::memcpy(&port, src, n); }
template <class T> void get(const T& port, uint8_t* dst, size_t n) { std::memcpy(dst, &port, n); }

void edge() {
  top->ap_clk = 1; top->eval();
  top->ap_clk = 0; top->eval();
  ++status.cycles;
}

void reset() {
  in.data.clear(); in.at = 0; in.beats = 0; in.offered = false;
  out.data.clear(); out.beats = 0; out.offered = false;
  partial.clear(); begun.clear(); oldest = 0; room = 0; last_end = 0;
  Status fresh;
  fresh.cycles = status.cycles;
  status = fresh;
  top->ap_rst_n = 0;
#define IN_PORT(i, D, V, R) top->V = 0;
#define OUT_PORT(i, D, V, R) top->R = 0;
#include "ports.inc"
#undef IN_PORT
#undef OUT_PORT
  for (int i = 0; i < 8; ++i) edge();
  top->ap_rst_n = 1; top->eval();
}

void deliver() {  // the held rest of a beat to the receiver
  size_t n = partial.size() < room ? partial.size() : size_t(room);
  out.data.insert(out.data.end(), partial.begin(), partial.begin() + long(n));
  partial.erase(partial.begin(), partial.begin() + long(n));
  room -= n;
  status.given += n;
}

bool cycle() {  // returns whether something moved at the boundary
  bool moved = false;
  bool ready = partial.empty() && room > 0;
#define IN_PORT(i, D, V, R)                                                                            \
  if (!in.offered && in.data.size() - in.at >= in.bytes) {                                             \
    in.offered = true; put(top->D, &in.data[in.at], in.bytes); }                                       \
  top->V = in.offered;
#define OUT_PORT(i, D, V, R) top->R = ready;
#include "ports.inc"
#undef IN_PORT
#undef OUT_PORT
  top->eval();
#define IN_PORT(i, D, V, R)                                                                            \
  if (in.offered && top->R) {                                                                          \
    if (in.beats++ % in.per_frame == 0) { begun.push_back(status.cycles); ++status.frames_in; }        \
    in.at += in.bytes; status.taken += in.bytes; in.offered = false; moved = true; }
#define OUT_PORT(i, D, V, R)                                                                           \
  if (out.offered && !top->V) status.broken |= 1;                                                      \
  if (top->V) {                                                                                        \
    std::vector<uint8_t> now(out.bytes);                                                               \
    get(top->D, now.data(), out.bytes);                                                                \
    if (out.offered && now != out.held) status.broken |= 2;                                            \
    out.held = now;                                                                                    \
    if (ready) {                                                                                       \
      partial = now; deliver(); moved = true;                                                          \
      if (++out.beats % out.per_frame == 0) {                                                          \
        ++status.frames_out;                                                                           \
        if (oldest < begun.size()) status.latency = status.cycles - begun[oldest++] + 1;               \
        if (last_end) status.interval = status.cycles - last_end;                                      \
        last_end = status.cycles;                                                                      \
      } } }                                                                                            \
  out.offered = top->V && !ready;
#include "ports.inc"
#undef IN_PORT
#undef OUT_PORT
  edge();
  return moved;
}

bool read_all(void* target, size_t n) {
  auto* p = static_cast<uint8_t*>(target);
  while (n) {
    ssize_t k = read(0, p, n);
    if (k <= 0) return false;
    p += k; n -= size_t(k);
  }
  return true;
}

void write_all(const void* source, size_t n) {
  auto* p = static_cast<const uint8_t*>(source);
  while (n) {
    ssize_t k = write(1, p, n);
    if (k <= 0) std::exit(0);  // nobody listens any more
    p += k; n -= size_t(k);
  }
}

bool serve() {  // one request; false at the end of standard input
  uint8_t op;
  uint32_t n;
  if (!read_all(&op, 1) || !read_all(&n, 4)) return false;
  if (op == 'I') {
    if (in.at == in.data.size()) { in.data.clear(); in.at = 0; }
    size_t old = in.data.size();
    in.data.resize(old + n);
    if (!read_all(in.data.data() + old, n)) return false;
  } else if (op == 'O') {
    room += n;
    deliver();
  } else if (op == 'R') {
    reset();
  } else if (op == 'D') {
    in.data.clear(); in.at = 0; in.offered = false;
    out.data.clear(); partial.clear(); room = 0;
    status.taken = status.given = 0;
  } else if (op != 'P') {
    return false;
  }
  status.data_bytes = uint32_t(out.data.size());
  write_all(&status, sizeof status);
  write_all(out.data.data(), out.data.size());
  out.data.clear();
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  in.bytes = std::strtoull(argv[1], nullptr, 10); in.per_frame = std::strtoull(argv[2], nullptr, 10);
  out.bytes = std::strtoull(argv[3], nullptr, 10); out.per_frame = std::strtoull(argv[4], nullptr, 10);
  const uint64_t patience = std::strtoull(argv[5], nullptr, 10);
  VerilatedContext ctx;
  ctx.randReset(2);  // memories and registers start with random contents: nothing may depend on them
  ctx.randSeed(20);
  Vtop instance{&ctx, "top"};
  top = &instance;
  top->ap_clk = 0; top->eval();
  reset();
  uint64_t idle = 0;
  for (;;) {
    const bool work = in.offered || in.data.size() - in.at >= in.bytes || room > 0;
    pollfd request{0, POLLIN, 0};
    if (poll(&request, 1, work && idle < patience ? 0 : -1) > 0 && !serve()) break;
    if (in.offered || in.data.size() - in.at >= in.bytes || room > 0)
      for (uint64_t i = 0; i < kBetweenRequests; ++i) idle = cycle() ? 0 : idle + 1;
    else
      idle = 0;
  }
  top->final();
  return 0;
}
