#include "engine/run/model.h"

#include "engine/core/log.h"
#include "engine/run/sequence_impl.h"
#include "engine/run/weights.h"
#include "engine/spec/families.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>

namespace hs {
namespace {

// Tokens of one pass through the layers. More does not make products faster, and activations of a
// long prompt would take the memory that its state needs.
constexpr std::int64_t kPassTokens = 512;
// Rows of logits computed at once: a vocabulary is wide.
constexpr std::int64_t kLogitRows = 16;

} // namespace

struct Model::Impl {
    struct Layer {
        std::span<const float> mixer_norm; // (hidden)
        std::unique_ptr<TokenMixer> mixer;
        std::span<const float> channel_norm; // (hidden)
        std::unique_ptr<ChannelMixer> channel;
    };

    std::shared_ptr<Backend> backend;
    std::optional<Checkpoint> checkpoint; // weights point into its mapping
    ModelSpec spec;
    WeightMemory memory;
    Weight embedding; // (vocab, hidden)
    Weight output;    // (vocab, hidden)
    std::span<const float> norm;
    std::vector<Layer> layers;
    std::vector<std::string> unused;

    // Asks the source for everything the spec has, layer by layer.
    Result<void> build(WeightSource& weights, const std::function<void(std::size_t)>& begin_layer);
    // x (T, hidden) through all layers. False when stopped on the way.
    Result<bool> run_layers(Sequence::Impl& sequence, View<float, 2> x, View<float, 2> normed,
                            View<float, 2> mixed, const Tap* tap,
                            const std::stop_token& stop) const;
    // The final norm and the output product; host memory receives (T, vocab).
    void write_logits(View<const float, 2> x, View<float, 2> normed, View<float, 2> host) const;
};

// --- loading -------------------------------------------------------------------------------------

Result<void> Model::Impl::build(WeightSource& weights,
                                const std::function<void(std::size_t)>& begin_layer) {
    embedding = TRY(weights.matrix("embedding", spec.vocab, spec.hidden));
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        if (begin_layer) {
            begin_layer(i);
        }
        const std::string prefix = "layers." + std::to_string(i);
        Layer layer;
        layer.mixer_norm = TRY(weights.vector(prefix + ".mixer_norm", spec.hidden));
        layer.channel_norm = TRY(weights.vector(prefix + ".channel_norm", spec.hidden));
        MixerContext context{&weights, prefix + ".mixer", spec.hidden, spec.norm_eps};
        layer.mixer = TRY(make_token_mixer(spec.layers[i].mixer, context));
        context.prefix = prefix + ".channel";
        layer.channel = TRY(make_channel_mixer(spec.layers[i].channel, context));
        layers.push_back(std::move(layer));
    }
    norm = TRY(weights.vector("norm", spec.hidden));
    output = embedding;
    if (!spec.tied_embedding) {
        output = TRY(weights.matrix("output", spec.vocab, spec.hidden));
    }
    return {};
}

Result<std::optional<std::shared_ptr<const Model>>>
Model::load(std::shared_ptr<Backend> backend, Checkpoint checkpoint, const LoadOptions& options) {
    using Loaded = std::optional<std::shared_ptr<const Model>>;
    auto impl = std::make_unique<Impl>();
    impl->backend = std::move(backend);
    impl->checkpoint = std::move(checkpoint);
    const Checkpoint& file = *impl->checkpoint;

    LoadProgress progress;
    progress.stage = "reading the header";
    for (const TensorInfo& tensor : file.tensors()) {
        progress.total_bytes += tensor.bytes;
    }
    const auto tell = [&] {
        if (options.progress) {
            options.progress(progress);
        }
    };
    tell();
    SpecAndTensors read = TRY(read_model(file));
    impl->spec = std::move(read.spec);

    CheckpointWeights weights(*impl->backend, file, std::move(read.tensors), impl->memory,
                              options.stop, [&](std::int64_t done) {
                                  progress.done_bytes = done;
                                  tell();
                              });
    const auto begin_layer = [&](std::size_t i) {
        progress.stage = fmt::format("layer {} of {}", i + 1, impl->spec.layers.size());
        tell();
    };
    if (auto built = impl->build(weights, begin_layer); !built.ok()) {
        return weights.stopped() ? Result<Loaded>(Loaded{}) : std::move(built).error();
    }

    std::size_t unknown = 0;
    for (const TensorInfo& tensor : file.tensors()) {
        if (weights.used().find(tensor.name) != weights.used().end()) {
            continue;
        }
        const char* const reason = read.extra ? read.extra(tensor.name) : nullptr;
        impl->unused.push_back(reason != nullptr ? fmt::format("{} ({})", tensor.name, reason)
                                                 : tensor.name);
        unknown += reason == nullptr ? 1 : 0;
        HS_LOG(Debug, "run", "not used: {}", impl->unused.back());
    }
    if (unknown > 0) {
        HS_LOG(Warning, "run", "{}: {} tensors are not known to the family {} and were left out",
               impl->spec.name, unknown, impl->spec.family);
    }
    return Loaded(std::shared_ptr<const Model>(new Model(std::move(impl))));
}

Result<std::shared_ptr<const Model>> Model::synthetic(std::shared_ptr<Backend> backend,
                                                      const ModelSpec& spec, std::uint64_t seed,
                                                      DType weights) {
    auto impl = std::make_unique<Impl>();
    impl->backend = std::move(backend);
    impl->spec = spec;
    SyntheticWeights source(*impl->backend, seed, weights, impl->memory);
    TRY(impl->build(source, {}));
    return std::shared_ptr<const Model>(new Model(std::move(impl)));
}

Model::Model(std::unique_ptr<Impl> impl)
    : m_impl(std::move(impl)) {}

Model::~Model() = default;

const ModelSpec& Model::spec() const {
    return m_impl->spec;
}

Backend& Model::backend() const {
    return *m_impl->backend;
}

std::int64_t Model::weight_bytes() const {
    return m_impl->memory.bytes;
}

bool Model::quantised() const {
    return m_impl->memory.quantised;
}

const std::vector<std::string>& Model::unused_tensors() const {
    return m_impl->unused;
}

const Checkpoint* Model::checkpoint() const {
    return m_impl->checkpoint ? &*m_impl->checkpoint : nullptr;
}

Result<std::unique_ptr<MixerState>> Model::make_state(StateLedger& ledger, std::size_t layer,
                                                      const StateOptions& options) const {
    return m_impl->layers[layer].mixer->make_state(ledger, static_cast<int>(layer), options);
}

// --- the forward pass ----------------------------------------------------------------------------

Result<bool> Model::Impl::run_layers(Sequence::Impl& sequence, View<float, 2> x,
                                     View<float, 2> normed, View<float, 2> mixed, const Tap* tap,
                                     const std::stop_token& stop) const {
    const auto eps = static_cast<float>(spec.norm_eps);
    Step step;
    step.first_position = sequence.position();
    step.tap = tap;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const Layer& layer = layers[i];
        step.layer = static_cast<int>(i);

        backend->reset_scratch();
        backend->rms_norm(x, layer.mixer_norm, eps, normed);
        TRY(layer.mixer->forward(*backend, normed, *sequence.layers[i], step, mixed));
        backend->add(x, mixed);
        if (stop.stop_requested()) {
            return false;
        }

        backend->reset_scratch();
        backend->rms_norm(x, layer.channel_norm, eps, normed);
        layer.channel->forward(*backend, normed, step, mixed);
        backend->add(x, mixed);
        if (stop.stop_requested()) {
            return false;
        }
    }
    return true;
}

void Model::Impl::write_logits(View<const float, 2> x, View<float, 2> normed,
                               View<float, 2> host) const {
    backend->rms_norm(x, norm, static_cast<float>(spec.norm_eps), normed);
    for (std::int64_t first = 0; first < x.extent[0]; first += kLogitRows) {
        const std::int64_t rows = std::min(kLogitRows, x.extent[0] - first);
        backend->reset_scratch();
        const View<float, 2> logits = backend->scratch(rows, spec.vocab);
        backend->matmul(normed.slice(first, rows), output, logits);
        for (std::int64_t r = 0; r < rows; ++r) {
            const std::span<float> row(&host(first + r, 0), static_cast<std::size_t>(spec.vocab));
            backend->copy_out(std::as_writable_bytes(row),
                              reinterpret_cast<const std::byte*>(&logits(r, 0)));
        }
    }
}

Result<void> Model::forward(Sequence& sequence, std::span<const std::int32_t> ids, Logits wanted,
                            View<float, 2> logits, const Tap* tap,
                            const std::stop_token& stop) const {
    const ModelSpec& s = m_impl->spec;
    Sequence::Impl& held = *sequence.m_impl;
    HS_ASSERT(held.model.get() == this);
    const auto tokens = static_cast<std::int64_t>(ids.size());
    const std::int64_t rows_wanted = wanted == Logits::All ? tokens : 1;
    HS_ASSERT(wanted == Logits::None || (logits.extent[0] >= rows_wanted &&
                                         logits.extent[1] == s.vocab && logits.stride[1] == 1));
    if (tokens == 0) {
        return Error{ErrorCode::InvalidArgument, "expected at least one token, found none", {}};
    }
    for (const std::int32_t id : ids) {
        if (id < 0 || id >= s.vocab) {
            return Error{ErrorCode::InvalidArgument,
                         fmt::format("expected token ids in [0, {}), found {}", s.vocab, id),
                         "The tokenizer does not belong to this model."};
        }
    }
    const std::int64_t before = held.position();
    if (tokens > sequence.context_limit() - before) {
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("expected at most {} tokens of context, found {} and {} more",
                                 sequence.context_limit(), before, tokens),
                     "Start a new chat, or open the model with a longer context."};
    }

    const std::int64_t pass = std::min(tokens, kPassTokens);
    float* const room = TRY(held.room_for_activations(pass));
    for (std::int64_t first = 0; first < tokens; first += pass) {
        const std::int64_t count = std::min(pass, tokens - first);
        const View<float, 2> x(room, {count, s.hidden});
        const View<float, 2> normed(room + pass * s.hidden, {count, s.hidden});
        const View<float, 2> mixed(room + 2 * pass * s.hidden, {count, s.hidden});
        const auto part =
            ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));

        m_impl->backend->reset_scratch();
        m_impl->backend->embed(m_impl->embedding, part, x);
        Result<bool> ran = m_impl->run_layers(held, x, normed, mixed, tap, stop);
        if (!ran.ok() || !ran.value()) {
            // Layers stand at different positions now.
            TRY(held.restore(held.position()));
            return ran.ok() ? Result<void>() : Result<void>(std::move(ran).error());
        }
        held.ids.insert(held.ids.end(), part.begin(), part.end());
        if (wanted == Logits::All) {
            m_impl->write_logits(x, normed, logits.slice(first, count));
        } else if (wanted == Logits::Last && first + count == tokens) {
            m_impl->write_logits(x.slice(count - 1, 1), normed.slice(count - 1, 1),
                                 logits.slice(0, 1));
        }
    }
    return m_impl->backend->finish();
}

} // namespace hs
