// What this processor can do, for Highway's run-time dispatch. Highway's own library says the same,
// but Debian ships it shared only, and the command line program must be one file: the headers and
// these few functions are all of it that is needed.
// Source of the bits: Intel 64 and IA-32 Architectures Software Developer's Manual, CPUID and
// XGETBV; of the groups: hwy/targets.h and hwy/set_macros-inl.h.

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <hwy/base.h>
#include <hwy/targets.h>
#include <initializer_list>

#if HWY_ARCH_X86
#include <cpuid.h>
#endif

namespace {

// What SetSupportedTargetsForTest asked for; 0: what the processor has.
std::atomic<std::int64_t> g_for_test{0};

#if HWY_ARCH_X86

struct Registers {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf) {
    Registers r;
    __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);
    return r;
}

bool all(unsigned word, std::initializer_list<int> bits) {
    for (const int bit : bits) {
        if ((word >> bit & 1) == 0) {
            return false;
        }
    }
    return true;
}

// Which register files the system saves; 0 where it does not say.
std::uint64_t saved_registers(unsigned leaf1_ecx) {
    if (!all(leaf1_ecx, {27})) { // OSXSAVE
        return 0;
    }
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return std::uint64_t{high} << 32 | low;
}

std::int64_t detect() {
    const Registers one = cpuid(1);
    const Registers seven = cpuid(7);
    const Registers extended = cpuid(0x80000001);
    std::int64_t targets = 0;
    if (!all(one.ecx, {0, 9})) { // SSE3, SSSE3
        return targets;
    }
    targets |= HWY_SSSE3;
    if (!all(one.ecx, {19, 20, 1, 25})) { // SSE4.1, SSE4.2, PCLMULQDQ, AES
        return targets;
    }
    targets |= HWY_SSE4;
    const std::uint64_t saved = saved_registers(one.ecx);
    // AVX, FMA, F16C; AVX2, BMI1, BMI2; LZCNT; xmm and ymm registers saved.
    if (!all(one.ecx, {28, 12, 29}) || !all(seven.ebx, {5, 3, 8}) || !all(extended.ecx, {5}) ||
        (saved & 0x6) != 0x6) {
        return targets;
    }
    targets |= HWY_AVX2;
    // AVX-512 F, VL, DQ, BW, CD; mask and zmm registers saved.
    if (!all(seven.ebx, {16, 31, 17, 30, 28}) || (saved & 0xe0) != 0xe0) {
        return targets;
    }
    targets |= HWY_AVX3;
    // VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ.
    if (all(seven.ecx, {1, 6, 8, 9, 10, 11, 12, 14})) {
        targets |= HWY_AVX3_DL;
    }
    return targets;
}

#else

std::int64_t detect() {
    return HWY_STATIC_TARGET;
}

#endif

} // namespace

namespace hwy {

std::int64_t SupportedTargets() {
    static const std::int64_t detected = detect();
    const std::int64_t asked = g_for_test.load(std::memory_order_relaxed);
    // There is always one target to call: the plain one.
    return (asked != 0 ? asked : detected) | HWY_EMU128 | HWY_SCALAR;
}

void SetSupportedTargetsForTest(std::int64_t targets) {
    g_for_test.store(targets, std::memory_order_relaxed);
    GetChosenTarget().DeInit();
}

ChosenTarget& GetChosenTarget() {
    static ChosenTarget chosen;
    return chosen;
}

// Behind Highway's own assertions, which builds with checks turn on.
HWY_NORETURN void Abort(const char* file, int line, const char* format, ...) {
    std::fprintf(stderr, "%s:%d: ", file, line);
    std::va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fputc('\n', stderr);
    std::abort();
}

} // namespace hwy
