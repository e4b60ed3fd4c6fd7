// What a layer's token mixer costs in prefill and decode at growing contexts: linear mixers the
// same everywhere, full attention more and more. One layer of published width with random Q8_0
// weights, its projections included; the channel mixer and the vocabulary are next to nothing.
//
//   mixer_bench [--threads N] [--only KIND] [--contexts 1024,4096,...] [--seconds N]
//
// Decode steps go round over the contexts, so that a busy moment of the machine falls on all of
// them. With --threads 1 times are the processor's, which other programs hardly touch (on Windows
// the clock's). A context whose prefill would take longer than --seconds is left out.

#include "engine/backend/backend.h"
#include "engine/run/model.h"
#include "engine/run/sequence.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

using namespace hs;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kPiece = 512;
constexpr int kDecodeSteps = 40;

struct Row {
    const char* name;
    std::int64_t hidden;
    TokenMixerSpec mixer;
};

std::vector<Row> rows() {
    LightningSpec lightning; // Ring-mini-linear-2.0
    lightning.heads = 16;
    lightning.head_dim = 128;
    lightning.qk_norm = true;
    lightning.scale = 1.0 / std::sqrt(128.0);
    lightning.norm_groups = 4;
    lightning.rope.dims = 64;
    GatedDeltaSpec delta; // Qwen3-Next
    delta.key_heads = 16;
    delta.value_heads = 32;
    delta.key_dim = delta.value_dim = 128;
    KdaSpec kda; // Kimi-Linear
    kda.heads = 32;
    kda.head_dim = kda.decay_rank = kda.gate_rank = 128;
    SoftmaxSpec full; // Ring-mini-linear-2.0
    full.query_heads = 16;
    full.kv_heads = 4;
    full.head_dim = full.value_head_dim = 128;
    full.scale = 1.0 / std::sqrt(128.0);
    full.qk_norm = QkNorm::PerHead;
    full.rope.dims = 64;
    SoftmaxSpec window = full;
    window.window = 128;
    window.sinks = true;
    LatentSpec latent; // Kimi-Linear's, at half its heads
    latent.query_heads = 16;
    latent.nope_dim = latent.value_dim = 128;
    latent.rope_dim = latent.rope.dims = 64;
    latent.kv_rank = 512;
    latent.scale = 1.0 / std::sqrt(192.0);
    LatentSpec sparse = latent;
    sparse.query_rank = 768;
    sparse.indexer = IndexerSpec{.heads = 16, .head_dim = 128, .top_k = 2048, .rope = {}};
    return {{"lightning", 2048, lightning}, {"gated delta", 2048, delta}, {"KDA", 2304, kda},
            {"window", 2048, window},       {"full", 2048, full},         {"latent", 2304, latent},
            {"sparse", 2304, sparse}};
}

bool processor_time = false;

double now_ms() {
    if (processor_time) {
        return 1e3 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
    }
    return std::chrono::duration<double, std::milli>(Clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// A sequence filled to a context, and what it has cost.
struct Filled {
    std::unique_ptr<Sequence> sequence;
    std::int64_t context = 0;
    double prefill_us = 0; // per token, of the last piece
    std::vector<double> decode_ms;
};

[[noreturn]] void give_up(const Error& error) {
    std::fprintf(stderr, "%s\n", error.text().c_str());
    std::exit(1);
}

template <class T>
T taken(Result<T> result) {
    if (!result.ok()) {
        give_up(result.error());
    }
    return std::move(*result);
}

// Milliseconds of one forward pass.
double forward(const Model& model, Sequence& sequence, std::span<const std::int32_t> ids,
               std::vector<float>& logits) {
    const double begin = now_ms();
    const auto done = model.forward(sequence, ids, Model::Logits::Last,
                                    View<float, 2>(logits.data(), {1, model.spec().vocab}));
    if (!done.ok()) {
        give_up(done.error());
    }
    return now_ms() - begin;
}

// Empty where it would take longer than `seconds`.
std::unique_ptr<Filled> fill(const std::shared_ptr<const Model>& model, std::int64_t context,
                             double seconds) {
    auto filled = std::make_unique<Filled>();
    filled->context = context;
    SequenceOptions options;
    options.state.kv_dtype = DType::F16;
    options.state.context_tokens = context + kDecodeSteps + 1;
    filled->sequence = taken(Sequence::create(model, options));
    std::vector<float> logits(static_cast<std::size_t>(model->spec().vocab));
    std::vector<std::int32_t> ids(static_cast<std::size_t>(kPiece));
    const double begin = now_ms();
    double last_ms = 0;
    for (std::int64_t at = 0; at < context; at += kPiece) {
        for (std::size_t i = 0; i < ids.size(); ++i) {
            ids[i] = static_cast<std::int32_t>((static_cast<std::size_t>(at) + 7 * i) %
                                               static_cast<std::size_t>(model->spec().vocab));
        }
        const std::int64_t count = std::min(kPiece, context - at);
        last_ms = forward(*model, *filled->sequence,
                          std::span(ids).first(static_cast<std::size_t>(count)), logits);
        filled->prefill_us = 1e3 * last_ms / static_cast<double>(count);
        const double left = static_cast<double>(context - at - count) / kPiece * last_ms / 1e3;
        if ((now_ms() - begin) / 1e3 + left > seconds) {
            return nullptr;
        }
    }
    return filled;
}

void measure(const std::shared_ptr<Backend>& backend, const Row& row,
             const std::vector<std::int64_t>& contexts, double seconds) {
    ModelSpec spec;
    spec.hidden = row.hidden;
    spec.vocab = 64;
    spec.context_length = contexts.back() + kDecodeSteps + 1;
    spec.tied_embedding = true;
    DenseSpec dense;
    dense.intermediate = 32;
    spec.layers.push_back({row.mixer, dense});
    const std::shared_ptr<const Model> model =
        *taken(Model::synthetic(backend, spec, 1, DType::Q8_0));
    std::vector<std::unique_ptr<Filled>> all;
    for (const std::int64_t context : contexts) {
        auto filled = fill(model, context, seconds);
        if (filled == nullptr) {
            break;
        }
        all.push_back(std::move(filled));
    }
    std::vector<float> logits(static_cast<std::size_t>(spec.vocab));
    const std::vector<std::int32_t> one{3};
    for (int step = 0; step < kDecodeSteps; ++step) {
        for (const auto& filled : all) {
            const double ms = forward(*model, *filled->sequence, one, logits);
            if (step > 1) { // warm
                filled->decode_ms.push_back(ms);
            }
        }
    }
    const double first = all.empty() ? 0 : median(all.front()->decode_ms);
    for (const auto& filled : all) {
        const double decode = median(filled->decode_ms);
        std::printf("%-12s %8lld %12.1f %12.3f %8.2f\n", row.name,
                    static_cast<long long>(filled->context), filled->prefill_us, decode,
                    decode / first);
    }
    std::fflush(stdout);
}

} // namespace

int main(int argc, char** argv) {
    int threads = 0;
    double seconds = 30;
    std::string only;
    std::vector<std::int64_t> contexts{1024, 4096, 16384, 32768};
    for (int i = 1; i < argc; ++i) {
        const std::string arg = argv[i];
        if (arg == "--threads" && i + 1 < argc) {
            threads = std::atoi(argv[++i]);
        } else if (arg == "--only" && i + 1 < argc) {
            only = argv[++i];
        } else if (arg == "--seconds" && i + 1 < argc) {
            seconds = std::atof(argv[++i]);
        } else if (arg == "--contexts" && i + 1 < argc) {
            contexts.clear();
            for (const char* at = argv[++i]; *at != '\0';) {
                char* end = nullptr;
                contexts.push_back(std::max(1LL, std::strtoll(at, &end, 10)));
                at = *end == ',' ? end + 1 : end;
                if (end == argv[i] || (*end != ',' && *end != '\0')) {
                    break;
                }
            }
        } else {
            std::fprintf(stderr, "mixer_bench [--threads N] [--only KIND] [--contexts N,N,...] "
                                 "[--seconds N]\n");
            return 2;
        }
    }
    processor_time = threads == 1;
    const std::shared_ptr<Backend> backend = make_cpu_backend(threads);
    std::printf("%s\n%-12s %8s %12s %12s %8s\n", backend->device().name.c_str(), "mixer", "context",
                "prefill us/t", "decode ms", "ratio");
    for (const Row& row : rows()) {
        if (only.empty() || only == row.name) {
            measure(backend, row, contexts, seconds);
        }
    }
    return 0;
}
