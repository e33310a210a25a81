// SPDX-License-Identifier: MIT
// What a generated testbench uses: beats from and to text files, comparison with what the golden model expects.
// A vector file holds one beat a line, hexadecimal. Results are lines on standard output that begin with ok, mismatch
// (case, port, index of the beat, got, expected) or error. It also works with the vendor's hls_stream.h, whose streams
// have neither names nor a report of what is left in them.
#ifndef BHVIT_SIM_TESTBENCH_HPP
#define BHVIT_SIM_TESTBENCH_HPP

#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "bhvit/core.hpp"

namespace bhvit_sim {

inline std::vector<std::string> lines(const std::string& file) {
  std::ifstream in(file);
  if (!in) throw std::runtime_error("vector file " + file + " cannot be read");
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) all.push_back(line);
  return all;
}

template <int W> ap_uint<W> from_hex(const std::string& text) {
  ap_uint<W> x = 0;
  for (int i = 0; i < W / 8; i++) {
    const std::size_t at = text.size() - 2 * std::size_t(i) - 2;
    x.range(8 * i + 7, 8 * i) = std::stoi(text.substr(at, 2), nullptr, 16);
  }
  return x;
}

template <int W> std::string to_hex(const ap_uint<W>& x) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (int i = W / 4 - 1; i >= 0; i--) text += digits[int(ap_uint<4>(x.range(4 * i + 3, 4 * i)))];
  return text;
}

// One instance under test.
class Case {
  std::string name_, folder_;
  int beats_ = 0, wrong_ = 0;

  std::string file(const std::string& port) const { return folder_ + "/" + name_ + "_" + port + ".hex"; }

 public:
  Case(const std::string& name, const std::string& folder) : name_(name), folder_(folder) {}

  template <int W> void feed(hls::stream<ap_uint<W>>& s, const std::string& port) const {
    for (const std::string& line : lines(file(port))) s.write(from_hex<W>(line));
  }
  template <int W> void compare(hls::stream<ap_uint<W>>& s, const std::string& port) {
    const std::vector<std::string> expected = lines(file(port));
    std::vector<std::string> got;
    while (!s.empty()) got.push_back(to_hex<W>(s.read()));
    if (got.size() != expected.size())
      throw std::runtime_error(port + " has " + std::to_string(got.size()) + " beats, expected " +
                               std::to_string(expected.size()));
    for (std::size_t i = 0; i < expected.size(); i++, beats_++) {
      if (got[i] == expected[i]) continue;
      if (!wrong_++)
        std::cout << "mismatch " << name_ << " " << port << " " << i << " " << got[i] << " " << expected[i] << "\n";
    }
  }
  template <int W> void used_up(hls::stream<ap_uint<W>>& s) const {
#ifdef BHVIT_SIM_HLS_STREAM_H
    const std::string name = "stream '" + s.name() + "'";
#else
    const std::string name = "a stream";
#endif
    int left = 0;
    for (; !s.empty(); left++) s.read();
    if (left) throw std::runtime_error(std::to_string(left) + " beats are left in " + name);
  }
  // Runs the body and prints the verdict; true when everything is equal.
  template <typename F> bool run(F body) {
    try {
#ifdef BHVIT_SIM_HLS_STREAM_H
      std::vector<std::string>& left = hls::sim::World::get().leftovers;
      left.clear();
      body(*this);
      if (!left.empty()) throw std::runtime_error(left.front());
#else
      body(*this);
#endif
    } catch (const std::exception& e) {
      std::cout << "error " << name_ << " " << e.what() << std::endl;
      return false;
    }
    if (wrong_ == 0) std::cout << "ok " << name_ << " " << beats_ << std::endl;
    return wrong_ == 0;
  }
};

}  // namespace bhvit_sim
#endif
