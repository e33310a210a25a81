// SPDX-License-Identifier: MIT
// The shell and its accelerator as a program that another one drives: one command per line on standard input, one
// answer per line on standard output (flushed). Numbers are decimal or 0x...; a cycle is one of the design's clock.
//
//   sim [SEED]                     run it in the folder of the design's memory images
//   read SLAVE OFFSET              -> ok VALUE CYCLE   one AXI4-Lite read; slave 0 is the DMA, 1 the control block, 2 the
//                                                      feeder, where the design has one
//   write SLAVE OFFSET VALUE       -> ok 0 CYCLE
//   run N                          -> ok 0 CYCLE       N cycles
//   wait N                         -> ok PINS CYCLE    until an interrupt pin is high (1 MM2S, 2 S2MM), at most N
//   poll SLAVE OFFSET MASK N       -> ok VALUE CYCLE   reads until VALUE & MASK is not 0, for at most N cycles
//   map BASE SIZE FILE             -> ok 0 CYCLE       FILE (at least SIZE bytes, shared) is memory from address BASE on
//   unmap BASE                     -> ok 0 CYCLE
//   set NAME VALUE                 -> ok 0 CYCLE       see `knob` below
//   get NAME                       -> ok VALUE CYCLE   see `figure` below
//   reset N                        -> ok 0 CYCLE       ap_rst_n low for N cycles
//   quit
//
// Memory outside of every mapped region answers DECERR. Any other answer is `violation TEXT` (a protocol rule that the
// design broke: it stays, every later command gives it) or `error TEXT` (a command that is not understood, a register
// access that got no answer).
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <iostream>
#include <memory>
#include <sstream>
#include "Vtop.h"
#include "verilated.h"
#include "axi_model.hpp"
#include "feeder.inc"  // FEEDER: whether there is one; FEEDS(X): X(index, name) for each of its read masters

double sc_time_stamp() { return 0; }

namespace {

struct LitePins {  // of one AXI4-Lite slave, seen from its master
  uint32_t awaddr = 0, wdata = 0, araddr = 0, rdata = 0, rresp = 0, bresp = 0;
  bool awvalid = false, awready = false, wvalid = false, wready = false, bvalid = false, bready = false;
  bool arvalid = false, arready = false, rvalid = false, rready = false;
};

constexpr int kSlaves = 2 + FEEDER;

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : top_(new Vtop), read_(w_, "MM2S", bytes(), limit_), write_(w_, "S2MM", bytes(), limit_) {
    w_.rng = axi::Rng(seed);
#define ADD(I, N) feeds_.push_back(Feed{#N, std::make_unique<axi::ReadPort>(w_, #N, sizeof(Vtop::m_axi_##N##_rdata), limit_)});
    FEEDS(ADD)
    Verilated::randReset(2);
    Verilated::randSeed(int(seed % 0x7fffffff) + 1);
    top_->ap_clk = 0;
    reset(8);
  }
  ~Simulation() { top_->final(); }

  const std::string& violation() const { return w_.violation; }
  uint64_t cycle() const { return w_.cycle; }

  void run(uint64_t n) { while (n-- && w_.violation.empty()) tick(); }
  void reset(uint64_t n) {
    w_.in_reset = true;
    for (LitePins& p : lite_) p = LitePins();
    run(n);
    w_.in_reset = false;
    run(2);
  }
  uint64_t interrupts() const { return top_->mm2s_introut | top_->s2mm_introut << 1; }
  uint64_t wait(uint64_t n) {
    while (n-- && !interrupts() && w_.violation.empty()) tick();
    return interrupts();
  }

  bool write(int slave, uint32_t offset, uint32_t value) {
    LitePins& p = lite_[slave];
    uint64_t address_at = w_.cycle + lag(), data_at = w_.cycle + lag(), answer_at = w_.cycle + lag();
    bool address_done = false, data_done = false;
    p.awaddr = offset; p.wdata = value;
    for (int patience = 0; patience < 1000 && w_.violation.empty(); ++patience) {
      p.awvalid = !address_done && w_.cycle >= address_at;
      p.wvalid = !data_done && w_.cycle >= data_at;
      p.bready = w_.cycle >= answer_at;
      tick();
      if (p.awvalid && p.awready) address_done = true;
      if (p.wvalid && p.wready) data_done = true;
      if (p.bvalid && !(address_done && data_done)) w_.violate("slave %d: B before the write", slave);
      if (p.bvalid && p.bready) {
        if (p.bresp) w_.violate("slave %d: write answered %u", slave, p.bresp);
        p.awvalid = p.wvalid = p.bready = false;
        return true;
      }
    }
    return false;
  }
  bool read(int slave, uint32_t offset, uint64_t& value) {
    LitePins& p = lite_[slave];
    uint64_t address_at = w_.cycle + lag(), answer_at = w_.cycle + lag();
    bool address_done = false;
    p.araddr = offset;
    for (int patience = 0; patience < 1000 && w_.violation.empty(); ++patience) {
      p.arvalid = !address_done && w_.cycle >= address_at;
      p.rready = w_.cycle >= answer_at;
      tick();
      if (p.arvalid && p.arready) address_done = true;
      if (p.rvalid && !address_done) w_.violate("slave %d: R before the address", slave);
      if (p.rvalid && p.rready) {
        if (p.rresp) w_.violate("slave %d: read answered %u", slave, p.rresp);
        value = p.rdata;
        p.arvalid = p.rready = false;
        return true;
      }
    }
    return false;
  }

  bool map(uint64_t base, uint64_t size, const std::string& file) {
    int fd = ::open(file.c_str(), O_RDWR);
    if (fd < 0) return false;
    void* m = ::lseek(fd, 0, SEEK_END) < off_t(size) ? MAP_FAILED : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (m == MAP_FAILED) return false;
    w_.regions.push_back({base, size, static_cast<uint8_t*>(m)});
    return true;
  }
  bool unmap(uint64_t base) {
    for (size_t i = 0; i < w_.regions.size(); ++i)
      if (w_.regions[i].base == base) {
        ::munmap(w_.regions[i].bytes, w_.regions[i].size);
        w_.regions.erase(w_.regions.begin() + long(i));
        return true;
      }
    return false;
  }

  bool knob(const std::string& name, uint64_t v) {
    if (name == "stall") w_.pace.stall = int(v);                // percent of cycles in which a READY of memory is low
    else if (name == "gap") w_.pace.gap = int(v);               // percent of cycles in which memory has no answer
    else if (name == "latency") w_.pace.latency = v;            // most cycles from a burst to its first answer
    else if (name == "queue") w_.pace.queue = int(v);           // bursts that memory takes at a time
    else if (name == "lite") lag_ = v;                          // most cycles by which a register access is late
    else if (name == "read_fault_in") read_.fault_in = v;       // the so manieth beat of data from now is an error
    else if (name == "write_fault_in") write_.fault_in = v;     // the so manieth burst from now is an error
    else if (name == "fault") read_.fault_resp = write_.fault_resp = uint32_t(v);  // 2 SLVERR, 3 DECERR
    else if (name == "feed_fault") for (Feed& f : feeds_) f.port->fault_resp = uint32_t(v);  // as fault, for the feeder
    else if (Feed* f = feed(name, "_fault_in")) f->port->fault_in = v;  // load_fault_in, weight0_fault_in ...
    else return false;
    return true;
  }
  bool figure(const std::string& name, uint64_t& v) const {
    if (name == "open_reads") v = read_.open();                 // bursts without their last answer
    else if (name == "open_writes") v = write_.open();
    else if (name == "most_reads") v = read_.most;              // most of them at a time
    else if (name == "most_writes") v = write_.most;
    else if (name == "read_bursts") v = read_.ar.bursts;
    else if (name == "write_bursts") v = write_.aw.bursts;
    else if (name == "longest_read") v = read_.ar.longest;      // beats of a burst
    else if (name == "longest_write") v = write_.aw.longest;
    else if (name == "read_beats") v = read_.beats;
    else if (name == "write_beats") v = write_.beats;
    else if (name == "written_bytes") v = write_.bytes;
    else if (const Feed* f = feed(name, "_beats")) v = f->port->beats;  // load_beats, weight0_beats ...
    else if (const Feed* f = feed(name, "_open")) v = f->port->open();
    else return false;
    return true;
  }

 private:
  static constexpr uint32_t bytes() { return sizeof(Vtop::m_axi_mm2s_rdata); }
  struct Feed { std::string name; std::unique_ptr<axi::ReadPort> port; };
  Feed* feed(const std::string& text, const std::string& suffix) {
    for (Feed& f : feeds_)
      if (text == f.name + suffix) return &f;
    return nullptr;
  }
  const Feed* feed(const std::string& text, const std::string& suffix) const {
    return const_cast<Simulation*>(this)->feed(text, suffix);
  }
  uint64_t lag() { return w_.rng.upto(lag_); }

#define LITE(P, S)                                                                                            \
  top_->S##_awaddr = P.awaddr; top_->S##_awvalid = P.awvalid; top_->S##_wdata = P.wdata; top_->S##_wstrb = 15; \
  top_->S##_wvalid = P.wvalid; top_->S##_bready = P.bready; top_->S##_araddr = P.araddr;                      \
  top_->S##_arvalid = P.arvalid; top_->S##_rready = P.rready;
#define LITE_BACK(P, S)                                                                                       \
  P.awready = top_->S##_awready; P.wready = top_->S##_wready; P.bvalid = top_->S##_bvalid;                    \
  P.bresp = top_->S##_bresp; P.arready = top_->S##_arready; P.rvalid = top_->S##_rvalid;                      \
  P.rdata = top_->S##_rdata; P.rresp = top_->S##_rresp;

  void tick() {
    read_.drive();
    write_.drive();
    top_->ap_rst_n = !w_.in_reset;
    LITE(lite_[0], s_axi_dma)
    LITE(lite_[1], s_axi_control)
    top_->m_axi_mm2s_arready = read_.ar.pins.ready;
    top_->m_axi_mm2s_rvalid = read_.rvalid;
    top_->m_axi_mm2s_rlast = read_.rlast;
    top_->m_axi_mm2s_rresp = read_.rresp;
    axi::put(top_->m_axi_mm2s_rdata, read_.rdata);
    top_->m_axi_s2mm_awready = write_.aw.pins.ready;
    top_->m_axi_s2mm_wready = write_.wready;
    top_->m_axi_s2mm_bvalid = write_.bvalid;
    top_->m_axi_s2mm_bresp = write_.bresp;
#define FEED_IN(I, N)                                      \
  feeds_[I].port->drive();                                 \
  top_->m_axi_##N##_arready = feeds_[I].port->ar.pins.ready; \
  top_->m_axi_##N##_rvalid = feeds_[I].port->rvalid;       \
  top_->m_axi_##N##_rlast = feeds_[I].port->rlast;         \
  top_->m_axi_##N##_rresp = feeds_[I].port->rresp;         \
  axi::put(top_->m_axi_##N##_rdata, feeds_[I].port->rdata);
    FEEDS(FEED_IN)
#if FEEDER
    LITE(lite_[2], s_axi_feeder)
#endif
    top_->eval();
    LITE_BACK(lite_[0], s_axi_dma)
    LITE_BACK(lite_[1], s_axi_control)
    read_.ar.pins = {top_->m_axi_mm2s_araddr, top_->m_axi_mm2s_arlen, top_->m_axi_mm2s_arsize, top_->m_axi_mm2s_arburst,
                     bool(top_->m_axi_mm2s_arvalid), read_.ar.pins.ready};
    read_.rready = top_->m_axi_mm2s_rready;
    write_.aw.pins = {top_->m_axi_s2mm_awaddr, top_->m_axi_s2mm_awlen, top_->m_axi_s2mm_awsize, top_->m_axi_s2mm_awburst,
                      bool(top_->m_axi_s2mm_awvalid), write_.aw.pins.ready};
    axi::get(top_->m_axi_s2mm_wdata, write_.wdata);
    write_.wstrb = top_->m_axi_s2mm_wstrb;
    write_.wlast = top_->m_axi_s2mm_wlast;
    write_.wvalid = top_->m_axi_s2mm_wvalid;
    write_.bready = top_->m_axi_s2mm_bready;
#define FEED_OUT(I, N)                                                                                          \
  feeds_[I].port->ar.pins = {top_->m_axi_##N##_araddr, top_->m_axi_##N##_arlen, top_->m_axi_##N##_arsize,        \
                             top_->m_axi_##N##_arburst, bool(top_->m_axi_##N##_arvalid), feeds_[I].port->ar.pins.ready}; \
  feeds_[I].port->rready = top_->m_axi_##N##_rready;
    FEEDS(FEED_OUT)
#if FEEDER
    LITE_BACK(lite_[2], s_axi_feeder)
#endif
    if (w_.in_reset && ++in_reset_ < 3) {  // registers take two clocks to come to rest
      read_.ar.pins.valid = write_.aw.pins.valid = write_.wvalid = false;
      for (Feed& f : feeds_) f.port->ar.pins.valid = false;
    }
    if (!w_.in_reset) in_reset_ = 0;
    read_.observe();
    write_.observe();
    for (Feed& f : feeds_) f.port->observe();
    for (int i = 0; i < kSlaves; ++i) check(lite_[i], i);
    top_->ap_clk = 1;
    top_->eval();
    top_->ap_clk = 0;
    ++w_.cycle;
  }
  void check(const LitePins& p, int i) {  // answers of a slave stay until they are taken
    LitePins& o = before_[i];
    if (o.bvalid && !o.bready && !p.bvalid && !w_.in_reset) w_.violate("slave %d: BVALID fell before BREADY", i);
    if (o.rvalid && !o.rready && !w_.in_reset && (!p.rvalid || p.rdata != o.rdata))
      w_.violate("slave %d: R changed while it waited", i);
    o = p;
  }

  static constexpr uint32_t limit_ = 64;  // beats of a burst
  std::unique_ptr<Vtop> top_;
  axi::World w_;
  axi::ReadPort read_;
  axi::WritePort write_;
  std::vector<Feed> feeds_;
  LitePins lite_[kSlaves], before_[kSlaves];
  uint64_t lag_ = 0;
  int in_reset_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Simulation sim(argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 1);
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream in(line);
    std::string command, name;
    in >> command;
    auto number = [&] { std::string t; in >> t; return std::strtoull(t.c_str(), nullptr, 0); };
    uint64_t value = 0;
    std::string error;
    if (command == "quit") break;
    else if (command == "read" || command == "write" || command == "poll") {
      int slave = int(number());
      uint32_t offset = uint32_t(number());
      bool ok = slave >= 0 && slave < kSlaves;
      if (!ok) error = "no such slave";
      else if (command == "read") ok = sim.read(slave, offset, value);
      else if (command == "write") ok = sim.write(slave, offset, uint32_t(number()));
      else {
        uint64_t mask = number(), end = sim.cycle() + number();
        do ok = sim.read(slave, offset, value); while (ok && !(value & mask) && sim.cycle() < end);
      }
      if (!ok && error.empty()) error = "no answer to a register access";
    }
    else if (command == "run") sim.run(number());
    else if (command == "wait") value = sim.wait(number());
    else if (command == "reset") sim.reset(number());
    else if (command == "map") {
      uint64_t base = number(), size = number();
      std::getline(in >> std::ws, name);
      if (!sim.map(base, size, name)) error = "the file cannot be mapped: " + name;
    }
    else if (command == "unmap") { if (!sim.unmap(number())) error = "no region begins there"; }
    else if (command == "set") { in >> name; if (!sim.knob(name, number())) error = "no such knob: " + name; }
    else if (command == "get") { in >> name; if (!sim.figure(name, value)) error = "no such figure: " + name; }
    else error = "no such command: " + command;
    if (!sim.violation().empty()) std::cout << "violation " << sim.violation();
    else if (!error.empty()) std::cout << "error " << error;
    else std::cout << "ok " << value << " " << sim.cycle();
    std::cout << std::endl;
  }
  return sim.violation().empty() ? 0 : 4;
}
