// SPDX-License-Identifier: MIT
// Models of memory behind AXI4 masters, with random delays and protocol checks; shared by the simulations of the shell.
//
// A port copies the pins of one master into a struct, decides its answers (`drive`, before the design is evaluated) and
// looks at the handshakes of the cycle (`observe`, before the clock edge). Delays never depend on what the design does
// in the same cycle. A master has no ID, so its answers keep their order; read and write ports run independently.
// Checked: VALID and its payload stay until READY; nothing is asked for in reset; bursts are INCR of full width,
// aligned, within BURST beats and 4 KiB; WLAST; strobes without holes; data is taken and given without long waits.
#pragma once
#include <cinttypes>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace axi {

enum Resp { OKAY = 0, SLVERR = 2, DECERR = 3 };
constexpr uint64_t PATIENCE = 5000;  // cycles that a master may block data of a burst that it has asked for

template <class T> void put(T& port, const uint8_t* src) { std::memcpy(&port, src, sizeof(T)); }
template <class T> void get(const T& port, uint8_t* dst) { std::memcpy(dst, &port, sizeof(T)); }

struct Rng {  // xorshift64*: the same run on every machine
  uint64_t s;
  explicit Rng(uint64_t seed) : s(seed * 0x9E3779B97F4A7C15ull + 0x1234567) {}
  uint32_t next() {
    s ^= s >> 12; s ^= s << 25; s ^= s >> 27;
    return uint32_t((s * 0x2545F4914F6CDD1Dull) >> 33);
  }
  bool hit(int percent) { return percent > 0 && int(next() % 100) < percent; }
  uint64_t upto(uint64_t n) { return n ? next() % (n + 1) : 0; }
};

struct Pace {  // how the models behave: percent of the cycles, cycles
  int stall = 0;             // a READY is low
  int gap = 0;               // a VALID that could be given is not
  uint64_t latency = 20;     // of a burst, 1 to so many cycles
  int queue = 8;             // bursts that a port takes at a time
};

struct World {  // what all ports share
  uint64_t cycle = 0;
  bool in_reset = true;
  Pace pace;
  Rng rng{1};
  std::string violation;     // the first one
  struct Region { uint64_t base, size; uint8_t* bytes; };
  std::vector<Region> regions;

  void violate(const char* format, ...) {
    if (!violation.empty()) return;
    char text[300];
    va_list args;
    va_start(args, format);
    std::vsnprintf(text, sizeof text, format, args);
    va_end(args);
    violation = std::string(text) + " at cycle " + std::to_string(cycle);
  }
  uint8_t* find(uint64_t address, uint64_t bytes) {
    for (auto& r : regions)
      if (address >= r.base && address + bytes <= r.base + r.size) return r.bytes + (address - r.base);
    return nullptr;
  }
};

struct Burst { uint64_t address = 0; uint32_t beats = 0; uint64_t at = 0; };

struct AddressPins { uint64_t address = 0; uint32_t len = 0, size = 0, burst = 0; bool valid = false, ready = false; };

class AddressChannel {
 public:
  AddressChannel(World& w, std::string name, uint32_t bytes, uint32_t limit)
      : w_(w), name_(std::move(name)), bytes_(bytes), limit_(limit) {}
  AddressPins pins;
  uint64_t bursts = 0;
  uint32_t longest = 0;  // beats
  bool observe(Burst& out) {  // whether a burst was taken
    const AddressPins& p = pins;
    const char* n = name_.c_str();
    if (w_.in_reset && p.valid) w_.violate("%s: VALID in reset", n);
    if (waiting_ && !p.valid && !w_.in_reset) w_.violate("%s: VALID fell before READY", n);
    if (waiting_ && p.valid && (p.address != held_.address || p.len != held_.len || p.size != held_.size || p.burst != held_.burst))
      w_.violate("%s: changed while it waited", n);
    waiting_ = p.valid && !p.ready && !w_.in_reset;
    held_ = p;
    if (!p.valid || !p.ready || w_.in_reset) return false;
    out.address = p.address;
    out.beats = p.len + 1;
    uint64_t length = uint64_t(out.beats) * bytes_;
    if (p.burst != 1) w_.violate("%s: burst type %u, not INCR", n, p.burst);
    if ((1u << p.size) != bytes_) w_.violate("%s: size %u for %u bytes", n, p.size, bytes_);
    if (p.address % bytes_) w_.violate("%s: address %" PRIx64 " is not aligned", n, p.address);
    if (out.beats > limit_) w_.violate("%s: %u beats, more than %u", n, out.beats, limit_);
    if (p.address / 4096 != (p.address + length - 1) / 4096)
      w_.violate("%s: %u beats from %" PRIx64 " cross 4 KiB", n, out.beats, p.address);
    ++bursts;
    if (out.beats > longest) longest = out.beats;
    return true;
  }

 private:
  World& w_;
  std::string name_;
  uint32_t bytes_, limit_;
  bool waiting_ = false;
  AddressPins held_;
};

class ReadPort {
 public:
  ReadPort(World& w, const char* name, uint32_t bytes, uint32_t limit)
      : ar(w, std::string(name) + " AR", bytes, limit), w_(w), name_(name), bytes_(bytes) {}
  AddressChannel ar;
  uint8_t rdata[16] = {};
  uint32_t rresp = 0;
  bool rvalid = false, rlast = false, rready = false;
  uint64_t fault_in = 0;  // the so manieth beat from now is answered with fault_resp
  uint32_t fault_resp = SLVERR;
  uint64_t beats = 0, most = 0;  // taken; most bursts at a time

  size_t open() const { return queue_.size(); }
  void drive() {
    ar.pins.ready = int(queue_.size()) < w_.pace.queue && !w_.rng.hit(w_.pace.stall);
    if (rvalid) return;  // a beat waits
    if (queue_.empty() || w_.cycle < queue_.front().at || w_.rng.hit(w_.pace.gap)) return;
    const Burst& b = queue_.front();
    uint64_t address = b.address + uint64_t(sent_) * bytes_;
    const uint8_t* from = w_.find(address, bytes_);
    rresp = from ? OKAY : DECERR;
    if (fault_in && --fault_in == 0) rresp = fault_resp;
    for (uint32_t i = 0; i < bytes_; ++i) rdata[i] = rresp == OKAY ? from[i] : uint8_t(w_.rng.next());
    rlast = sent_ + 1 == b.beats;
    rvalid = true;
    since_ = w_.cycle;
  }
  void observe() {
    Burst b;
    if (w_.in_reset) { queue_.clear(); rvalid = false; sent_ = 0; }
    if (ar.observe(b)) {
      b.at = w_.cycle + 1 + w_.rng.upto(w_.pace.latency);
      queue_.push_back(b);
      if (queue_.size() > most) most = queue_.size();
    }
    if (rvalid && rready) {
      ++beats;
      rvalid = false;
      if (rlast) { queue_.pop_front(); sent_ = 0; } else ++sent_;
    } else if (rvalid && w_.cycle - since_ > PATIENCE) w_.violate("%s: read data is not taken", name_.c_str());
  }

 private:
  World& w_;
  std::string name_;
  uint32_t bytes_, sent_ = 0;
  uint64_t since_ = 0;
  std::deque<Burst> queue_;
};

class WritePort {
 public:
  WritePort(World& w, const char* name, uint32_t bytes, uint32_t limit)
      : aw(w, std::string(name) + " AW", bytes, limit), w_(w), name_(name), bytes_(bytes) {}
  AddressChannel aw;
  uint8_t wdata[16] = {};
  uint32_t wstrb = 0, bresp = 0;
  bool wlast = false, wvalid = false, wready = false, bvalid = false, bready = false;
  uint64_t fault_in = 0;  // the so manieth burst from now is answered with fault_resp, its data dropped
  uint32_t fault_resp = SLVERR;
  uint64_t beats = 0, bytes = 0, most = 0;

  size_t open() const { return addresses_.size() + complete_.size() + answers_.size() + (data_.empty() ? 0 : 1); }
  void drive() {
    // a memory may wait for the data before it takes the address, or the other way round
    bool after_data = order_ == 1, after_address = order_ == 2;
    bool data_seen = seen_valid_ || !data_.empty() || complete_.size() > addresses_.size();
    bool address_seen = addresses_.size() > complete_.size();
    aw.pins.ready = int(addresses_.size()) < w_.pace.queue && (!after_data || data_seen) && !w_.rng.hit(w_.pace.stall);
    wready = (address_seen || (!after_address && complete_.size() < addresses_.size() + 2)) && !w_.rng.hit(w_.pace.stall);
    if (!bvalid && !answers_.empty() && w_.cycle >= answers_.front().at && !w_.rng.hit(w_.pace.gap)) {
      bresp = answers_.front().resp;
      bvalid = true;
    }
  }
  void observe() {
    if (w_.in_reset) {
      addresses_.clear(); data_.clear(); complete_.clear(); answers_.clear();
      bvalid = waiting_ = false;
      if (wvalid) w_.violate("%s W: VALID in reset", name_);
      Burst none;
      aw.observe(none);
      return;
    }
    Burst b;
    if (aw.observe(b)) { addresses_.push_back(b); since_ = w_.cycle; }
    observe_data();
    if (!addresses_.empty() && !complete_.empty()) match();
    if (bvalid && bready) { bvalid = false; answers_.pop_front(); }
    if (addresses_.size() > complete_.size() && !wvalid && w_.cycle - since_ > PATIENCE)
      w_.violate("%s: no data for a burst", name_);
    if (open() > most) most = open();
    if (addresses_.empty() && data_.empty() && complete_.empty()) order_ = int(w_.rng.next() % 3);
  }

 private:
  struct Beat { uint8_t data[16]; uint32_t strobe; };
  struct Answer { uint64_t at; uint32_t resp; };
  void observe_data() {
    const char* n = name_;
    if (waiting_ && !wvalid) w_.violate("%s W: VALID fell before READY", n);
    if (waiting_ && wvalid && (std::memcmp(wdata, held_.data, bytes_) || wstrb != held_.strobe || wlast != held_last_))
      w_.violate("%s W: changed while it waited", n);
    waiting_ = wvalid && !wready;
    seen_valid_ = wvalid;
    std::memcpy(held_.data, wdata, 16);
    held_.strobe = wstrb;
    held_last_ = wlast;
    if (!wvalid || !wready) return;
    since_ = w_.cycle;
    if (!wstrb || (wstrb & (wstrb + 1))) w_.violate("%s W: strobes %x", n, wstrb);
    if (wstrb != (1u << bytes_) - 1 && !wlast) w_.violate("%s W: strobes %x before the last beat", n, wstrb);
    data_.push_back(held_);
    ++beats;
    if (wlast) { complete_.push_back(data_); data_.clear(); }
    else if (data_.size() >= 256) w_.violate("%s W: no WLAST in 256 beats", n);
  }
  void match() {
    Burst b = addresses_.front();
    std::vector<Beat> d = complete_.front();
    addresses_.pop_front();
    complete_.pop_front();
    if (d.size() != b.beats) w_.violate("%s: %zu beats of data for a burst of %u", name_, d.size(), b.beats);
    uint32_t resp = w_.find(b.address, uint64_t(b.beats) * bytes_) ? OKAY : DECERR;
    if (fault_in && --fault_in == 0) resp = fault_resp;
    for (size_t i = 0; resp == OKAY && i < d.size(); ++i) {
      uint8_t* to = w_.find(b.address + i * bytes_, bytes_);
      for (uint32_t k = 0; to && k < bytes_; ++k)
        if (d[i].strobe >> k & 1) { to[k] = d[i].data[k]; ++bytes; }
    }
    answers_.push_back({w_.cycle + 1 + w_.rng.upto(w_.pace.latency), resp});
  }

  World& w_;
  const char* name_;
  uint32_t bytes_;
  int order_ = 0;
  bool waiting_ = false, held_last_ = false, seen_valid_ = false;
  Beat held_{};
  uint64_t since_ = 0;
  std::deque<Burst> addresses_;
  std::vector<Beat> data_;
  std::deque<std::vector<Beat>> complete_;
  std::deque<Answer> answers_;
};

}  // namespace axi
