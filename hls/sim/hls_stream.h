// SPDX-License-Identifier: MIT
// hls::stream for C simulation. By itself a stream is an unbounded queue, as in a vendor's C simulation, but reading an
// empty one throws and what is left in it is reported. Between the processes of hls::sim::Processes, which run as
// threads, reading waits for data and writing waits for room in a stream with a depth, as in hardware; when all
// processes wait, the simulation ends with a Deadlock that names the streams.
#ifndef BHVIT_SIM_HLS_STREAM_H
#define BHVIT_SIM_HLS_STREAM_H

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace hls {
namespace sim {

struct Underflow : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Deadlock : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// One waiting process. The process that ends the wait takes it off the list, so the list is exact at any moment.
struct Waiter {
  std::string process, text;
  std::string stream, peer;  // where it waits; the process at the other end, where that is known
  bool writes, woken;
  std::condition_variable condition;
};

// Everything that the processes share, under one lock.
struct World {
  std::mutex mutex;
  int live = 0;
  std::vector<Waiter*> waiting;
  std::string deadlock;
  std::vector<std::string> leftovers;

  static World& get() {
    static World world;
    return world;
  }
  // Every waiting process waits for the one at the other end of its stream. Where this closes a circle, the full
  // streams in it are too short: each reader waits for what its own stream holds back.
  std::string too_short() const {
    for (Waiter* start : waiting) {
      std::vector<Waiter*> path(1, start);
      while (path.size() <= waiting.size()) {
        Waiter* next = nullptr;
        for (Waiter* w : waiting)
          if (!path.back()->peer.empty() && w->process == path.back()->peer) next = w;
        if (!next || next == start) {
          if (!next) path.clear();
          break;
        }
        path.push_back(next);
      }
      if (path.empty() || path.size() > waiting.size()) continue;
      std::string text;
      for (std::size_t i = 0; i < path.size(); i++) {
        const Waiter *w = path[i], *r = path[(i + 1) % path.size()];
        if (w->writes && !r->writes)
          text += "stream '" + w->stream + "' is too short: it is full while its reader '" + r->process +
                  "' waits for stream '" + r->stream + "'; ";
      }
      return text;
    }
    return "";
  }
  // Called with the lock held: if no process can move any more, all of them are woken to end.
  void check() {
    if (live == 0 || int(waiting.size()) < live || !deadlock.empty()) return;
    std::string full, empty;
    const std::string guilty = too_short();
    for (Waiter* w : waiting) {
      std::string& list = w->writes ? full : empty;
      list += (list.empty() ? "" : "; ") + ("process '" + w->process + "' waits to " + w->text);
    }
    deadlock = "deadlock: " + guilty + full + (full.empty() || empty.empty() ? "" : "; ") + empty;
    for (Waiter* w : waiting) w->condition.notify_one();
  }
  void wait(std::unique_lock<std::mutex>& lock, Waiter*& place, const std::string& process, const std::string& text,
            bool writes, const std::string& stream, const std::string& peer, Waiter** second = nullptr) {
    Waiter me;
    me.process = process;
    me.text = text;
    me.stream = stream;
    me.peer = peer;
    me.writes = writes;
    me.woken = false;
    place = &me;
    if (second) *second = &me;
    waiting.push_back(&me);
    check();
    me.condition.wait(lock, [&] { return me.woken || !deadlock.empty(); });
    place = nullptr;
    if (second) *second = nullptr;  // only one of two streams has woken it
    if (!me.woken) throw Deadlock(deadlock);
  }
  void wake(Waiter*& place) {
    if (!place) return;
    for (std::size_t i = 0; i < waiting.size(); i++)
      if (waiting[i] == place) {
        waiting.erase(waiting.begin() + std::ptrdiff_t(i));
        break;
      }
    place->woken = true;
    place->condition.notify_one();
    place = nullptr;
  }
};

// Name of the process that runs on this thread; empty outside Processes.
inline std::string& this_process() {
  static thread_local std::string name;
  return name;
}

// Processes of a dataflow design, each on a thread of its own.
class Processes {
  std::vector<std::pair<std::string, std::function<void()>>> all_;

 public:
  void add(const std::string& name, std::function<void()> body) { all_.emplace_back(name, std::move(body)); }
  // Runs all processes to their end. Throws the Deadlock, or else the first exception of a process.
  void run() {
    World& world = World::get();
    std::exception_ptr first, deadlock;
    {
      std::lock_guard<std::mutex> lock(world.mutex);
      world.live = int(all_.size());
      world.waiting.clear();
      world.deadlock.clear();
    }
    std::vector<std::thread> threads;
    for (auto& p : all_)
      threads.emplace_back([&world, &p, &first, &deadlock] {
        this_process() = p.first;
        std::exception_ptr error, ended;
        try {
          p.second();
        } catch (const Deadlock&) {
          ended = std::current_exception();
        } catch (...) {
          error = std::current_exception();
        }
        std::lock_guard<std::mutex> lock(world.mutex);
        if (ended && !deadlock) deadlock = ended;
        if (error && !first) first = error;
        world.live--;
        world.check();
      });
    for (std::thread& t : threads) t.join();
    if (first) std::rethrow_exception(first);
    if (deadlock) std::rethrow_exception(deadlock);
  }
};

}  // namespace sim

template <typename T, int DEPTH = 0> class stream;

namespace sim {
template <typename T> void wait_for_either(stream<T, 0>& a, bool of_a, stream<T, 0>& b, bool of_b);
}

template <typename T> class stream<T, 0> {
  friend void sim::wait_for_either<T>(stream<T, 0>& a, bool of_a, stream<T, 0>& b, bool of_b);

  std::string name_, reader_name_, writer_name_;
  std::deque<T> queue_;
  std::size_t depth_ = 0, peak_ = 0;  // depth 0: unbounded
  sim::Waiter *reader_ = nullptr, *writer_ = nullptr;

  static bool unwinding() {
#if __cplusplus >= 201703L
    return std::uncaught_exceptions() > 0;
#else
    return std::uncaught_exception();
#endif
  }
  bool full() const { return depth_ != 0 && queue_.size() >= depth_; }
  T take() {
    T x = queue_.front();
    queue_.pop_front();
    return x;
  }
  void put(const T& x) {
    queue_.push_back(x);
    if (queue_.size() > peak_) peak_ = queue_.size();
  }

 public:
  stream() : name_("unnamed") {}
  explicit stream(const char* name) : name_(name) {}
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  ~stream() {
    if (queue_.empty() || unwinding()) return;
    sim::World& world = sim::World::get();
    std::lock_guard<std::mutex> lock(world.mutex);
    world.leftovers.push_back("stream '" + name_ + "' ends with " + std::to_string(queue_.size()) + " beats in it");
  }

  void set_name(const char* name) { name_ = name; }
  void set_depth(std::size_t depth) { depth_ = depth; }
  // Between which processes it lies: lets a deadlock say which stream is too short.
  void set_ends(const char* writer, const char* reader) {
    writer_name_ = writer;
    reader_name_ = reader;
  }
  const std::string& name() const { return name_; }
  std::size_t size() const { return queue_.size(); }
  // Most beats that were ever in it.
  std::size_t peak() const { return peak_; }
  bool empty() const {
    if (sim::this_process().empty()) return queue_.empty();
    std::lock_guard<std::mutex> lock(sim::World::get().mutex);
    return queue_.empty();
  }

  T read() {
    const std::string& process = sim::this_process();
    if (process.empty()) {
      if (queue_.empty()) throw sim::Underflow("stream '" + name_ + "' is read while it is empty");
      return take();
    }
    sim::World& world = sim::World::get();
    std::unique_lock<std::mutex> lock(world.mutex);
    while (queue_.empty())
      world.wait(lock, reader_, process, "read from empty stream '" + name_ + "'", false, name_, writer_name_);
    T x = take();
    world.wake(writer_);
    return x;
  }
  void write(const T& x) {
    const std::string& process = sim::this_process();
    if (process.empty()) return put(x);
    sim::World& world = sim::World::get();
    std::unique_lock<std::mutex> lock(world.mutex);
    while (full())
      world.wait(lock, writer_, process, "write to full stream '" + name_ + "' of depth " + std::to_string(depth_),
                 true, name_, reader_name_);
    put(x);
    world.wake(reader_);
  }
  void read(T& x) { x = read(); }
  void operator>>(T& x) { x = read(); }
  void operator<<(const T& x) { write(x); }
};

namespace sim {

// For a kernel that looks at two streams and finds nothing to do: returns when one of those it can use (of_a, of_b) has
// something. Hardware looks again in the next cycle.
template <typename T> void wait_for_either(stream<T, 0>& a, bool of_a, stream<T, 0>& b, bool of_b) {
  const std::string what = of_a && of_b ? "'" + a.name_ + "' or '" + b.name_ + "'" : "'" + (of_a ? a : b).name_ + "'";
  const std::string& process = this_process();
  if (process.empty()) {
    if ((of_a && !a.queue_.empty()) || (of_b && !b.queue_.empty())) return;
    throw Underflow("stream " + what + " is waited for while it is empty");
  }
  World& world = World::get();
  std::unique_lock<std::mutex> lock(world.mutex);
  while (!(of_a && !a.queue_.empty()) && !(of_b && !b.queue_.empty())) {
    const bool both = of_a && of_b;  // then no single process is waited for
    stream<T, 0>& first = of_a ? a : b;
    world.wait(lock, first.reader_, process, "read from empty stream " + what, false, both ? "" : first.name_,
               both ? "" : first.writer_name_, both ? &b.reader_ : nullptr);
  }
}

}  // namespace sim

// The depth in the type is for synthesis; in simulation only set_depth bounds a stream.
template <typename T, int DEPTH> class stream : public stream<T, 0> {
 public:
  using stream<T, 0>::stream;
};

}  // namespace hls
#endif
