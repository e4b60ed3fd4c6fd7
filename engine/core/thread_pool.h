#pragma once
// Fork and join over a fixed set of threads, for kernels. The caller is one of the workers.
// Not a task queue: one fork at a time, short and equal pieces of work.

#include <cstdint>
#include <functional>
#include <memory>

namespace hs {

class ThreadPool {
public:
    // threads: how many run in a fork, the caller included; 0 takes the number of physical cores.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int threads() const;

    // Runs body(worker) for worker in [0, threads()), returns when all are done.
    // Workers spin for a short while between forks (a decode step forks often), then sleep.
    void run(const std::function<void(int worker)>& body);

    // Splits [0, count) into pieces of about `grain` that free workers take; body(first, last,
    // worker).
    void
    for_range(std::int64_t count, std::int64_t grain,
              const std::function<void(std::int64_t first, std::int64_t last, int worker)>& body);

private:
    struct State;
    std::unique_ptr<State> m_state;
};

} // namespace hs
