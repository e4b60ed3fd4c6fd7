#pragma once
// Logits to one id, seeded: the same logits, settings and seed give the same id everywhere.

#include "engine/run/events.h"

#include <cstdint>
#include <memory>
#include <span>

namespace hs {

class Sampler {
public:
    // never: ids that are not sampled, whatever their logits.
    explicit Sampler(const Sampling& sampling, std::span<const std::int32_t> never = {});
    ~Sampler();

    // logits (vocab) are changed in place. Greedy takes the lowest id among equals.
    std::int32_t sample(std::span<float> logits);
    // Tells the penalties what was written; the repetition penalty also minds what was read.
    void accept(std::int32_t id);
    void read(std::int32_t id);
    std::uint64_t seed() const; // the one in use

private:
    struct Impl;
    std::unique_ptr<Impl> m_impl;
};

} // namespace hs
