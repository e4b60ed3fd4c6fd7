#include "engine/run/model.h"

#include "engine/core/log.h"
#include "engine/run/sequence_impl.h"
#include "engine/run/weights.h"
#include "engine/spec/families.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>
#include <set>

namespace hs {
namespace {

// Rows of logits computed at once: a vocabulary is wide.
constexpr std::int64_t kLogitRows = 16;

// Weights that a device cannot hold are refused before any is read. The CPU reads them where they
// lie in the file.
Result<void> check_room(const Backend& backend, std::int64_t bytes) {
    const DeviceInfo device = backend.device();
    if (device.kind == "cpu" || bytes <= device.free_bytes) {
        return {};
    }
    constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
    return Error{ErrorCode::OutOfMemory,
                 fmt::format("the weights need {:.1f} GiB, and {:.1f} of {:.1f} GiB are free on {}",
                             static_cast<double>(bytes) / kGiB,
                             static_cast<double>(device.free_bytes) / kGiB,
                             static_cast<double>(device.total_bytes) / kGiB, device.name),
                 "Close what else uses the card, take a more strongly quantised model, or use the "
                 "CPU (--device cpu)."};
}

} // namespace

struct Model::Impl {
    // What surrounds a mixer: norms, each (hidden) or empty, and what attention residuals read by.
    struct Surround {
        JoinSpec join;
        std::span<const float> before, after, residual;
    };
    struct Layer {
        Surround around_mixer;
        std::unique_ptr<TokenMixer> mixer;
        Surround around_channel;
        std::unique_ptr<ChannelMixer> channel;
    };

    // Activations of one pass, (T, hidden) each.
    struct Rows {
        View<float, 2> x;                // the residual stream
        View<float, 2> normed;           // what a mixer reads
        View<float, 2> mixed;            // what it answers
        std::span<View<float, 2>> aside; // streams put aside by attention residuals, as yet
    };

    std::shared_ptr<Backend> backend;
    std::optional<Checkpoint> checkpoint; // weights point into its mapping
    ModelSpec spec;
    WeightMemory memory;
    Weight embedding; // (vocab, hidden)
    Weight output;    // (vocab, hidden)
    std::span<const float> norm;
    std::span<const float> residual_output; // of attention residuals, or empty
    // The multi-token prediction head.
    struct Draft {
        std::span<const float> embedding_norm, hidden_norm, norm; // (hidden)
        Weight join;                                              // (hidden, 2 * hidden)
        Layer layer;
    };

    std::vector<Layer> layers;
    std::optional<Draft> draft;
    std::vector<std::string> unused;

    // Asks the source for everything the spec has, layer by layer.
    Result<void> build(WeightSource& weights, const std::function<void(std::size_t)>& begin_layer);
    // prefix: "layers.7"; residual: what attention residuals call the layer, or empty.
    Result<Layer> build_layer(WeightSource& weights, const LayerSpec& layer,
                              const std::string& prefix, const std::string& residual) const;
    // x (T, hidden) through all layers. False when stopped on the way.
    Result<bool> run_layers(Sequence::Impl& sequence, const Rows& rows, std::int64_t tentative,
                            const Tap* tap, const std::stop_token& stop) const;
    // Shows the head what the sequence has read by now and it has not seen.
    //   hidden (T, hidden): final rows of the last T positions; ids (T): their tokens
    Result<void> catch_up(Sequence::Impl& sequence, View<const float, 2> hidden,
                          std::span<const std::int32_t> ids, std::span<View<float, 2>> room) const;
    // The head over T rows: room[0] (T, hidden) holds hidden rows; ids (T) follow them. Answers
    // with normed rows, in room[2].
    Result<void> run_head(Sequence::Impl& sequence, std::span<const std::int32_t> ids,
                          std::span<View<float, 2>> room) const;
    // What a mixer reads of the stream, in rows.normed, and how its answer in rows.mixed joins it.
    void enter(const Surround& around, const Rows& rows) const;
    void leave(const Surround& around, const Rows& rows) const;
    void copy_rows(View<const float, 2> from, View<float, 2> to) const;
    // The final norm and the output product; host memory receives (T, vocab).
    void write_logits(View<const float, 2> x, View<float, 2> normed, View<float, 2> host) const;
    void write_rows(View<const float, 2> normed, View<float, 2> host) const; // normed already
};

// --- loading -------------------------------------------------------------------------------------

namespace {

std::vector<std::string> list_unused(const Checkpoint& checkpoint,
                                     const std::set<std::string, std::less<>>& used,
                                     const ExtraReason& reason_of) {
    std::vector<std::string> unused;
    for (const TensorInfo& tensor : checkpoint.tensors()) {
        if (used.find(tensor.name) == used.end()) {
            const char* const reason = reason_of ? reason_of(tensor.name) : nullptr;
            unused.push_back(reason != nullptr ? fmt::format("{} ({})", tensor.name, reason)
                                               : tensor.name);
        }
    }
    return unused;
}

} // namespace

Result<void> Model::Impl::build(WeightSource& weights,
                                const std::function<void(std::size_t)>& begin_layer) {
    const bool multiplied = spec.tied_embedding; // as the output too
    embedding = TRY(multiplied ? weights.matrix("embedding", spec.vocab, spec.hidden)
                               : weights.table("embedding", spec.vocab, spec.hidden));
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        if (begin_layer) {
            begin_layer(i);
        }
        layers.push_back(TRY(build_layer(weights, spec.layers[i], fmt::format("layers.{}", i),
                                         spec.residual_block > 0 ? std::to_string(i) : "")));
    }
    if (spec.draft) {
        Draft head;
        head.layer = TRY(build_layer(weights, *spec.draft, "draft.0", ""));
        head.embedding_norm = TRY(weights.vector("draft.0.embedding_norm", spec.hidden));
        head.hidden_norm = TRY(weights.vector("draft.0.hidden_norm", spec.hidden));
        head.norm = TRY(weights.vector("draft.0.norm", spec.hidden));
        head.join = TRY(weights.matrix("draft.0.join", spec.hidden, 2 * spec.hidden));
        draft = std::move(head);
    }
    if (spec.residual_block > 0) {
        residual_output = TRY(weights.vector("residual.output", spec.hidden));
    }
    norm = TRY(weights.vector("norm", spec.hidden));
    output = embedding;
    if (!spec.tied_embedding) {
        output = TRY(weights.matrix("output", spec.vocab, spec.hidden));
    }
    return {};
}

Result<Model::Impl::Layer> Model::Impl::build_layer(WeightSource& weights, const LayerSpec& layer,
                                                    const std::string& prefix,
                                                    const std::string& residual) const {
    const auto surround = [&](const JoinSpec& join, const char* part) -> Result<Surround> {
        Surround around;
        around.join = join;
        if (join.norm_before) {
            around.before =
                TRY(weights.vector(fmt::format("{}.{}_norm", prefix, part), spec.hidden));
        }
        if (join.norm_after) {
            around.after =
                TRY(weights.vector(fmt::format("{}.{}_norm_after", prefix, part), spec.hidden));
        }
        if (!residual.empty()) {
            around.residual =
                TRY(weights.vector(fmt::format("residual.{}.{}", part, residual), spec.hidden));
        }
        return around;
    };
    Layer built;
    built.around_mixer = TRY(surround(layer.mixer_join, "mixer"));
    built.around_channel = TRY(surround(layer.channel_join, "channel"));
    MixerContext context{&weights, prefix + ".mixer", spec.hidden, spec.norm_eps};
    built.mixer = TRY(make_token_mixer(layer.mixer, context));
    context.prefix = prefix + ".channel";
    built.channel = TRY(make_channel_mixer(layer.channel, context));
    return built;
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
    TRY(check_room(*impl->backend, progress.total_bytes));
    SpecAndTensors read = TRY(read_model(file));
    TRY(check_runs(read.spec));
    EditedSpec edited = TRY(edit_schedule(read.spec, options.edit));
    if (!edited.keeps_weights) {
        return Error{ErrorCode::InvalidArgument,
                     "the checkpoint has no weights for the edited schedule",
                     "Run it with random weights, or change windows alone."};
    }
    impl->spec = std::move(edited.spec);

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

    impl->unused = list_unused(file, weights.used(), read.extra);
    std::size_t unknown = 0;
    for (const std::string& tensor : impl->unused) {
        unknown += file.find(tensor) != nullptr ? 1 : 0; // without a reason behind its name
        HS_LOG(Debug, "run", "not used: {}", tensor);
    }
    if (unknown > 0) {
        HS_LOG(Warning, "run", "{}: {} tensors are not known to the family {} and were left out",
               impl->spec.name, unknown, impl->spec.family);
    }
    return Loaded(std::shared_ptr<const Model>(new Model(std::move(impl))));
}

Result<std::optional<std::shared_ptr<const Model>>>
Model::synthetic(std::shared_ptr<Backend> backend, const ModelSpec& spec, std::uint64_t seed,
                 DType weights, const LoadOptions& options) {
    using Made = std::optional<std::shared_ptr<const Model>>;
    TRY(check_runs(spec));
    auto impl = std::make_unique<Impl>();
    impl->backend = std::move(backend);
    impl->spec = spec;
    LoadProgress progress;
    progress.total_bytes = synthetic_bytes(spec, weights);
    SyntheticWeights source(*impl->backend, seed, weights, impl->memory, options.stop);
    const auto begin_layer = [&](std::size_t i) {
        if (options.progress) {
            progress.done_bytes = std::min(impl->memory.bytes, progress.total_bytes);
            progress.stage = fmt::format("layer {} of {}", i + 1, spec.layers.size());
            options.progress(progress);
        }
    };
    if (auto built = impl->build(source, begin_layer); !built.ok()) {
        return source.stopped() ? Result<Made>(Made{}) : std::move(built).error();
    }
    return Made(std::shared_ptr<const Model>(new Model(std::move(impl))));
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

bool Model::rounds_inputs() const {
    return m_impl->memory.rounds_inputs;
}

const std::vector<std::string>& Model::unused_tensors() const {
    return m_impl->unused;
}

Result<std::vector<std::string>> Model::unused_tensors(const Checkpoint& checkpoint,
                                                       const SpecAndTensors& read) {
    Impl names_alone;
    names_alone.spec = read.spec;
    NamesAlone names(read.tensors);
    TRY(names_alone.build(names, {}));
    return list_unused(checkpoint, names.used(), read.extra);
}

const Checkpoint* Model::checkpoint() const {
    return m_impl->checkpoint ? &*m_impl->checkpoint : nullptr;
}

Result<std::unique_ptr<MixerState>> Model::make_state(StateLedger& ledger, std::size_t layer,
                                                      const StateOptions& options) const {
    const TokenMixer& mixer =
        layer < m_impl->layers.size() ? *m_impl->layers[layer].mixer : *m_impl->draft->layer.mixer;
    return mixer.make_state(ledger, static_cast<int>(layer), options);
}

// --- the forward pass ----------------------------------------------------------------------------

void Model::Impl::copy_rows(View<const float, 2> from, View<float, 2> to) const {
    HS_ASSERT(from.extent == to.extent && from.contiguous() && to.contiguous());
    backend->copy(reinterpret_cast<std::byte*>(to.data),
                  reinterpret_cast<const std::byte*>(from.data),
                  from.extent[0] * from.extent[1] * static_cast<std::int64_t>(sizeof(float)));
}

void Model::Impl::enter(const Surround& around, const Rows& rows) const {
    View<const float, 2> read = rows.x;
    if (!around.residual.empty()) {
        // Of the streams put aside and the running one; the first layer has none aside.
        std::vector<View<const float, 2>> streams(rows.aside.begin(), rows.aside.end());
        streams.emplace_back(rows.x);
        backend->mix_streams(streams, around.residual, static_cast<float>(spec.norm_eps),
                             rows.normed);
        read = rows.normed;
    }
    if (around.join.norm_before) {
        backend->rms_norm(read, around.before, static_cast<float>(spec.norm_eps), rows.normed);
    } else if (read.data != rows.normed.data) {
        copy_rows(read, rows.normed);
    }
}

void Model::Impl::leave(const Surround& around, const Rows& rows) const {
    const JoinSpec& join = around.join;
    if (join.norm_after) {
        backend->rms_norm(rows.mixed, around.after, static_cast<float>(spec.norm_eps), rows.mixed);
    }
    if (join.skip_normed) {
        copy_rows(rows.normed, rows.x);
    }
    if (join.skip_scale == 1.0 && join.branch_scale == 1.0) {
        backend->add(rows.x, rows.mixed);
    } else {
        backend->blend(rows.x, static_cast<float>(join.skip_scale), rows.mixed,
                       static_cast<float>(join.branch_scale));
    }
}

Result<void> Model::Impl::run_head(Sequence::Impl& sequence, std::span<const std::int32_t> ids,
                                   std::span<View<float, 2>> room) const {
    const auto eps = static_cast<float>(spec.norm_eps);
    const std::int64_t tokens = room[0].extent[0];
    // room[3] and room[4] lie together: rows of (2 * hidden), the embedding's half first.
    const View<float, 2> joined(room[3].data, {tokens, 2 * spec.hidden});
    const auto half = [&](std::int64_t which) {
        return View<float, 2>(joined.data + which * spec.hidden, {tokens, spec.hidden},
                              {2 * spec.hidden, 1});
    };
    const Rows rows{room[1], room[2], room[5], {}};
    backend->reset_scratch();
    backend->embed(embedding, ids, rows.x);
    if (spec.embedding_scale != 1.0) {
        backend->scale(rows.x, static_cast<float>(spec.embedding_scale));
    }
    backend->rms_norm(rows.x, draft->embedding_norm, eps, half(0));
    backend->rms_norm(room[0], draft->hidden_norm, eps, half(1));
    backend->matmul(joined, draft->join, rows.x);
    Step step;
    step.first_position = sequence.drafting->layer->position();
    step.layer = static_cast<int>(layers.size());
    enter(draft->layer.around_mixer, rows);
    TRY(draft->layer.mixer->forward(*backend, rows.normed, *sequence.drafting->layer, step,
                                    rows.mixed));
    leave(draft->layer.around_mixer, rows);
    backend->reset_scratch();
    enter(draft->layer.around_channel, rows);
    draft->layer.channel->forward(*backend, rows.normed, step, rows.mixed);
    leave(draft->layer.around_channel, rows);
    backend->rms_norm(rows.x, draft->norm, eps, rows.normed);
    return {};
}

Result<void> Model::Impl::catch_up(Sequence::Impl& sequence, View<const float, 2> hidden,
                                   std::span<const std::int32_t> ids,
                                   std::span<View<float, 2>> room) const {
    Sequence::Impl::Drafting& drafting = *sequence.drafting;
    const auto tokens = static_cast<std::int64_t>(ids.size());
    const std::int64_t before = sequence.position() - tokens;
    // Row r is the hidden row of position r with the token of position r + 1. What draft() has
    // shown the head already stays, if the token came.
    if (drafting.guessed_from && (before == 0 || *drafting.guessed_from != ids[0])) {
        TRY(drafting.take_back_to(before - 1));
    }
    drafting.guessed_from.reset();
    const std::int64_t first = drafting.layer->position();
    if (first < before - 1) {
        return {}; // it missed some: see Sequence::drafts()
    }
    const std::int64_t count = before + tokens - 1 - first;
    const auto row_bytes = static_cast<std::int64_t>(spec.hidden * sizeof(float));
    const auto copy_row = [&](const float* from, float* to) {
        backend->copy(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from),
                      row_bytes);
    };
    if (count > 0) {
        std::vector<View<float, 2>> part;
        for (const View<float, 2>& rows : room) {
            part.push_back(rows.slice(0, count));
        }
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t at = first + i - before; // in hidden; -1: the row kept from before
            copy_row(at < 0 ? drafting.last_row() : &hidden(at, 0), &part[0](i, 0));
        }
        TRY(run_head(sequence, ids.last(static_cast<std::size_t>(count)), part));
    }
    // The last two rows: one for the token to come, one for when the last is taken back.
    copy_row(tokens > 1 ? &hidden(tokens - 2, 0) : drafting.last_row(), drafting.row_before());
    copy_row(&hidden(tokens - 1, 0), drafting.last_row());
    return {};
}

bool Model::can_draft() const {
    return m_impl->draft.has_value();
}

Result<void> Model::draft(Sequence& sequence, std::int32_t next, View<float, 2> logits) const {
    Sequence::Impl& held = *sequence.m_impl;
    HS_ASSERT(held.drafting && held.position() > 0 && next >= 0 && next < spec().vocab);
    Sequence::Impl::Drafting& drafting = *held.drafting;
    TRY(drafting.take_back_to(held.position() - 1));
    if (drafting.layer->position() + 1 != held.position()) {
        return Error{ErrorCode::InvalidArgument, "the head has not read what comes before", {}};
    }
    const std::int64_t hidden = spec().hidden;
    float* const memory = TRY(held.room_for_activations(1));
    std::vector<View<float, 2>> room;
    for (std::int64_t i = 0; i < kHeadRows; ++i) {
        room.emplace_back(memory + (activation_rows(spec()) - kHeadRows + i) * hidden,
                          std::array<std::int64_t, 2>{1, hidden});
    }
    m_impl->copy_rows(View<float, 2>(drafting.last_row(), {1, hidden}), room[0]);
    TRY(m_impl->run_head(held, {&next, 1}, room));
    drafting.guessed_from = next;
    m_impl->write_rows(room[2], logits);
    return m_impl->backend->finish();
}

Result<bool> Model::Impl::run_layers(Sequence::Impl& sequence, const Rows& all,
                                     std::int64_t tentative, const Tap* tap,
                                     const std::stop_token& stop) const {
    Rows rows = all;
    rows.aside = {};
    Step step;
    step.first_position = sequence.position();
    step.tentative = tentative;
    step.tap = tap;
    const bool shared_choice =
        std::any_of(spec.layers.begin(), spec.layers.end(), [](const LayerSpec& layer) {
            const auto* latent = std::get_if<LatentSpec>(&layer.mixer);
            return latent != nullptr && latent->shares_choice;
        });
    step.chosen = shared_choice ? &sequence.chosen : nullptr;
    sequence.chosen.most = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const Layer& layer = layers[i];
        step.layer = static_cast<int>(i);

        backend->reset_scratch();
        enter(layer.around_mixer, rows);
        TRY(layer.mixer->forward(*backend, rows.normed, *sequence.layers[i], step, rows.mixed));
        if (spec.residual_block > 0 && i % static_cast<std::size_t>(spec.residual_block) == 0) {
            // The stream is put aside as it is, and begins anew with the mixer's answer.
            rows.aside = all.aside.first(rows.aside.size() + 1);
            std::swap(rows.aside.back().data, rows.x.data);
            copy_rows(rows.mixed, rows.x);
        } else {
            leave(layer.around_mixer, rows);
        }
        if (stop.stop_requested()) {
            return false;
        }

        backend->reset_scratch();
        enter(layer.around_channel, rows);
        layer.channel->forward(*backend, rows.normed, step, rows.mixed);
        leave(layer.around_channel, rows);
        if (stop.stop_requested()) {
            return false;
        }
    }
    if (spec.residual_block > 0) {
        Surround last;
        last.join.norm_before = false;
        last.residual = residual_output;
        enter(last, rows);
        copy_rows(rows.normed, all.x);
    }
    return true;
}

void Model::Impl::write_logits(View<const float, 2> x, View<float, 2> normed,
                               View<float, 2> host) const {
    backend->rms_norm(x, norm, static_cast<float>(spec.norm_eps), normed);
    write_rows(normed, host);
}

void Model::Impl::write_rows(View<const float, 2> normed, View<float, 2> host) const {
    for (std::int64_t first = 0; first < normed.extent[0]; first += kLogitRows) {
        const std::int64_t rows = std::min(kLogitRows, normed.extent[0] - first);
        backend->reset_scratch();
        const View<float, 2> logits = backend->scratch(rows, spec.vocab);
        backend->matmul(normed.slice(first, rows), output, logits);
        if (spec.logit_softcap > 0) {
            backend->softcap(logits, static_cast<float>(spec.logit_softcap));
        }
        for (std::int64_t r = 0; r < rows; ++r) {
            const std::span<float> row(&host(first + r, 0), static_cast<std::size_t>(spec.vocab));
            backend->copy_out(std::as_writable_bytes(row),
                              reinterpret_cast<const std::byte*>(&logits(r, 0)));
        }
    }
}

Result<void> Model::forward(Sequence& sequence, std::span<const std::int32_t> ids, Logits wanted,
                            View<float, 2> logits, const Tap* tap, const std::stop_token& stop,
                            std::int64_t tentative) const {
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

    const std::int64_t pass = std::min(tokens, m_impl->backend->pass_tokens());
    float* const room = TRY(held.room_for_activations(pass));
    for (std::int64_t first = 0; first < tokens; first += pass) {
        const std::int64_t count = std::min(pass, tokens - first);
        std::vector<View<float, 2>> views;
        for (std::int64_t i = 0; i < activation_rows(s); ++i) {
            views.emplace_back(room + i * pass * s.hidden,
                               std::array<std::int64_t, 2>{count, s.hidden});
        }
        const std::span<View<float, 2>> all(views);
        const std::size_t head = s.draft ? kHeadRows : 0; // the last ones are the head's
        const Impl::Rows rows{views[0], views[1], views[2], all.subspan(3, all.size() - 3 - head)};
        const auto part =
            ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));

        m_impl->backend->reset_scratch();
        m_impl->backend->embed(m_impl->embedding, part, rows.x);
        if (s.embedding_scale != 1.0) {
            m_impl->backend->scale(rows.x, static_cast<float>(s.embedding_scale));
        }
        Result<bool> ran = m_impl->run_layers(held, rows, std::min(tentative, count), tap, stop);
        if (!ran.ok() || !ran.value()) {
            // Layers stand at different positions now.
            TRY(held.restore(held.position()));
            return ran.ok() ? Result<void>() : Result<void>(std::move(ran).error());
        }
        held.ids.insert(held.ids.end(), part.begin(), part.end());
        if (wanted == Logits::All) {
            m_impl->write_logits(rows.x, rows.normed, logits.slice(first, count));
        } else if (wanted == Logits::Last && first + count == tokens) {
            m_impl->write_logits(rows.x.slice(count - 1, 1), rows.normed.slice(count - 1, 1),
                                 logits.slice(0, 1));
        }
        if (held.drafting) {
            m_impl->backend->rms_norm(rows.x, m_impl->norm, static_cast<float>(s.norm_eps),
                                      rows.normed);
            TRY(m_impl->catch_up(held, rows.normed, part, all.last(head)));
        }
    }
    return m_impl->backend->finish();
}

} // namespace hs
