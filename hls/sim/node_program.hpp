// SPDX-License-Identifier: MIT
// What a program of several nodes uses: it runs one of them, named on the command line, on frames from binary files.
//   program NODE FRAMES FOLDER     reads FOLDER/in<i>.bin, writes FOLDER/out<i>.bin
// A file holds the beats of a stream one after another, each in whole bytes, least significant first.
#ifndef BHVIT_SIM_NODE_PROGRAM_HPP
#define BHVIT_SIM_NODE_PROGRAM_HPP

#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "bhvit/core.hpp"

namespace bhvit_sim {

typedef void (*NodeBody)(const std::string& folder, int frames);

inline std::map<std::string, NodeBody>& nodes() {
  static std::map<std::string, NodeBody> all;
  return all;
}

// An object of it enters a node under its name.
struct Node {
  Node(const char* name, NodeBody body) { nodes()[name] = body; }
};

template <int W> void feed(hls::stream<ap_uint<W>>& s, const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error(file + " cannot be read");
  unsigned char bytes[W / 8];
  while (in.read(reinterpret_cast<char*>(bytes), W / 8)) {
    ap_uint<W> beat = 0;
    for (int i = 0; i < W / 8; i++) beat.range(8 * i + 7, 8 * i) = bytes[i];
    s.write(beat);
  }
  if (in.gcount() != 0) throw std::runtime_error(file + " ends in the middle of a beat");
}

template <int W> void store(hls::stream<ap_uint<W>>& s, const std::string& file) {
  std::ofstream out(file, std::ios::binary);
  while (!s.empty()) {
    const ap_uint<W> beat = s.read();
    for (int i = 0; i < W / 8; i++) out.put(char(int(ap_uint<8>(beat.range(8 * i + 7, 8 * i)))));
  }
  if (!out.flush()) throw std::runtime_error(file + " cannot be written");
}

template <int W> void used_up(hls::stream<ap_uint<W>>& s) {
  if (!s.empty()) throw std::runtime_error(std::to_string(s.size()) + " beats are left in stream '" + s.name() + "'");
}

inline int node_program(int count, char** words) {
  try {
    if (count != 4) throw std::runtime_error("usage: program NODE FRAMES FOLDER");
    const std::map<std::string, NodeBody>::const_iterator node = nodes().find(words[1]);
    if (node == nodes().end()) throw std::runtime_error(std::string("this program has no node ") + words[1]);
    node->second(words[3], std::stoi(words[2]));
  } catch (const std::exception& e) {
    std::cerr << e.what() << std::endl;
    return 1;
  }
  return 0;
}

}  // namespace bhvit_sim
#endif
