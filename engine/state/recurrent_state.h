#pragma once
// Fixed-size state of one linear layer: a matrix per head and the tail of its convolution, in f32.
// Cannot be cut back to an earlier position; can be copied out and in.

#include "engine/core/result.h"
#include "engine/state/ledger.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hs {

class RecurrentState {
public:
    // Values, not bytes. Zeroed. Errors: OutOfMemory.
    static Result<RecurrentState> create(StateLedger& ledger, int layer, std::int64_t matrix_values,
                                         std::int64_t conv_values);

    float* matrix() const;
    float* conv() const;

    std::vector<std::byte> copy() const; // matrix, then convolution tail
    // Empty bytes: back to zero. Errors: InvalidArgument for another number of bytes.
    Result<void> restore(std::span<const std::byte> bytes);
    // The same within the backend's memory, where bytes() of room are.
    std::int64_t bytes() const { return static_cast<std::int64_t>(m_matrix_bytes + m_conv_bytes); }
    void copy_to(std::byte* kept) const;
    void copy_from(const std::byte* kept);

private:
    StateLedger* m_ledger = nullptr;
    Buffer* m_matrix = nullptr;
    Buffer* m_conv = nullptr; // null without convolution
    std::size_t m_matrix_bytes = 0;
    std::size_t m_conv_bytes = 0;
};

} // namespace hs
