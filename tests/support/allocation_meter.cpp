#include "tests/support/allocation_meter.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> largest{0};
std::atomic<std::size_t> total{0};

void* counted(std::size_t bytes) {
    total += bytes;
    std::size_t seen = largest.load();
    while (bytes > seen && !largest.compare_exchange_weak(seen, bytes)) {
    }
    return std::malloc(bytes == 0 ? 1 : bytes);
}

} // namespace

namespace hs::test {

std::size_t largest_allocation() {
    return largest.load();
}

std::size_t total_allocated() {
    return total.load();
}

void reset_allocations() {
    largest = 0;
    total = 0;
}

} // namespace hs::test

// The other forms of new and delete end in these two by the standard's defaults.
void* operator new(std::size_t bytes) {
    void* memory = counted(bytes);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

void operator delete(void* memory) noexcept {
    std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
