#include "engine/lab/timed_run.h"

#include "engine/run/generator.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <fmt/format.h>

namespace hs {

namespace {

using Clock = std::chrono::steady_clock;

double ms_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

// SplitMix64: a few lines that give the same numbers with every compiler, which the standard
// library's distributions do not. Source: Steele, Lea, Flood, OOPSLA 2014.
std::uint64_t next(std::uint64_t& state) {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

} // namespace

std::vector<std::int32_t> filler_ids(std::span<const std::int32_t> alphabet, std::int64_t vocab,
                                     std::int64_t count, std::uint64_t seed) {
    const auto choices = alphabet.empty()
                             ? static_cast<std::uint64_t>(std::max<std::int64_t>(vocab, 1))
                             : static_cast<std::uint64_t>(alphabet.size());
    std::vector<std::int32_t> ids(static_cast<std::size_t>(std::max<std::int64_t>(count, 0)));
    for (std::int32_t& id : ids) {
        const std::uint64_t choice = next(seed) % choices;
        id = alphabet.empty() ? static_cast<std::int32_t>(choice) : alphabet[choice];
    }
    return ids;
}

std::string kv_dtype_name(DType dtype) {
    std::string name = to_string(dtype);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return name;
}

Result<DType> kv_dtype_named(const std::string& name, const Model& model) {
    if (name.empty() || name == "auto") {
        return default_kv_dtype(model);
    }
    for (const DType dtype : {DType::F32, DType::F16, DType::BF16}) {
        if (name == kv_dtype_name(dtype)) {
            return dtype;
        }
    }
    return Error{ErrorCode::InvalidArgument, fmt::format("unknown KV precision \"{}\"", name),
                 "Choose auto, f32, f16 or bf16."};
}

Result<std::optional<double>> timed_prefill(Sequence& sequence, std::span<const std::int32_t> ids,
                                            std::span<float> logits, const TimedSink& sink,
                                            std::stop_token stop) {
    const Model& model = sequence.model();
    double total_ms = 0;
    for (std::size_t first = 0; first < ids.size();) {
        if (stop.stop_requested()) {
            return std::optional<double>();
        }
        const std::size_t count =
            std::min(ids.size() - first, static_cast<std::size_t>(kPrefillPiece));
        const bool last = first + count == ids.size();
        const bool wanted = last && !logits.empty();
        const auto begin = Clock::now();
        TRY(model.forward(
            sequence, ids.subspan(first, count), wanted ? Model::Logits::Last : Model::Logits::None,
            wanted ? View<float, 2>(logits.data(), {1, static_cast<std::int64_t>(logits.size())})
                   : View<float, 2>()));
        const double ms = ms_between(begin, Clock::now());
        total_ms += ms;
        if (sink.prefill) {
            sink.prefill(static_cast<std::int64_t>(count), ms);
        }
        first += count;
    }
    return std::optional<double>(total_ms);
}

Result<TimedDecode> timed_decode(Sequence& sequence, std::span<float> logits, Sampler& sampler,
                                 std::int64_t count, const TimedSink& sink, std::stop_token stop) {
    const Model& model = sequence.model();
    TimedDecode decoded;
    for (std::int64_t i = 0; i < count; ++i) {
        if (stop.stop_requested()) {
            decoded.stopped = true;
            break;
        }
        const auto begin = Clock::now();
        if (i > 0) {
            const std::array<std::int32_t, 1> last{decoded.ids.back()};
            TRY(model.forward(
                sequence, last, Model::Logits::Last,
                View<float, 2>(logits.data(), {1, static_cast<std::int64_t>(logits.size())})));
        }
        const std::int32_t id = sampler.sample(logits);
        sampler.accept(id);
        const double ms = ms_between(begin, Clock::now());
        (i == 0 ? decoded.first_ms : decoded.rest_ms) += ms;
        decoded.ids.push_back(id);
        if (sink.token) {
            sink.token(id, ms);
        }
    }
    return decoded;
}

} // namespace hs
