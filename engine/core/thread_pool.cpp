#include "engine/core/thread_pool.h"

#include "engine/core/result.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace hs {

namespace {

void relax() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#endif
}

// About 50 us on current machines: longer than the gap between two ops of a decode step, short
// enough that an idle program sleeps.
constexpr int kSpins = 4000;

// Two threads of one core share what a kernel uses up; a second one slows a decode step down.
int physical_cores() {
    const int logical = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    int cores = 0;
    std::set<std::string> siblings; // Linux says which logical processors are one core
    for (int cpu = 0; cpu < 4096; ++cpu) {
        std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                           "/topology/thread_siblings_list");
        std::string line;
        if (!std::getline(file, line)) {
            break;
        }
        siblings.insert(line);
    }
    cores = static_cast<int>(siblings.size());
#if defined(__x86_64__) || defined(__i386__)
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (cores == 0 && __get_cpuid_count(0x0B, 0, &eax, &ebx, &ecx, &edx) != 0) {
        cores = logical / std::max(1, static_cast<int>(ebx & 0xFFFF)); // threads of a core
    }
#endif
    // A container may be held to the time of fewer processors than it sees.
    std::ifstream quota("/sys/fs/cgroup/cpu.max");
    double allowed = 0;
    double period = 0;
    if (quota >> allowed >> period && period > 0) {
        cores =
            std::min(cores > 0 ? cores : logical, static_cast<int>(std::lround(allowed / period)));
    }
    return cores > 0 ? std::min(cores, logical) : logical;
}

} // namespace

struct ThreadPool::State {
    // What is left of a worker's part of a range, on a cache line of its own.
    struct alignas(64) Share {
        std::atomic<std::int64_t> next{0};
        std::int64_t last = 0;
    };

    int threads = 1;
    std::atomic<std::uint64_t> generation{0}; // counts forks; workers wait for it to move
    std::atomic<int> running{0};
    std::atomic<bool> ending{false};
    const std::function<void(int)>* body = nullptr;
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<int> sleeping{0};
    std::vector<Share> shares;         // one per worker
    std::vector<std::jthread> workers; // last: joined before the rest goes

    void work(int worker) {
        std::uint64_t seen = 0;
        while (true) {
            for (int spin = 0; generation.load(std::memory_order_acquire) == seen; ++spin) {
                if (spin < kSpins) {
                    relax();
                    continue;
                }
                std::unique_lock lock(mutex);
                sleeping.fetch_add(1);
                wake.wait(lock, [&] { return generation.load() != seen; });
                sleeping.fetch_sub(1);
            }
            seen = generation.load(std::memory_order_acquire);
            if (ending.load()) {
                return;
            }
            (*body)(worker);
            running.fetch_sub(1, std::memory_order_release);
        }
    }

    void fork() {
        generation.fetch_add(1);
        if (sleeping.load() > 0) {
            const std::lock_guard lock(mutex); // a worker between its check and its wait
            wake.notify_all();
        }
    }
};

ThreadPool::ThreadPool(int threads)
    : m_state(std::make_unique<State>()) {
    m_state->threads = threads > 0 ? threads : physical_cores();
    m_state->shares = std::vector<State::Share>(static_cast<std::size_t>(m_state->threads));
    for (int worker = 1; worker < m_state->threads; ++worker) {
        m_state->workers.emplace_back([state = m_state.get(), worker] { state->work(worker); });
    }
}

ThreadPool::~ThreadPool() {
    m_state->ending = true;
    const std::lock_guard lock(m_state->mutex);
    m_state->generation.fetch_add(1);
    m_state->wake.notify_all();
}

int ThreadPool::threads() const {
    return m_state->threads;
}

void ThreadPool::run(const std::function<void(int)>& body) {
    if (m_state->threads == 1) {
        body(0);
        return;
    }
    HS_ASSERT(m_state->running.load() == 0); // one fork at a time
    m_state->body = &body;
    m_state->running.store(m_state->threads - 1, std::memory_order_relaxed);
    m_state->fork();
    body(0);
    for (int spin = 0; m_state->running.load(std::memory_order_acquire) > 0; ++spin) {
        if (spin < kSpins) {
            relax();
        } else {
            std::this_thread::yield();
        }
    }
}

void ThreadPool::for_range(
    std::int64_t count, std::int64_t grain,
    const std::function<void(std::int64_t first, std::int64_t last, int worker)>& body) {
    grain = std::max<std::int64_t>(1, grain);
    if (m_state->threads == 1 || count <= grain) {
        if (count > 0) {
            body(0, count, 0);
        }
        return;
    }
    // Each worker goes through a share of its own from front to back, so that what it reads lies in
    // a row for the processor's prefetchers, and then helps the others with theirs.
    const std::int64_t pieces = (count + grain - 1) / grain;
    const int threads = m_state->threads;
    for (int worker = 0; worker < threads; ++worker) {
        State::Share& share = m_state->shares[static_cast<std::size_t>(worker)];
        share.next.store(pieces / threads * worker +
                             std::min<std::int64_t>(pieces % threads, worker),
                         std::memory_order_relaxed);
        share.last =
            pieces / threads * (worker + 1) + std::min<std::int64_t>(pieces % threads, worker + 1);
    }
    run([&](int worker) {
        for (int i = 0; i < threads; ++i) {
            State::Share& share = m_state->shares[static_cast<std::size_t>((worker + i) % threads)];
            while (share.next.load(std::memory_order_relaxed) < share.last) {
                const std::int64_t piece = share.next.fetch_add(1, std::memory_order_relaxed);
                if (piece >= share.last) {
                    break;
                }
                body(piece * grain, std::min((piece + 1) * grain, count), worker);
            }
        }
    });
}

} // namespace hs
