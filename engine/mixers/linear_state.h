#pragma once
// What the linear mixers share: a state of fixed size that moves on by tokens and can be copied but
// not cut, and how gates are shown to a tap. Included by engine/mixers alone.

#include "engine/mixers/token_mixer.h"
#include "engine/state/recurrent_state.h"

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
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

    // Before an op whose last tokens may be taken back: keeps the state, and copies of the op's
    // inputs, to which the views then point.
    Result<void> hold(Backend& backend, std::int64_t tokens,
                      std::initializer_list<View<const float, 2>*> inputs) {
        if (m_kept == nullptr) {
            m_kept = TRY(backend.allocate(m_state.bytes()));
        }
        m_state.copy_to(m_kept->data());
        std::int64_t floats = 0;
        for (const View<const float, 2>* input : inputs) {
            floats += tokens * input->extent[1];
        }
        const auto bytes = floats * static_cast<std::int64_t>(sizeof(float));
        if (m_inputs == nullptr || m_inputs->bytes() < bytes) {
            m_inputs = TRY(backend.allocate(bytes));
        }
        auto* to = reinterpret_cast<float*>(m_inputs->data());
        for (View<const float, 2>* input : inputs) {
            const View<float, 2> copy(to, {tokens, input->extent[1]});
            const auto whole = [](auto rows) { // as one head
                return View<std::remove_pointer_t<decltype(rows.data)>, 3>(
                    rows.data, {rows.extent[0], 1, rows.extent[1]},
                    {rows.stride[0], rows.extent[1], 1});
            };
            backend.copy_columns(whole(input->slice(0, tokens)), whole(copy));
            *input = copy;
            to += tokens * input->extent[1];
        }
        m_held_tokens = tokens;
        return {};
    }
    // How to run that op on its first n tokens again.
    void set_again(std::function<void(std::int64_t n)> again) { m_again = std::move(again); }
    Result<void> take_back(std::int64_t tokens) override {
        if (tokens == 0) {
            return {};
        }
        HS_ASSERT(m_again && tokens <= m_held_tokens);
        m_state.copy_from(m_kept->data());
        if (m_held_tokens > tokens) {
            m_again(m_held_tokens - tokens);
        }
        m_position -= tokens;
        m_again = nullptr; // once
        return {};
    }

private:
    explicit LinearState(RecurrentState state)
        : m_state(state) {}

    RecurrentState m_state;
    std::int64_t m_position = 0;
    std::unique_ptr<Buffer> m_kept; // the state before the held tokens
    std::unique_ptr<Buffer> m_inputs;
    std::int64_t m_held_tokens = 0;
    std::function<void(std::int64_t)> m_again;
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
