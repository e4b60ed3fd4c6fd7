#pragma once
// What the linear mixers share: a state of fixed size that moves on by tokens and can be copied but
// not cut, and how gates are shown to a tap. Included by engine/mixers alone.

#include "engine/mixers/token_mixer.h"
#include "engine/state/recurrent_state.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace hs {

class LinearState final : public MixerState {
public:
    // Values, not bytes: of the matrices of all heads, and of the convolution's tail (or 0).
    static Result<std::unique_ptr<MixerState>>
    create(StateLedger& ledger, int layer, std::int64_t matrix_values, std::int64_t conv_values) {
        const RecurrentState state =
            TRY(RecurrentState::create(ledger, layer, matrix_values, conv_values));
        return std::unique_ptr<MixerState>(new LinearState(state));
    }

    std::int64_t position() const override { return m_position; }
    bool can_cut() const override { return false; }
    StateImage image() const override { return {m_position, m_state.copy()}; }
    Result<void> restore(const StateImage& image) override {
        HS_ASSERT(image.position == 0 || !image.bytes.empty());
        TRY(m_state.restore(image.bytes));
        m_position = image.position;
        return {};
    }

    float* matrix() const { return m_state.matrix(); }
    float* conv() const { return m_state.conv(); }
    void advance(std::int64_t tokens) { m_position += tokens; }

private:
    explicit LinearState(RecurrentState state)
        : m_state(state) {}

    RecurrentState m_state;
    std::int64_t m_position = 0;
};

inline bool shows_gates(const Step& step) {
    return step.tap != nullptr && step.tap->gates;
}

// decay, beta (T, heads) in the backend's memory.
inline void show_gates(Backend& backend, const Step& step, std::int64_t tokens, std::int64_t heads,
                       const float* decay, const float* beta) {
    const auto host = [&](const float* from) {
        std::vector<float> values(static_cast<std::size_t>(tokens * heads));
        backend.copy_out(std::as_writable_bytes(std::span(values)),
                         reinterpret_cast<const std::byte*>(from));
        return values;
    };
    step.tap->gates(step.layer, step.first_position, tokens, heads, host(decay).data(),
                    host(beta).data());
}

} // namespace hs
