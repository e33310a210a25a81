// SPDX-License-Identifier: MIT
// Generic AXI-stream harness around a Verilated top: feeds files of beats into the inputs, collects the outputs,
// stalls both sides at random on request, checks the handshake rules and reports what happened as JSON.
//
// Generated beside it: "ports.inc" with one IN_PORT(i, data, valid, ready) / OUT_PORT(...) line per stream, and the
// port of the load bus (BV_LOAD) with the number of registers behind it, where there is one.
//
//   sim --in I FILE BYTES BEATS_PER_FRAME --out I FILE BYTES BEATS_PER_FRAME TOTAL_BEATS ...
//       [--stall-in SEED PERCENT] [--stall-out SEED PERCENT] [--burst CYCLES] [--throttle CYCLES_PER_FRAME]
//       [--patience CYCLES] [--progress CYCLES] [--load FILE] [--weights I FILE BYTES]... [--memory BYTES_PER_CYCLE]
//       [+PLUSARG ...]
//
// --weights: words that a WEIGHT_PORT reads over and over; one with a REQUEST_PORT, too, reads what is asked for there
// ({bytes (63:32), offset in bytes (31:0)}, in the order of the requests). --memory: they come from a memory of that bandwidth (in all) in
// bursts with random latencies; otherwise as fast as they are taken, but for the stalls of the inputs.
// --load: what goes down the load bus (finn_flow/load.py), beat by beat, before the reset ends. With BV_LOAD_IDLE=SEED
// in the environment the bus rests in half of the cycles.
//
// (--burst: stretches of an input are 16 times shorter, so that a blocked output presses back through a full design.)
// A stalled port is idle in PERCENT of the cycles at random; with --burst, stretches of up to CYCLES cycles in which it
// is idle throughout alternate with stretches as long in which only the former holds.
// --throttle spreads the beats of a frame evenly over CYCLES_PER_FRAME. Plusargs are for $value$plusargs of the design.
//
// exit 0: all output beats received; 3: nothing moved for PATIENCE cycles; 4: handshake rule broken; 5: surplus output.
#include <cinttypes>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>
#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

namespace {

template <class T> void put(T& port, const uint8_t* src, size_t n) { std::memcpy(&port, src, n); }
template <class T> void get(const T& port, uint8_t* dst, size_t n) { std::memcpy(dst, &port, n); }

struct Rng {  // xorshift64*: the same stalls on every machine
  uint64_t s;
  explicit Rng(uint64_t seed) : s(seed * 0x9E3779B97F4A7C15ull + 0x1234567) {}
  uint32_t percent() {
    s ^= s >> 12; s ^= s << 25; s ^= s >> 27;
    return uint32_t((s * 0x2545F4914F6CDD1Dull) >> 33) % 100;
  }
};

struct Stalls {
  Rng rng{1};
  int percent = 0;
  uint64_t burst = 0, left = 0;
  bool blocked = true;
  bool next() {  // whether the port is idle in this cycle
    if (!percent) return false;
    if (burst && left-- == 0) {
      blocked = !blocked;
      left = burst * (1 + rng.percent()) / 100;
    }
    return int(rng.percent()) < percent || (burst && blocked);
  }
};

struct Stream {
  std::string file;
  size_t bytes = 0;            // bytes per beat in the file
  uint64_t per_frame = 1, total = 0, done = 0, moved = 0;
  std::vector<uint8_t> data;   // input beats or collected output beats
  std::vector<uint64_t> frame_cycle;  // cycle at which the first (input) / last (output) beat of each frame moved
  bool offered = false;        // input: valid is up; output: valid was up without ready in the last cycle
  std::vector<uint8_t> held;   // output: the beat that must stay stable
  Stalls stalls;
  std::deque<uint64_t> wanted; // weights: words that were asked for, in order
};

// A reader of a memory: bursts of 1 KiB arrive 40 to 300 cycles after they were asked for, in order, up to four of them are
// held or under way.
struct Reader {
  static constexpr uint64_t kBurst = 1024, kOpen = 4;
  struct Burst { uint64_t at, bytes; };
  Rng rng{1};
  uint64_t held = 0;                     // bytes that are here
  bool asked = false;                    // it reads what is asked for
  std::deque<uint64_t> requests;         // of these: bytes that bursts must still be asked for
  std::deque<Burst> due;
  uint64_t under_way() const { uint64_t n = 0; for (const Burst& b : due) n += b.bytes; return n; }
  bool wants() const { return (!asked || !requests.empty()) && held + under_way() + kBurst <= kOpen * kBurst; }
  uint64_t ask(uint64_t now) {
    const uint64_t at = now + 40 + rng.percent() * 26 / 10;
    const uint64_t bytes = asked ? std::min(kBurst, requests.front()) : kBurst;
    due.push_back({due.empty() ? at : std::max(at, due.back().at), bytes});
    if (asked && !(requests.front() -= bytes)) requests.pop_front();
    return bytes;
  }
  void arrive(uint64_t now) {
    while (!due.empty() && due.front().at <= now) { held += due.front().bytes; due.pop_front(); }
  }
};

// The memory: its bandwidth goes to the readers that want a burst, in turn.
struct Memory {
  double rate = 0, credit = 0;
  size_t turn = 0;
  std::vector<Reader> readers;
  void cycle(uint64_t now) {
    credit = std::min(credit + rate, double(Reader::kBurst));
    for (size_t tried = 0; credit >= double(Reader::kBurst) && tried < readers.size(); tried++) {
      Reader& r = readers[turn];
      turn = (turn + 1) % readers.size();
      if (r.wants()) credit -= double(r.ask(now));
    }
    for (Reader& r : readers) r.arrive(now);
  }
};

std::vector<uint8_t> read_file(const std::string& name) {
  std::FILE* f = std::fopen(name.c_str(), "rb");
  if (!f) { std::fprintf(stderr, "cannot read %s\n", name.c_str()); std::exit(2); }
  std::fseek(f, 0, SEEK_END);
  std::vector<uint8_t> d(size_t(std::ftell(f)));
  std::rewind(f);
  if (std::fread(d.data(), 1, d.size(), f) != d.size()) std::exit(2);
  std::fclose(f);
  return d;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Stream> ins, outs, weights;
  Memory memory;
  double bandwidth = 0;
  uint64_t patience = 100000, throttle = 0, progress = 0;
  uint64_t burst = 0, in_seed = 1, out_seed = 1;
  int in_pct = 0, out_pct = 0;
  std::string load;
  for (int a = 1; a < argc;) {
    std::string k = argv[a++];
    auto next = [&] { return a < argc ? argv[a++] : (std::fprintf(stderr, "missing value after %s\n", k.c_str()), std::exit(2), argv[0]); };
    auto num = [&] { return std::strtoull(next(), nullptr, 10); };
    if (k == "--in" || k == "--out") {
      auto& v = k == "--in" ? ins : outs;
      size_t i = num();
      if (v.size() <= i) v.resize(i + 1);
      v[i].file = next(); v[i].bytes = num(); v[i].per_frame = num();
      if (k == "--in") { v[i].data = read_file(v[i].file); v[i].total = v[i].data.size() / v[i].bytes; }
      else { v[i].total = num(); v[i].data.reserve(v[i].total * v[i].bytes); }
      v[i].held.resize(v[i].bytes);
    } else if (k == "--stall-in") { in_seed = num(); in_pct = int(num()); }
    else if (k == "--stall-out") { out_seed = num(); out_pct = int(num()); }
    else if (k == "--burst") burst = num();
    else if (k == "--throttle") throttle = num();
    else if (k == "--patience") patience = num();
    else if (k == "--progress") progress = num();
    else if (k == "--load") load = next();
    else if (k == "--weights") {
      size_t i = num();
      if (weights.size() <= i) weights.resize(i + 1);
      weights[i].file = next(); weights[i].bytes = num(); weights[i].data = read_file(weights[i].file);
      weights[i].total = weights[i].data.size() / weights[i].bytes;
    } else if (k == "--memory") bandwidth = std::strtod(next(), nullptr);
    else if (k[0] == '+') continue;
    else { std::fprintf(stderr, "unknown option %s\n", k.c_str()); return 2; }
  }

  for (size_t i = 0; i < ins.size(); ++i) ins[i].stalls = Stalls{Rng(in_seed + 1000 * i), in_pct, (burst + 15) / 16};
  for (size_t i = 0; i < outs.size(); ++i) outs[i].stalls = Stalls{Rng(out_seed + 77 + 1000 * i), out_pct, burst};

  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i].stalls = Stalls{Rng(in_seed + 500 + 1000 * i), in_pct, 0};
    Reader reader;
    reader.rng = Rng(in_seed + 900 + i);
    memory.readers.push_back(reader);
  }
  memory.rate = bandwidth;

  VerilatedContext ctx;
  ctx.commandArgs(argc, argv);
  ctx.randReset(2);   // memories and registers start with random contents: nothing may depend on them
  ctx.randSeed(20);
  Vtop top{&ctx, "top"};
  std::vector<uint8_t> buf(1 << 20);

  auto reset_cycle = [&] { top.ap_clk = 0; top.eval(); top.ap_clk = 1; top.eval(); };
  top.ap_rst_n = 0;
#define IN_PORT(i, D, V, R) top.V = 0;
#define OUT_PORT(i, D, V, R) top.R = 0;
#define WEIGHT_PORT(i, D, V, R) if (weights.size() <= i) { std::fprintf(stderr, "--weights %d is missing\n", i); return 2; } top.V = 0;
#define REQUEST_PORT(i, D, V, R) top.R = 0; memory.readers[i].asked = true;
#include "ports.inc"
#undef IN_PORT
#undef OUT_PORT
#undef WEIGHT_PORT
#undef REQUEST_PORT
#ifdef BV_LOAD
  {
    auto drive = [&](uint64_t data, uint32_t control) {
      const uint32_t words[3] = {uint32_t(data), uint32_t(data >> 32), control};
      put(top.BV_LOAD, reinterpret_cast<const uint8_t*>(words), sizeof words);
      reset_cycle();
    };
    const char* idle_seed = std::getenv("BV_LOAD_IDLE");
    Rng rng(idle_seed ? std::strtoull(idle_seed, nullptr, 10) : 1);
    drive(0, 0);
    if (load.empty()) { std::fprintf(stderr, "the design has memories to be loaded: --load is missing\n"); return 2; }
    const auto bytes = read_file(load);
    std::vector<uint64_t> words(bytes.size() / 8);
    std::memcpy(words.data(), bytes.data(), words.size() * 8);
    for (size_t at = 0; at < words.size();) {
      const uint64_t head = words[at], n = words[at + 1];
      drive(head, 3);
      for (uint64_t i = 0; i < n; ++i) {
        while (idle_seed && rng.percent() < 50) drive(0x5a5a5a5a5a5a5a5aull, 0);
        drive(words[at + 2 + i], 2);
      }
      at += 2 + n;
    }
    drive(0, 0);
    for (int i = 0; i < BV_LOAD_STAGES; ++i) reset_cycle();
  }
#endif
  for (int i = 0; i < 8; ++i) reset_cycle();
  top.ap_clk = 0; top.ap_rst_n = 1; top.eval();

  uint64_t cycle = 0, idle = 0, surplus = 0;
  int status = 0;
  uint64_t out_left = 0;
  for (auto& o : outs) out_left += o.total;
  auto t0 = std::chrono::steady_clock::now();
  // After the last expected beat the design gets a short grace period in which it must not produce another one.
  uint64_t grace = 64;
  while (status == 0 && (out_left || grace)) {
    if (!out_left) --grace;
    // drive
#define IN_PORT(i, D, V, R)                                                                         \
    { Stream& st = ins[i];                                                                          \
      const bool idle = st.stalls.next();                                                           \
      if (!st.offered && st.done < st.total && !idle                                                \
          && cycle * st.per_frame >= st.done * throttle) {                                              \
        st.offered = true; put(top.D, &st.data[st.done * st.bytes], st.bytes); }                    \
      top.V = st.offered; }
#define OUT_PORT(i, D, V, R) top.R = !outs[i].stalls.next();
#define WEIGHT_PORT(i, D, V, R)                                                                     \
    { Stream& st = weights[i];                                                                      \
      Reader& r = memory.readers[i];                                                                \
      const bool idle = st.stalls.next();                                                           \
      if (!st.offered && !idle && (!memory.rate || r.held >= st.bytes) && (!r.asked || !st.wanted.empty())) { \
        st.offered = true; if (memory.rate) r.held -= st.bytes;                                     \
        if (r.asked) { st.done = st.wanted.front(); st.wanted.pop_front(); }                        \
        put(top.D, &st.data[st.done * st.bytes], st.bytes); }                                       \
      top.V = st.offered; }
#define REQUEST_PORT(i, D, V, R) top.R = !weights[i].stalls.next();
    if (memory.rate) memory.cycle(cycle);
#include "ports.inc"
#undef IN_PORT
#undef OUT_PORT
#undef WEIGHT_PORT
#undef REQUEST_PORT
    top.eval();
    // observe the handshakes of this cycle
    bool moved = false;
#define IN_PORT(i, D, V, R)                                                                         \
    { Stream& st = ins[i];                                                                          \
      if (st.offered && top.R) {                                                                    \
        if (st.done % st.per_frame == 0) st.frame_cycle.push_back(cycle);                           \
        ++st.done; st.offered = false; moved = true; } }
#define OUT_PORT(i, D, V, R)                                                                        \
    { Stream& st = outs[i];                                                                         \
      if (st.offered && !top.V) { std::fprintf(stderr, "handshake: out%d dropped VALID before READY at cycle %" PRIu64 "\n", i, cycle); status = 4; } \
      if (top.V) {                                                                                  \
        get(top.D, buf.data(), st.bytes);                                                           \
        if (st.offered && std::memcmp(buf.data(), st.held.data(), st.bytes)) {                      \
          std::fprintf(stderr, "handshake: out%d changed TDATA while waiting at cycle %" PRIu64 "\n", i, cycle); status = 4; } \
        std::memcpy(st.held.data(), buf.data(), st.bytes);                                          \
        if (top.R) {                                                                                \
          if (st.done < st.total) {                                                                 \
            st.data.insert(st.data.end(), buf.begin(), buf.begin() + long(st.bytes));               \
            ++st.done; --out_left; moved = true;                                                    \
            if (st.done % st.per_frame == 0) st.frame_cycle.push_back(cycle);                       \
          } else ++surplus;                                                                         \
        } }                                                                                         \
      st.offered = top.V && !top.R; }
#define WEIGHT_PORT(i, D, V, R)                                                                     \
    { Stream& st = weights[i];                                                                      \
      if (st.offered && top.R) { st.done = st.done + 1 == st.total ? 0 : st.done + 1; st.offered = false; ++st.moved; } }
#define REQUEST_PORT(i, D, V, R)                                                                    \
    if (top.V && top.R) {                                                                           \
      const uint64_t ask = top.D, bytes = ask >> 32, from = ask & 0xffffffff;                       \
      Stream& st = weights[i];                                                                      \
      if (!bytes || bytes % st.bytes || from % st.bytes || from + bytes > st.data.size()) {         \
        std::fprintf(stderr, "request: %" PRIu64 " bytes at %" PRIu64 " of weight%d at cycle %" PRIu64 "\n", bytes, from, i, cycle); status = 4; } \
      for (uint64_t w = 0; w < bytes / st.bytes; ++w) st.wanted.push_back(from / st.bytes + w);     \
      memory.readers[i].requests.push_back(bytes); }
#include "ports.inc"
#undef IN_PORT
#undef OUT_PORT
#undef WEIGHT_PORT
#undef REQUEST_PORT
    top.ap_clk = 1; top.eval();
    top.ap_clk = 0;
    ++cycle;
    idle = moved ? 0 : idle + 1;
    if (out_left && idle > patience) status = 3;
    if (progress && cycle % progress == 0) {
      std::fprintf(stderr, "progress %" PRIu64 " %" PRIu64 "\n", cycle, uint64_t(outs.empty() ? 0 : outs[0].frame_cycle.size()));
      std::fflush(stderr);
    }
  }
  if (status == 0 && surplus) { std::fprintf(stderr, "surplus: %" PRIu64 " beats more than expected\n", surplus); status = 5; }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count();
  top.final();

  for (auto& o : outs) {
    std::FILE* f = std::fopen(o.file.c_str(), "wb");
    if (!f || std::fwrite(o.data.data(), 1, o.data.size(), f) != o.data.size() || std::fclose(f)) {
      std::fprintf(stderr, "cannot write %s\n", o.file.c_str()); return 2;
    }
  }
  auto list = [](const std::vector<uint64_t>& v) {
    std::string s = "[";
    for (size_t i = 0; i < v.size(); ++i) s += (i ? "," : "") + std::to_string(v[i]);
    return s + "]";
  };
  std::printf("{\"status\":%d,\"cycles\":%" PRIu64 ",\"seconds\":%.6f,\"inputs\":[", status, cycle, seconds);
  for (size_t i = 0; i < ins.size(); ++i)
    std::printf("%s{\"beats\":%" PRIu64 ",\"frame_cycles\":%s}", i ? "," : "", ins[i].done, list(ins[i].frame_cycle).c_str());
  std::printf("],\"outputs\":[");
  for (size_t i = 0; i < outs.size(); ++i)
    std::printf("%s{\"beats\":%" PRIu64 ",\"frame_cycles\":%s}", i ? "," : "", outs[i].done, list(outs[i].frame_cycle).c_str());
  std::printf("],\"weights\":[");
  for (size_t i = 0; i < weights.size(); ++i) std::printf("%s%" PRIu64, i ? "," : "", weights[i].moved * weights[i].bytes);
  std::printf("]}\n");
  return status;
}
