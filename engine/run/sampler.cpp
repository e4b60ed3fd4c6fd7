#include "engine/run/sampler.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <unordered_map>
#include <vector>

namespace hs {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

struct Candidate {
    float logit = 0;
    std::int32_t id = 0;
};

// Higher logits first, lower ids among equals: an order without ties, the same everywhere.
bool before(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// A vocabulary is wide: several lanes at a time.
struct Largest {
    float value = kNever;
    bool finite = true; // no NaN and no positive infinity among them
};
Largest largest_of(std::span<const float> logits) {
    constexpr std::size_t kLanes = 16;
    float most[kLanes];
    std::fill_n(most, kLanes, kNever);
    std::int32_t odd[kLanes] = {};
    const std::size_t whole = logits.size() / kLanes * kLanes;
    for (std::size_t i = 0; i < whole; i += kLanes) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            const float logit = logits[i + lane];
            most[lane] = logit > most[lane] ? logit : most[lane];
            odd[lane] |= logit <= std::numeric_limits<float>::max() ? 0 : 1;
        }
    }
    Largest found;
    for (std::size_t i = whole; i < logits.size(); ++i) {
        found.value = std::max(found.value, logits[i]);
        found.finite = found.finite && logits[i] <= std::numeric_limits<float>::max();
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        found.value = std::max(found.value, most[lane]);
        found.finite = found.finite && odd[lane] == 0;
    }
    return found;
}

std::uint64_t fresh_seed() {
    std::random_device device;
    const auto now =
        static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    const std::uint64_t seed =
        (static_cast<std::uint64_t>(device()) << 32 | device()) ^ (now * 0x9e3779b97f4a7c15ull);
    // Within what JSON and spin boxes hold exactly, so that a reported seed can be given back.
    return (seed & ((std::uint64_t{1} << 31) - 1)) | 1;
}

} // namespace

struct Sampler::Impl {
    Sampling settings;
    std::uint64_t seed = 0;
    std::uint64_t state = 0;                     // of the generator
    std::unordered_map<std::int32_t, bool> seen; // true: written, not read alone
    std::vector<std::int32_t> never;
    std::vector<Candidate> candidates;

    // SplitMix64, in [0, 1); not a library's distribution, which would differ between libraries.
    double uniform() {
        std::uint64_t z = state += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
    }

    void penalise(std::span<float> logits) const {
        const auto repetition = static_cast<float>(settings.repetition_penalty);
        const auto presence = static_cast<float>(settings.presence_penalty);
        if ((repetition <= 0 || repetition == 1.0f) && presence == 0.0f) {
            return;
        }
        for (const auto& [id, written] : seen) {
            if (id < 0 || static_cast<std::size_t>(id) >= logits.size()) {
                continue;
            }
            float& logit = logits[static_cast<std::size_t>(id)];
            if (repetition > 0 && repetition != 1.0f) {
                logit = logit > 0 ? logit / repetition : logit * repetition;
            }
            logit -= written ? presence : 0.0f;
        }
    }

    std::int32_t draw(std::span<const float> logits);
};

Sampler::Sampler(const Sampling& sampling, std::span<const std::int32_t> never)
    : m_impl(std::make_unique<Impl>()) {
    m_impl->settings = sampling;
    m_impl->never.assign(never.begin(), never.end());
    m_impl->seed = sampling.seed != 0 ? sampling.seed : fresh_seed();
    m_impl->state = m_impl->seed;
}

Sampler::~Sampler() = default;

std::int32_t Sampler::Impl::draw(std::span<const float> logits) {
    candidates.clear();
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if (logits[i] != kNever) {
            candidates.push_back({logits[i], static_cast<std::int32_t>(i)});
        }
    }
    if (candidates.empty()) {
        return 0; // every logit was nothing or not a number
    }
    // Only the head of the order is needed. Top-p without top-k sorts as much as turns out to be.
    std::size_t sorted = candidates.size();
    if (settings.top_k > 0) {
        sorted = std::min(sorted, static_cast<std::size_t>(settings.top_k));
        std::partial_sort(candidates.begin(),
                          candidates.begin() + static_cast<std::ptrdiff_t>(sorted),
                          candidates.end(), before);
        candidates.resize(sorted);
    } else {
        std::sort(candidates.begin(), candidates.end(), before);
    }
    // Weights relative to the largest, at the temperature.
    std::vector<double> weights(candidates.size());
    double total = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        weights[i] = std::exp(static_cast<double>(candidates[i].logit - candidates[0].logit) /
                              settings.temperature);
        total += weights[i];
    }
    std::size_t kept = candidates.size();
    if (settings.top_p > 0 && settings.top_p < 1) {
        double mass = 0;
        for (kept = 0; kept < candidates.size() && mass < settings.top_p * total; ++kept) {
            mass += weights[kept];
        }
    }
    if (settings.min_p > 0) {
        while (kept > 1 && weights[kept - 1] < settings.min_p) {
            --kept; // the largest weight is one
        }
    }
    kept = std::max<std::size_t>(kept, 1);
    total = 0;
    for (std::size_t i = 0; i < kept; ++i) {
        total += weights[i];
    }
    double left = uniform() * total;
    for (std::size_t i = 0; i + 1 < kept; ++i) {
        left -= weights[i];
        if (left < 0) {
            return candidates[i].id;
        }
    }
    return candidates[kept - 1].id;
}

std::int32_t Sampler::sample(std::span<float> logits) {
    if (logits.empty()) {
        return 0;
    }
    for (const std::int32_t id : m_impl->never) {
        if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) {
            logits[static_cast<std::size_t>(id)] = kNever;
        }
    }
    m_impl->penalise(logits);
    Largest found = largest_of(logits);
    if (!found.finite) {
        for (float& logit : logits) {
            if (std::isnan(logit)) {
                logit = kNever; // a broken weight makes a bad reply, not a crash
            } else if (logit == std::numeric_limits<float>::infinity()) {
                logit = std::numeric_limits<float>::max();
            }
        }
        found = largest_of(logits);
    }
    const auto best = std::find(logits.begin(), logits.end(), found.value) - logits.begin();
    if (!(m_impl->settings.temperature > 0) || m_impl->settings.top_k == 1) {
        return static_cast<std::int32_t>(best);
    }
    return m_impl->draw(logits);
}

void Sampler::accept(std::int32_t id) {
    m_impl->seen[id] = true;
}

void Sampler::read(std::int32_t id) {
    m_impl->seen.try_emplace(id, false);
}

std::uint64_t Sampler::seed() const {
    return m_impl->seed;
}

} // namespace hs
