// Llama 3: grouped-query attention without q/k norms, dense feed-forward. GGUF files keep the rows
// of q and k in an order that makes rotated pairs adjacent, and long-context scaling as a table of
// divisors (softmax.md section 6.2, formats.md section 1.6).

#include "engine/spec/families/reading.h"

#include <bit>
#include <cstring>
#include <fmt/format.h>

namespace hs {
namespace {

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, "llama", settings));
    SoftmaxSpec attention =
        TRY(read_softmax(settings, frame.query_heads, frame.spec.hidden / frame.query_heads));
    attention.rope = TRY(read_rope(settings, attention.head_dim, 1.0, frame.spec.context_length));
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    dense.bias = TRY(settings.flag("mlp_bias", false));
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    TRY(settings.refuse_unknown("Llama"));
    frame.spec.layers.assign(static_cast<std::size_t>(frame.layers), {attention, dense});

    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    TensorNames names;
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", "lm_head.weight");
    names.add("norm", prefix + "norm.weight");
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight");
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");
    add_softmax_names(names, layer, TensorSource::Transform::None);
    add_dense_names(names, layer, dense.bias);
    return SpecAndTensors{std::move(frame.spec), names.map(), known_extra};
}

// rope_freqs.weight: what each frequency is divided by.
Result<std::vector<float>> read_divisors(const Checkpoint& checkpoint, std::int64_t dims) {
    std::vector<float> divisors;
    const TensorInfo* tensor = checkpoint.find("rope_freqs.weight");
    if (tensor == nullptr || tensor->data.empty()) {
        return divisors;
    }
    if (tensor->dtype != DType::F32 || tensor->elements() != dims / 2) {
        return unsound(fmt::format("rope_freqs.weight: expected ({}) F32, found {}", dims / 2,
                                   tensor->describe()));
    }
    divisors.resize(static_cast<std::size_t>(dims / 2));
    std::memcpy(divisors.data(), tensor->data.data(), divisors.size() * sizeof(float));
    for (const float d : divisors) {
        if (!(d > 0.0f) || !(d < 1e9f)) {
            return unsound("rope_freqs.weight: expected numbers in (0, 1e9), found " +
                           std::to_string(d));
        }
    }
    return divisors;
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), "llama.", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, "llama", settings));
    if (TRY(settings.count("expert_count", limits::experts, 0)) > 0) {
        return refused("llama.expert_count: expected 0, mixtures of this family are not known");
    }
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    attention.rope = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::Interleaved));
    attention.rope.divisors = TRY(read_divisors(checkpoint, attention.rope.dims));
    attention.qkv_bias = has_layer_tensor(checkpoint, 0, "attn_q.bias");
    attention.output_bias = has_layer_tensor(checkpoint, 0, "attn_output.bias");
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("feed_forward_length", limits::intermediate));
    dense.bias = has_layer_tensor(checkpoint, 0, "ffn_up.bias");
    TRY(settings.refuse_unknown("Llama"));
    frame.spec.layers.assign(static_cast<std::size_t>(frame.layers), {attention, dense});

    TensorNames names;
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
    add_gguf_softmax_names(names);
    add_gguf_dense_names(names);
    return SpecAndTensors{std::move(frame.spec), names.map(), known_extra};
}

} // namespace

Result<SpecAndTensors> read_llama(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
