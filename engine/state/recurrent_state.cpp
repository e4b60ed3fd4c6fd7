#include "engine/state/recurrent_state.h"

#include "engine/backend/backend.h"

#include <string>

namespace hs {

Result<RecurrentState> RecurrentState::create(StateLedger& ledger, int layer,
                                              std::int64_t matrix_values,
                                              std::int64_t conv_values) {
    RecurrentState state;
    state.m_ledger = &ledger;
    const std::int64_t matrix_bytes = matrix_values * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t conv_bytes = conv_values * static_cast<std::int64_t>(sizeof(float));
    state.m_matrix = TRY(ledger.allocate(layer, StateKind::RecurrentState, matrix_bytes));
    ledger.set_used(state.m_matrix, matrix_bytes);
    if (conv_bytes > 0) {
        state.m_conv = TRY(ledger.allocate(layer, StateKind::ConvState, conv_bytes));
        ledger.set_used(state.m_conv, conv_bytes);
    }
    state.m_matrix_bytes = static_cast<std::size_t>(matrix_bytes);
    state.m_conv_bytes = static_cast<std::size_t>(conv_bytes);
    return state;
}

float* RecurrentState::matrix() const {
    return reinterpret_cast<float*>(m_matrix->data());
}

float* RecurrentState::conv() const {
    return m_conv != nullptr ? reinterpret_cast<float*>(m_conv->data()) : nullptr;
}

std::vector<std::byte> RecurrentState::copy() const {
    std::vector<std::byte> bytes(m_matrix_bytes + m_conv_bytes);
    Backend& backend = m_ledger->backend();
    backend.copy_out({bytes.data(), m_matrix_bytes}, m_matrix->data());
    if (m_conv != nullptr) {
        backend.copy_out({bytes.data() + m_matrix_bytes, m_conv_bytes}, m_conv->data());
    }
    return bytes;
}

Result<void> RecurrentState::restore(std::span<const std::byte> bytes) {
    const std::size_t expected = m_matrix_bytes + m_conv_bytes;
    const std::vector<std::byte> zero(bytes.empty() ? expected : 0);
    if (bytes.empty()) {
        bytes = zero;
    }
    if (bytes.size() != expected) {
        return Error{ErrorCode::InvalidArgument,
                     "expected a recurrent state of " + std::to_string(expected) +
                         " bytes, found " + std::to_string(bytes.size()),
                     {}};
    }
    Backend& backend = m_ledger->backend();
    backend.copy_in(m_matrix->data(), bytes.first(m_matrix_bytes));
    if (m_conv != nullptr) {
        backend.copy_in(m_conv->data(), bytes.subspan(m_matrix_bytes));
    }
    return {};
}

void RecurrentState::copy_to(std::byte* kept) const {
    Backend& backend = m_ledger->backend();
    backend.copy(kept, m_matrix->data(), static_cast<std::int64_t>(m_matrix_bytes));
    if (m_conv != nullptr) {
        backend.copy(kept + m_matrix_bytes, m_conv->data(),
                     static_cast<std::int64_t>(m_conv_bytes));
    }
}

void RecurrentState::copy_from(const std::byte* kept) {
    Backend& backend = m_ledger->backend();
    backend.copy(m_matrix->data(), kept, static_cast<std::int64_t>(m_matrix_bytes));
    if (m_conv != nullptr) {
        backend.copy(m_conv->data(), kept + m_matrix_bytes,
                     static_cast<std::int64_t>(m_conv_bytes));
    }
}

} // namespace hs
