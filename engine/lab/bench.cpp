#include "engine/lab/bench.h"

#include "engine/backend/devices.h"
#include "engine/core/memory.h"
#include "engine/lab/timed_run.h"
#include "engine/lab/units.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <map>

namespace hs {

namespace {

constexpr std::uint64_t kSeed = 1;
constexpr std::int64_t kMostTokens = std::int64_t{16} << 20;
// Enough to wake threads, fault pages in and fill caches before anything is timed.
constexpr std::int64_t kWarmUpTokens = 32;

Result<void> check(const BenchOptions& options) {
    const auto outside = [](std::int64_t value, std::int64_t least) {
        return value < least || value > kMostTokens;
    };
    for (const std::int64_t prompt : options.prompts) {
        if (outside(prompt, 1)) {
            return Error{
                ErrorCode::InvalidArgument,
                fmt::format("a prompt of {} tokens, expected 1 to {}", prompt, kMostTokens),
                {}};
        }
    }
    for (const std::int64_t depth : options.depths) {
        if (outside(depth, 0)) {
            return Error{ErrorCode::InvalidArgument,
                         fmt::format("a depth of {} tokens, expected 0 to {}", depth, kMostTokens),
                         {}};
        }
    }
    if (outside(options.generate, 0) || options.repeats < 1 || options.repeats > 1000) {
        return Error{
            ErrorCode::InvalidArgument, "the tokens to decode or the repeats are out of range", {}};
    }
    if (options.depths.empty() || (options.prompts.empty() && options.generate == 0)) {
        return Error{ErrorCode::InvalidArgument, "there is nothing to time", {}};
    }
    return {};
}

class Bench {
public:
    Bench(const BenchOptions& options, const std::function<void(const std::string&)>& progress,
          std::stop_token stop)
        : m_options(options)
        , m_progress(progress)
        , m_stop(std::move(stop)) {}

    Result<BenchResult> run() {
        TRY(check(m_options));
        std::sort(m_options.depths.begin(), m_options.depths.end());
        if (!TRY(load())) {
            m_result.stopped = true;
            return std::move(m_result);
        }
        for (const std::int64_t depth : m_options.depths) {
            if (!TRY(at_depth(depth).with_context(fmt::format("at depth {}", depth)))) {
                m_result.stopped = true;
                break;
            }
        }
        m_result.peak_resident_bytes = process_memory().peak_resident_bytes;
        return std::move(m_result);
    }

private:
    void say(const std::string& line) const {
        if (m_progress) {
            m_progress(line);
        }
    }

    Result<bool> load() {
        say("loading");
        const auto begin = std::chrono::steady_clock::now();
        const std::filesystem::path path = TRY(resolve_model(m_options.model));
        std::shared_ptr<Backend> backend =
            TRY(open_backend({.device = m_options.device, .threads = m_options.threads}));
        m_result.file_bytes = TRY(open_to_look(path)).file_bytes();
        LoadOptions load_options;
        load_options.stop = m_stop;
        load_options.edit = m_options.edit;
        load_options.synthetic = TRY(synthetic_weights_named(m_options.synthetic_weights));
        auto loaded = TRY(load_model(backend, path, load_options));
        if (!loaded) {
            return false;
        }
        m_model = std::move(loaded->model);
        m_result.origin = to_string(loaded->origin);
        m_result.load_ms =
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
                .count();
        const ModelSpec& spec = m_model->spec();
        m_kv_dtype = TRY(kv_dtype_named(m_options.kv_dtype, *m_model));
        m_result.model = spec.name;
        m_result.family = spec.family;
        m_result.schedule = describe_schedule(spec) + caveat(loaded->origin);
        m_result.device = backend->device().name;
        m_result.kv_dtype = kv_dtype_name(m_kv_dtype);
        m_result.weight_bytes = m_model->weight_bytes();
        m_logits.resize(static_cast<std::size_t>(spec.vocab));
        return true;
    }

    // False when stopped. The context is filled once; each timed piece returns to it.
    Result<bool> at_depth(std::int64_t depth) {
        std::int64_t longest = m_options.generate + 1;
        for (const std::int64_t prompt : m_options.prompts) {
            longest = std::max(longest, prompt);
        }
        SequenceOptions options;
        options.state.kv_dtype = m_kv_dtype;
        options.state.context_tokens = depth + longest + kWarmUpTokens;
        m_sequence = TRY(Sequence::create(m_model, options));
        m_depth = depth;
        const std::int64_t vocab = m_model->spec().vocab;
        if (depth > 0) {
            say(fmt::format("filling {} tokens", depth));
            const std::vector<std::int32_t> ids = filler_ids({}, vocab, depth, kSeed);
            if (!TRY(timed_prefill(*m_sequence, ids, {}, {}, m_stop))) {
                return false;
            }
        }
        m_sequence->snapshot();
        if (!TRY(read(kWarmUpTokens)) || !TRY(decode(std::min(kWarmUpTokens, longest)))) {
            return false;
        }
        std::vector<BenchRow> rows;
        for (const std::int64_t prompt : m_options.prompts) {
            rows.push_back({.kind = BenchRow::Kind::Prefill, .depth = depth, .tokens = prompt});
        }
        if (m_options.generate > 0) {
            rows.push_back(
                {.kind = BenchRow::Kind::Decode, .depth = depth, .tokens = m_options.generate});
        }
        bool going = true;
        for (int repeat = 0; repeat < m_options.repeats && going; ++repeat) {
            say(fmt::format("depth {}, repeat {} of {}", depth, repeat + 1, m_options.repeats));
            for (BenchRow& row : rows) {
                const std::optional<double> ms = row.kind == BenchRow::Kind::Prefill
                                                     ? TRY(read(row.tokens))
                                                     : TRY(decode(row.tokens));
                going = ms.has_value();
                if (!going) {
                    break;
                }
                row.tokens_per_s.push_back(1000.0 * static_cast<double>(row.tokens) /
                                           std::max(*ms, 1e-6));
            }
        }
        for (BenchRow& row : rows) {
            if (!row.tokens_per_s.empty()) {
                m_result.rows.push_back(std::move(row));
            }
        }
        return going;
    }

    // Milliseconds to read `tokens` at the depth; empty when stopped.
    Result<std::optional<double>> read(std::int64_t tokens) {
        const std::vector<std::int32_t> ids =
            filler_ids({}, m_model->spec().vocab, tokens, kSeed + 1);
        const std::optional<double> ms = TRY(timed_prefill(*m_sequence, ids, m_logits, {}, m_stop));
        TRY(go_back());
        return ms;
    }

    // Milliseconds of `tokens` steps, after one token that is not timed.
    Result<std::optional<double>> decode(std::int64_t tokens) {
        const std::vector<std::int32_t> first = filler_ids({}, m_model->spec().vocab, 1, kSeed + 2);
        if (!TRY(timed_prefill(*m_sequence, first, m_logits, {}, m_stop))) {
            return std::optional<double>();
        }
        Sampler greedy({.temperature = 0});
        const TimedDecode decoded =
            TRY(timed_decode(*m_sequence, m_logits, greedy, tokens + 1, {}, m_stop));
        TRY(go_back());
        return decoded.stopped ? std::optional<double>() : decoded.rest_ms;
    }

    Result<void> go_back() {
        if (m_sequence->position() >= m_result.state_context_tokens) {
            m_result.state_context_tokens = m_sequence->position();
            m_result.state = m_sequence->ledger().entries();
        }
        const std::int64_t landed = TRY(m_sequence->restore(m_depth));
        if (landed != m_depth) {
            return Error{ErrorCode::Device,
                         fmt::format("the sequence went back to {}, expected {}", landed, m_depth),
                         {}};
        }
        return {};
    }

    BenchOptions m_options;
    const std::function<void(const std::string&)>& m_progress;
    const std::stop_token m_stop;
    std::shared_ptr<const Model> m_model;
    DType m_kv_dtype = DType::F16;
    std::unique_ptr<Sequence> m_sequence;
    std::int64_t m_depth = 0;
    std::vector<float> m_logits;
    BenchResult m_result;
};

const char* word(BenchRow::Kind kind) {
    return kind == BenchRow::Kind::Prefill ? "prefill" : "decode";
}

} // namespace

Result<BenchResult> bench(const BenchOptions& options,
                          const std::function<void(const std::string&)>& progress,
                          std::stop_token stop) {
    return Bench(options, progress, std::move(stop)).run();
}

Json to_json(const BenchResult& result) {
    Json rows = Json::array();
    for (const BenchRow& row : result.rows) {
        const Figure f = figure(row.tokens_per_s);
        rows.push_back({{"kind", word(row.kind)},
                        {"depth", row.depth},
                        {"tokens", row.tokens},
                        {"tokens_per_s",
                         {{"median", f.median},
                          {"low", f.low},
                          {"high", f.high},
                          {"n", f.n},
                          {"values", row.tokens_per_s}}}});
    }
    std::int64_t used = 0;
    std::int64_t held = 0;
    std::map<std::string, std::int64_t> by_kind;
    for (const LedgerEntry& entry : result.state) {
        used += entry.used_bytes;
        held += entry.held_bytes;
        by_kind[to_string(entry.kind)] += entry.used_bytes;
    }
    return {{"model", result.model},
            {"family", result.family},
            {"schedule", result.schedule},
            {"weights", result.origin},
            {"device", result.device},
            {"kv_dtype", result.kv_dtype},
            {"file_bytes", result.file_bytes},
            {"weight_bytes", result.weight_bytes},
            {"load_ms", result.load_ms},
            {"rows", std::move(rows)},
            {"state",
             {{"context_tokens", result.state_context_tokens},
              {"used_bytes", used},
              {"held_bytes", held},
              {"by_kind", by_kind}}},
            {"peak_resident_bytes", result.peak_resident_bytes},
            {"stopped", result.stopped}};
}

std::string to_text(const BenchResult& result) {
    std::string text = fmt::format("{} · {} · {} · KV {}\n", result.model, result.schedule,
                                   result.device, result.kv_dtype);
    text += fmt::format("loaded in {}, weights {}\n\n", ms_text(result.load_ms),
                        bytes_text(static_cast<double>(result.weight_bytes)));
    text += fmt::format("{:>8}  {:<8} {:>8}  {:>12}  {}\n", "depth", "what", "tokens", "tokens/s",
                        "least – most");
    for (const BenchRow& row : result.rows) {
        const Figure f = figure(row.tokens_per_s);
        text += fmt::format("{:>8}  {:<8} {:>8}  {:>12}  {} – {}  (n {})\n", row.depth,
                            word(row.kind), row.tokens, number_text(f.median), number_text(f.low),
                            number_text(f.high), f.n);
    }
    std::int64_t used = 0;
    std::int64_t held = 0;
    for (const LedgerEntry& entry : result.state) {
        used += entry.used_bytes;
        held += entry.held_bytes;
    }
    text += fmt::format("\nstate at {} tokens: {} used, {} held; most memory of the process {}\n",
                        result.state_context_tokens, bytes_text(static_cast<double>(used)),
                        bytes_text(static_cast<double>(held)),
                        bytes_text(static_cast<double>(result.peak_resident_bytes)));
    return result.stopped ? text + "stopped before the end\n" : text;
}

} // namespace hs
