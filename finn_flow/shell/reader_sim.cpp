// SPDX-License-Identifier: MIT
// A block with one AXI4 read master and one output stream (loader, constants port), driven in lines like shell_sim.cpp.
// The top has: clk, rst, go, halt, addr[63:0], length[31:0], status[7:0], quiet, out_data, out_valid, out_ready and the
// read channels m_axi_*. One answer per line: `ok VALUE CYCLE`, `violation TEXT` or `error TEXT`.
//
//   sim [SEED]
//   map BASE SIZE FILE / set NAME VALUE      as in shell_sim.cpp; NAME also go, halt, addr, length, block (percent of
//                                            the cycles in which out_ready is low)
//   run N                                    N cycles
//   collect N FILE M                         until N beats have come, at most M cycles; appends the beats (bytes of the
//                                            port) to FILE; VALUE is their number
//   status / quiet / open                    pins; bursts that are not complete
//   reset N                                  rst high for N cycles
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <iostream>
#include <memory>
#include <sstream>
#include "Vtop.h"
#include "verilated.h"
#include "axi_model.hpp"

double sc_time_stamp() { return 0; }

namespace {

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : top_(new Vtop), read_(w_, "read", sizeof(Vtop::m_axi_rdata), 64) {
    w_.rng = axi::Rng(seed);
    Verilated::randReset(2);
    top_->clk = 0;
    reset(4);
  }
  const std::string& violation() const { return w_.violation; }
  uint64_t cycle() const { return w_.cycle; }
  Vtop& top() { return *top_; }
  axi::World& world() { return w_; }
  axi::ReadPort& port() { return read_; }
  int block = 0;

  void reset(uint64_t n) {
    top_->rst = w_.in_reset = true;
    run(n);
    top_->rst = w_.in_reset = false;
  }
  void run(uint64_t n) { while (n-- && w_.violation.empty()) tick(nullptr); }
  uint64_t collect(uint64_t n, std::FILE* file, uint64_t most) {
    uint64_t got = 0;
    while (got < n && most-- && w_.violation.empty()) got += tick(file);
    return got;
  }
  bool map(uint64_t base, uint64_t size, const std::string& file) {
    int fd = ::open(file.c_str(), O_RDWR);
    void* m = fd < 0 ? MAP_FAILED : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) ::close(fd);
    if (m == MAP_FAILED) return false;
    w_.regions.push_back({base, size, static_cast<uint8_t*>(m)});
    return true;
  }

 private:
  bool tick(std::FILE* file) {  // whether a beat was taken
    constexpr size_t width = sizeof(Vtop::out_data);
    read_.drive();
    top_->out_ready = file && !w_.rng.hit(block);
    top_->m_axi_arready = read_.ar.pins.ready;
    top_->m_axi_rvalid = read_.rvalid;
    top_->m_axi_rlast = read_.rlast;
    top_->m_axi_rresp = read_.rresp;
    axi::put(top_->m_axi_rdata, read_.rdata);
    top_->eval();
    read_.ar.pins = {top_->m_axi_araddr, top_->m_axi_arlen, top_->m_axi_arsize, top_->m_axi_arburst,
                     bool(top_->m_axi_arvalid) && !w_.in_reset, read_.ar.pins.ready};
    read_.rready = top_->m_axi_rready;
    read_.observe();
    uint8_t beat[width];
    axi::get(top_->out_data, beat);
    if (held_ && (!top_->out_valid || std::memcmp(beat, before_, width))) w_.violate("stream: changed while it waited");
    bool taken = top_->out_valid && top_->out_ready && !w_.in_reset;
    held_ = top_->out_valid && !top_->out_ready && !w_.in_reset;
    std::memcpy(before_, beat, width);
    if (taken) std::fwrite(beat, 1, width, file);
    top_->clk = 1;
    top_->eval();
    top_->clk = 0;
    ++w_.cycle;
    return taken;
  }
  std::unique_ptr<Vtop> top_;
  axi::World w_;
  axi::ReadPort read_;
  bool held_ = false;
  uint8_t before_[sizeof(Vtop::out_data)] = {};
};

}  // namespace

int main(int argc, char** argv) {
  Simulation sim(argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 1);
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream in(line);
    std::string command, name, error;
    in >> command;
    auto number = [&] { std::string t; in >> t; return std::strtoull(t.c_str(), nullptr, 0); };
    uint64_t value = 0;
    if (command == "run") sim.run(number());
    else if (command == "reset") sim.reset(number());
    else if (command == "status") value = sim.top().status;
    else if (command == "quiet") value = sim.top().quiet;
    else if (command == "open") value = sim.port().open();
    else if (command == "collect") {
      uint64_t n = number();
      in >> name;
      std::FILE* f = std::fopen(name.c_str(), "ab");
      value = f ? sim.collect(n, f, number()) : 0;
      if (f) std::fclose(f); else error = "the file cannot be written: " + name;
    } else if (command == "map") {
      uint64_t base = number(), size = number();
      std::getline(in >> std::ws, name);
      if (!sim.map(base, size, name)) error = "the file cannot be mapped: " + name;
    } else if (command == "set") {
      in >> name;
      uint64_t v = number();
      if (name == "go") sim.top().go = v;
      else if (name == "halt") sim.top().halt = v;
      else if (name == "addr") sim.top().addr = v;
      else if (name == "length") sim.top().length = uint32_t(v);
      else if (name == "block") sim.block = int(v);
      else if (name == "stall") sim.world().pace.stall = int(v);
      else if (name == "gap") sim.world().pace.gap = int(v);
      else if (name == "latency") sim.world().pace.latency = v;
      else if (name == "queue") sim.world().pace.queue = int(v);
      else if (name == "read_fault_in") sim.port().fault_in = v;
      else error = "no such knob: " + name;
    } else error = "no such command: " + command;
    if (!sim.violation().empty()) std::cout << "violation " << sim.violation();
    else if (!error.empty()) std::cout << "error " << error;
    else std::cout << "ok " << value << " " << sim.cycle();
    std::cout << std::endl;
  }
  return sim.violation().empty() ? 0 : 4;
}
