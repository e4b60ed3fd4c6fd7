// Memory and matrix products of the CPU backend.

#include "engine/backend/cpu/cpu_backend.h"

#include "engine/core/memory.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace hs {

namespace {

std::int64_t aligned(std::int64_t bytes) {
    return (bytes + kAlign - 1) / kAlign * kAlign;
}

class CpuBuffer final : public GrowingBuffer {
public:
    explicit CpuBuffer(GrowingMemory memory, std::int64_t bytes = 0)
        : m_memory(std::move(memory))
        , m_bytes(bytes) {}

    std::byte* data() override { return m_memory.data(); }
    std::int64_t bytes() const override { return m_bytes; }
    Result<void> grow(std::int64_t bytes) override {
        if (bytes > m_bytes) {
            TRY(commit(bytes));
        }
        return {};
    }
    void shrink(std::int64_t bytes) override {
        if (bytes < m_bytes) {
            m_memory.shrink(static_cast<std::size_t>(std::max<std::int64_t>(0, bytes)));
            m_bytes = static_cast<std::int64_t>(m_memory.committed());
        }
    }

private:
    Result<void> commit(std::int64_t bytes) {
        auto committed = m_memory.commit(static_cast<std::size_t>(bytes));
        m_bytes = static_cast<std::int64_t>(m_memory.committed());
        return committed;
    }

    GrowingMemory m_memory;
    std::int64_t m_bytes = 0;
};
std::string processor_name() {
    std::string name;
#if defined(__x86_64__) || defined(__i386__)
    unsigned registers[4] = {};
    for (unsigned leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
        if (__get_cpuid(leaf, &registers[0], &registers[1], &registers[2], &registers[3]) != 0) {
            char text[16];
            std::memcpy(text, registers, sizeof(text));
            name.append(text, sizeof(text));
        }
    }
    if (const std::size_t end = name.find('\0'); end != std::string::npos) {
        name.resize(end);
    }
    while (!name.empty() && name.back() == ' ') {
        name.pop_back();
    }
#endif
    return name.empty() ? "CPU" : name;
}
} // namespace

cpu::Matrix matrix_of(const Weight& weight) {
    const auto format = weight_format(weight.dtype);
    HS_ASSERT(format.has_value());
    return {.format = *format,
            .rows = weight.rows,
            .cols = weight.cols,
            .data = weight.data,
            .row_stride = weight.row_stride_bytes,
            .scales = weight.scales,
            .scale_rows = std::max<std::int64_t>(1, weight.scale_block_rows),
            .scale_cols = std::max<std::int64_t>(1, weight.scale_block_cols),
            .scale_stride = weight.scale_stride};
}
cpu::Activations slice(cpu::Activations a, std::int64_t first, std::int64_t count) {
    a.x += first * a.stride;
    a.tokens = count;
    if (a.q != nullptr) {
        a.q += first * a.padded;
        a.scale += first * (a.padded / 32);
        a.sum32 += first * (a.padded / 32);
        a.sum16 += first * (a.padded / 16);
        a.isum16 += first * (a.padded / 16);
        a.unit += first * (a.padded / 256);
        a.multiple += first * (a.padded / 32);
        a.split16 += first * (a.padded / 16);
    }
    return a;
}
DeviceInfo CpuBackend::device() const {
    const MachineMemory memory = machine_memory();
    DeviceInfo info;
    info.kind = "cpu";
    info.name = processor_name() + ", " + std::to_string(m_pool.threads()) +
                (m_pool.threads() == 1 ? " thread, " : " threads, ") + cpu::instruction_set();
    info.total_bytes = memory.total_bytes;
    info.free_bytes = memory.available_bytes;
    return info;
}

// --- memory
// ---------------------------------------------------------------------------------------

Result<std::unique_ptr<Buffer>> CpuBackend::allocate(std::int64_t bytes) {
    HS_ASSERT(bytes >= 0);
    GrowingMemory memory =
        TRY(GrowingMemory::reserve(static_cast<std::size_t>(std::max<std::int64_t>(1, bytes))));
    TRY(memory.commit(static_cast<std::size_t>(bytes)));
    return std::unique_ptr<Buffer>(new CpuBuffer(std::move(memory), bytes));
}

Result<std::unique_ptr<GrowingBuffer>> CpuBackend::reserve(std::int64_t most_bytes) {
    HS_ASSERT(most_bytes >= 0);
    GrowingMemory memory = TRY(
        GrowingMemory::reserve(static_cast<std::size_t>(std::max<std::int64_t>(1, most_bytes))));
    return std::unique_ptr<GrowingBuffer>(new CpuBuffer(std::move(memory)));
}

Result<Weight> CpuBackend::place(const Weight& host, std::vector<std::unique_ptr<Buffer>>&) {
    TRY(placeable_format(host));
    return host;
}

void CpuBackend::copy_in(std::byte* to, std::span<const std::byte> from) {
    if (!from.empty()) { // nothing may lie at no address
        std::memcpy(to, from.data(), from.size());
    }
}
void CpuBackend::copy_out(std::span<std::byte> to, const std::byte* from) {
    if (!to.empty()) {
        std::memcpy(to.data(), from, to.size());
    }
}
void CpuBackend::copy(std::byte* to, const std::byte* from, std::int64_t bytes) {
    if (bytes > 0) {
        std::memmove(to, from, static_cast<std::size_t>(bytes));
    }
}

View<float, 2> CpuBackend::scratch(std::int64_t rows, std::int64_t cols) {
    HS_ASSERT(rows >= 0 && cols >= 0);
    const std::int64_t bytes = aligned(rows * cols * static_cast<std::int64_t>(sizeof(float)));
    if (m_blocks.empty() || m_blocks.back().used + bytes > m_blocks.back().size) {
        const std::int64_t size = std::max<std::int64_t>(bytes, std::int64_t{1} << 20);
        m_blocks.push_back({make_block(size), size, 0});
    }
    ScratchBlock& block = m_blocks.back();
    auto* data = reinterpret_cast<float*>(block.memory.get() + block.used);
    block.used += bytes;
    return {data, {rows, cols}};
}

// Several blocks become one, so that the next pass of the same size finds all in one piece.
void CpuBackend::reset_scratch() {
    if (m_blocks.size() > 1) {
        std::int64_t size = 0;
        for (const ScratchBlock& block : m_blocks) {
            size += block.size;
        }
        m_blocks.clear();
        m_blocks.push_back({make_block(size), size, 0});
    } else if (!m_blocks.empty()) {
        m_blocks.front().used = 0;
    }
}

// --- matrices ------------------------------------------------------------------------------------

void CpuBackend::matmul(View<const float, 2> x, std::span<const Product> products) {
    HS_ASSERT(x.stride[1] == 1 && x.extent[0] >= 1);
    bool int8 = false;
    for (const Product& product : products) {
        HS_ASSERT(product.weight.cols == x.extent[1]);
        HS_ASSERT(product.out.extent[0] == x.extent[0] && product.out.stride[1] == 1);
        HS_ASSERT(product.out.extent[1] == product.weight.rows);
        int8 = int8 || wants_int8(product.weight);
    }
    const cpu::Activations activations =
        prepare(x.data, x.stride[0], x.extent[0], x.extent[1], int8);
    m_jobs.clear();
    for (const Product& product : products) {
        m_jobs.push_back({matrix_of(product.weight), activations, product.out.data,
                          product.out.stride[0], product.bias});
    }
    run_jobs();
}

cpu::Activations CpuBackend::prepare(const float* x, std::int64_t stride, std::int64_t tokens,
                                     std::int64_t cols, bool int8) {
    cpu::Activations activations{.x = x, .stride = stride, .tokens = tokens, .cols = cols};
    if (int8) {
        cpu::place_int8(activations, m_int8.bytes(cpu::int8_bytes(tokens, cols)));
        if (tokens == 1) {
            cpu::quantise_activations(activations, 0, 1);
        } else {
            m_pool.for_range(tokens, std::max<std::int64_t>(1, 16384 / cols),
                             [&](std::int64_t first, std::int64_t last, int) {
                                 cpu::quantise_activations(activations, first, last);
                             });
        }
    }
    return activations;
}

void CpuBackend::run_jobs() {
    std::int64_t tiles = 0;
    std::int64_t scratch_bytes = 0;
    for (const Job& job : m_jobs) {
        tiles += job.tiles();
        scratch_bytes =
            std::max(scratch_bytes, cpu::matmul_scratch_bytes(job.matrix, job.activations.tokens));
    }
    reserve_worker_scratch(scratch_bytes);
    constexpr std::int64_t kPieces = 8; // per thread: what evens out a disturbed one
    const std::int64_t grain = std::max<std::int64_t>(1, tiles / (kPieces * m_pool.threads()));
    m_pool.for_range(tiles, grain, [&](std::int64_t first, std::int64_t last, int worker) {
        for (const Job& job : m_jobs) {
            const std::int64_t end = std::min(last, job.tiles());
            if (first < end) {
                cpu::matmul(job.matrix, first * cpu::kRowTile,
                            std::min(end * cpu::kRowTile, job.matrix.rows), job.activations,
                            job.out, job.out_stride, job.bias, worker_bytes(worker));
            }
            first = std::max<std::int64_t>(0, first - job.tiles());
            last -= job.tiles();
            if (last <= 0) {
                return;
            }
        }
    });
}

void CpuBackend::matmul_heads(View<const float, 3> x, const Weight& weight, View<float, 3> out) {
    const std::int64_t tokens = x.extent[0];
    const std::int64_t heads = x.extent[1];
    const std::int64_t rows = out.extent[2];
    HS_ASSERT(x.stride[2] == 1 && out.stride[2] == 1 && tokens >= 1);
    HS_ASSERT(out.extent[0] == tokens && out.extent[1] == heads);
    HS_ASSERT(weight.cols == x.extent[2] && weight.rows == heads * rows);
    // The int8 form has one row after another: heads of a token are rows of their own then.
    const bool int8 = wants_int8(weight);
    const float* input = x.data;
    std::int64_t token_stride = x.stride[0];
    std::int64_t head_stride = x.stride[1];
    if (int8) {
        float* const gathered = m_work.floats(heads * tokens * weight.cols);
        for_rows(heads, tokens * weight.cols, [&](std::int64_t h) {
            for (std::int64_t t = 0; t < tokens; ++t) {
                std::copy_n(&x(t, h, 0), weight.cols, gathered + (h * tokens + t) * weight.cols);
            }
        });
        input = gathered;
        token_stride = weight.cols;
        head_stride = tokens * weight.cols;
    }
    const cpu::Activations all =
        int8 ? prepare(input, weight.cols, heads * tokens, weight.cols, true) : cpu::Activations{};
    m_jobs.clear();
    for (std::int64_t h = 0; h < heads; ++h) {
        const cpu::Activations part = int8 ? slice(all, h * tokens, tokens)
                                           : cpu::Activations{.x = input + h * head_stride,
                                                              .stride = token_stride,
                                                              .tokens = tokens,
                                                              .cols = weight.cols};
        m_jobs.push_back({matrix_of(weight.slice_rows(h * rows, rows)), part, &out(0, h, 0),
                          out.stride[0], nullptr});
    }
    run_jobs();
}

std::unique_ptr<Backend> make_cpu_backend(int threads) {
    // To measure what a lesser processor would do, or to get around a broken one: "AVX2", "SSE4".
    static const bool asked = [] {
        const char* set = std::getenv("HYBRIDSCOPE_INSTRUCTION_SET");
        if (set != nullptr) {
            cpu::use_instruction_set(set);
        }
        return set != nullptr;
    }();
    static_cast<void>(asked);
    return std::make_unique<CpuBackend>(threads);
}

} // namespace hs
