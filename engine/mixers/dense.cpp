// down(glu(gate x, up x)).

#include "engine/mixers/mixers.h"

#include <array>

namespace hs {
namespace {

class Dense final : public ChannelMixer {
public:
    DenseSpec m_spec;
    Weight m_gate, m_up, m_down;
    const float* m_gate_bias = nullptr;
    const float* m_up_bias = nullptr;
    const float* m_down_bias = nullptr;

    void forward(Backend& backend, View<const float, 2> x, const Step&,
                 View<float, 2> out) const override {
        const std::int64_t tokens = x.extent[0];
        const View<float, 2> gate = backend.scratch(tokens, m_spec.intermediate);
        const View<float, 2> up = backend.scratch(tokens, m_spec.intermediate);
        const std::array<Product, 2> products{{{m_gate, gate, m_gate_bias}, {m_up, up, m_up_bias}}};
        backend.matmul(x, products);
        backend.glu(m_spec.glu, gate, up, gate);
        const Product down{m_down, out, m_down_bias};
        backend.matmul(gate, {&down, 1});
    }
};

} // namespace

Result<std::unique_ptr<ChannelMixer>> make_dense(const ChannelMixerSpec& spec,
                                                 const MixerContext& context) {
    const auto& s = std::get<DenseSpec>(spec);
    auto mixer = std::make_unique<Dense>();
    mixer->m_spec = s;
    mixer->m_gate = TRY(context.matrix("gate", s.intermediate, context.hidden));
    mixer->m_up = TRY(context.matrix("up", s.intermediate, context.hidden));
    mixer->m_down = TRY(context.matrix("down", context.hidden, s.intermediate));
    if (s.bias) {
        mixer->m_gate_bias = TRY(context.vector("gate_bias", s.intermediate)).data();
        mixer->m_up_bias = TRY(context.vector("up_bias", s.intermediate)).data();
        mixer->m_down_bias = TRY(context.vector("down_bias", context.hidden)).data();
    }
    return std::unique_ptr<ChannelMixer>(std::move(mixer));
}

} // namespace hs
