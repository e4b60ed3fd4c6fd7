#pragma once
// Which mixers there are. REGISTER A TOKEN OR CHANNEL MIXER in mixers.cpp: one row, what it answers
// to and its factory. Whoever builds a layer comes here and names no kind.

#include "engine/backend/backend.h"
#include "engine/core/result.h"
#include "engine/mixers/channel_mixer.h"
#include "engine/mixers/token_mixer.h"
#include "engine/spec/model_spec.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// Where weights come from: a checkpoint, or a seed. What is returned lives in the backend's memory
// as long as the source's owner.
class WeightSource {
public:
    virtual ~WeightSource() = default;
    // A matrix in its own format. Errors name the tensor, what was expected and found.
    virtual Result<Weight> matrix(const std::string& name, std::int64_t rows,
                                  std::int64_t cols) = 0;
    // One of which single rows are looked up, and which is never multiplied.
    virtual Result<Weight> table(const std::string& name, std::int64_t rows, std::int64_t cols) {
        return matrix(name, rows, cols);
    }
    // `count` values as f32.
    virtual Result<std::span<const float>> vector(const std::string& name, std::int64_t count) = 0;
    // Values that a mixer computed itself, beside the weights.
    virtual Result<std::span<const float>> constants(std::span<const float> values) = 0;
};

// What a mixer is built from. Tensors are asked for as prefix + ".q".
struct MixerContext {
    WeightSource* weights = nullptr;
    std::string prefix; // "layers.7.mixer"
    std::int64_t hidden = 0;
    double norm_eps = 1e-6;

    Result<Weight> matrix(std::string_view part, std::int64_t rows, std::int64_t cols) const {
        return weights->matrix(prefix + "." + std::string(part), rows, cols);
    }
    Result<std::span<const float>> vector(std::string_view part, std::int64_t count) const {
        return weights->vector(prefix + "." + std::string(part), count);
    }
};

struct TokenMixerRow {
    const char* name;
    bool (*answers_to)(const TokenMixerSpec& spec);
    Result<std::unique_ptr<TokenMixer>> (*create)(const TokenMixerSpec& spec,
                                                  const MixerContext& context);
    // Small and odd shapes, for the suite that every mixer has to pass.
    std::vector<TokenMixerSpec> (*examples)();
};

struct ChannelMixerRow {
    const char* name;
    bool (*answers_to)(const ChannelMixerSpec& spec);
    Result<std::unique_ptr<ChannelMixer>> (*create)(const ChannelMixerSpec& spec,
                                                    const MixerContext& context);
    std::vector<ChannelMixerSpec> (*examples)();
};

std::span<const TokenMixerRow> token_mixers();
std::span<const ChannelMixerRow> channel_mixers();

// Errors: what the weight source says; Unsupported when no row answers.
Result<std::unique_ptr<TokenMixer>> make_token_mixer(const TokenMixerSpec& spec,
                                                     const MixerContext& context);
Result<std::unique_ptr<ChannelMixer>> make_channel_mixer(const ChannelMixerSpec& spec,
                                                         const MixerContext& context);

// The mixers' own files.
Result<std::unique_ptr<TokenMixer>> make_softmax_attention(const TokenMixerSpec& spec,
                                                           const MixerContext& context);
Result<std::unique_ptr<TokenMixer>> make_latent_attention(const TokenMixerSpec& spec,
                                                          const MixerContext& context);
Result<std::unique_ptr<TokenMixer>> make_gated_delta(const TokenMixerSpec& spec,
                                                     const MixerContext& context);
Result<std::unique_ptr<TokenMixer>> make_kda(const TokenMixerSpec& spec,
                                             const MixerContext& context);
Result<std::unique_ptr<TokenMixer>> make_lightning(const TokenMixerSpec& spec,
                                                   const MixerContext& context);
Result<std::unique_ptr<ChannelMixer>> make_dense(const ChannelMixerSpec& spec,
                                                 const MixerContext& context);
Result<std::unique_ptr<ChannelMixer>> make_moe(const ChannelMixerSpec& spec,
                                               const MixerContext& context);

} // namespace hs
