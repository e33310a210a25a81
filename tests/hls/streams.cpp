// Uses of the stream shim, one per run; the argument says which. Prints what happened.
#include <iostream>

#include "hls_stream.h"

typedef hls::stream<int> S;

// One process sends a burst of four beats through `first`, then through `second`; the other wants them in turn.
static void reconvergence(int depth, bool told = false) {
  S first("first"), second("second"), result("result");
  first.set_depth(std::size_t(depth));
  second.set_depth(2);
  if (told) first.set_ends("fork", "join");
  if (told) second.set_ends("fork", "join");
  hls::sim::Processes all;
  all.add("fork", [&] {
    for (int f = 0; f < 3; f++) {
      for (int i = 0; i < 4; i++) first.write(i);
      for (int i = 0; i < 4; i++) second.write(10 * i);
    }
  });
  all.add("join", [&] {
    for (int i = 0; i < 12; i++) {
      const int b = second.read();
      result.write(b + first.read());
    }
  });
  all.run();
  int sum = 0;
  while (!result.empty()) sum += result.read();
  std::cout << "sum " << sum << " peak " << first.peak() << "\n";
}

// One process takes what there is from two streams, `left` three times as often filled as `right`.
static void either(int more) {
  S left("left"), right("right");
  left.set_depth(2);
  right.set_depth(2);
  int sum = 0;
  hls::sim::Processes all;
  all.add("left", [&] { for (int i = 0; i < 30; i++) left.write(1); });
  all.add("right", [&] { for (int i = 0; i < 10; i++) right.write(100); });
  all.add("both", [&] {
    for (int i = 0; i < 40 + more; i++) {
      while (left.empty() && right.empty()) hls::sim::wait_for_either(left, true, right, true);
      sum += left.empty() ? right.read() : left.read();
    }
  });
  all.run();
  std::cout << "sum " << sum << "\n";
}

int main(int, char** words) {
  const std::string what = words[1];
  try {
    if (what == "underflow") S("x").read();
    if (what == "leftover") {
      { S s("tail"); s.write(1); s.write(2); }
      for (const std::string& line : hls::sim::World::get().leftovers) std::cout << line << "\n";
    }
    if (what == "deep") reconvergence(4);
    if (what == "short") reconvergence(3);
    if (what == "guilty") reconvergence(3, true);
    if (what == "either") either(0);
    if (what == "neither") either(1);
    if (what == "nothing") {
      S left("left"), right("right");
      right.write(1);
      hls::sim::wait_for_either(left, true, right, true);
      hls::sim::wait_for_either(left, true, right, false);
    }
    if (what == "starved") {
      S s("never");
      hls::sim::Processes all;
      all.add("reader", [&] { s.read(); });
      all.add("idle", [] {});
      all.run();
    }
    if (what == "exception") {
      S s("x");
      hls::sim::Processes all;
      all.add("reader", [&] { s.read(); });
      all.add("broken", [] { throw std::runtime_error("process broken"); });
      all.run();
    }
  } catch (const std::exception& e) {
    std::cout << e.what() << "\n";
  }
  return 0;
}
