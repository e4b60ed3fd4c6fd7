// Which instruction sets the kernels were built for, which of them the machine has, and the choice
// of one for tests and benchmarks.

#include "kernels/cpu/kernels.h"

#include <hwy/highway.h>

namespace hs::cpu {

namespace {

struct Set {
    std::int64_t target;
    const char* name;
};
// From the best down.
constexpr Set kSets[] = {
    {HWY_AVX3_DL, "AVX-512 VNNI"}, {HWY_AVX2, "AVX2"}, {HWY_SSE4, "SSE4"}, {HWY_SCALAR, "plain"}};

} // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Set& set : kSets) {
        if ((HWY_TARGETS & hwy::SupportedTargets() & set.target) != 0) {
            names.emplace_back(set.name);
        }
    }
    return names;
}

void use_instruction_set(std::string_view name) {
    std::int64_t targets = 0; // all
    for (const Set& set : kSets) {
        if (set.name == name) {
            targets = set.target;
        }
    }
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

const char* instruction_set() {
    for (const Set& set : kSets) {
        if ((HWY_TARGETS & hwy::SupportedTargets() & set.target) != 0) {
            return set.name;
        }
    }
    return "plain";
}

} // namespace hs::cpu
