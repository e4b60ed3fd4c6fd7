#pragma once
// Counts what operator new hands out, so that a test can say how much a hostile file may cost.
// Linking it replaces the program's operator new and delete.

#include <cstddef>

namespace hs::test {

// Since the last reset, over all threads.
std::size_t largest_allocation();
std::size_t total_allocated(); // every request, also what was freed since
void reset_allocations();

} // namespace hs::test
