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
// From the best down; one takes those below it where a kernel was not built for it.
constexpr Set kSets[] = {{HWY_AVX3_DL, "AVX-512 VNNI"},
                         {HWY_AVX3, "AVX-512"},
                         {HWY_AVX2, "AVX2"},
                         {HWY_SSE4, "SSE4"},
                         {HWY_SCALAR, "plain"}};

std::int64_t available() {
    return HWY_TARGETS & hwy::SupportedTargets();
}

} // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Set& set : kSets) {
        if ((available() & set.target) != 0) {
            names.emplace_back(set.name);
        }
    }
    return names;
}

void use_instruction_set(std::string_view name) {
    std::int64_t targets = 0; // all
    for (const Set& set : kSets) {
        if (set.name == name) {
            // Bits below are better sets, those above are worse.
            targets = ~(set.target - 1);
        }
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::SetSupportedTargetsForTest(targets & hwy::SupportedTargets());
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

const char* instruction_set() {
    for (const Set& set : kSets) {
        if ((available() & set.target) != 0) {
            return set.name;
        }
    }
    return "plain";
}

} // namespace hs::cpu
