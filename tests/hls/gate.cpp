// Whom the gate of an engine lets in, one situation per run; the argument says which. Frames of four beats, three
// rounds, two frames under way. Prints the sets, then the first beat of every frame that went to out0 and out1, and what is left.
#include <iostream>

#include "bhvit/loop.hpp"

struct P {
  static constexpr int WIDTH = 8, BEATS = 4, ROUNDS = 3, IN_FLIGHT = 2;
  typedef bhvit::Stream<8, bhvit::UNSIGNED, 1, 1, 4, 1> In0, In1, Out0, Out1;
};
typedef hls::stream<ap_uint<8>> S;

static void put(S& s, int first, int beats = 4) {
  for (int i = 0; i < beats; i++) s.write(first + i);
}

static void print(S& s, int beats) {
  std::cout << s.name();
  while (!s.empty()) {
    const int first = int(s.read());
    std::cout << " " << first;
    for (int i = 1; i < beats && !s.empty(); i++)
      if (int(s.read()) != first + i) std::cout << "!";
  }
  std::cout << "\n";
}

int main(int, char** words) {
  const std::string what = words[1];
  S in0("in0"), in1("in1"), out0("out0"), out1("out1"), sets("sets");
  const auto run = [&] {  // until nothing is there
    try {
      bhvit::loop<P>(out0, out1, sets, in0, in1);
    } catch (const hls::sim::Underflow& e) {
      std::cout << e.what() << "\n";
    }
  };
  if (what == "limit") {  // three new frames, and nothing returns
    for (int f = 0; f < 3; f++) put(in0, 10 * f);
    put(in0, 30, 2);
    run();
  }
  if (what == "complete") {  // a new frame of which a beat is missing
    put(in0, 0);
    put(in0, 10, 3);
    run();
    put(in0, 13, 1);
    run();
  }
  if (what == "first") {  // the first frame leaves when a new one is here and the second has to go round once more
    put(in0, 0);
    run();
    put(in1, 100);
    run();
    put(in0, 10);
    put(in0, 20);
    run();
    for (int f = 1; f < 5; f++) put(in1, 100 + 10 * f);
    run();
    run();
  }
  if (what == "order") {  // the second frame follows the first one in every round, and out
    put(in0, 0);
    put(in0, 10);
    run();
    for (int f = 0; f < 6; f++) put(in1, 100 + 10 * f);
    run();
    run();
  }
  if (what == "empty") {  // nothing is under way: what comes from the engine belongs to no frame
    put(in1, 100);
    run();
  }
  print(sets, 1);
  print(out0, 4);
  print(out1, 4);
  std::cout << "left " << in0.size() << " " << in1.size() << "\n";
  while (!in0.empty()) in0.read();
  while (!in1.empty()) in1.read();
  return 0;
}
