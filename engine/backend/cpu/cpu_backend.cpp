// The op set on kernels/cpu: cuts the work into ranges for the thread pool, and holds the memory.
// Every op is done when it returns.

#include "engine/backend/backend.h"
#include "engine/backend/cpu/format.h"
#include "engine/core/memory.h"
#include "engine/core/thread_pool.h"
#include "kernels/cpu/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace hs {

namespace {

constexpr std::int64_t kAlign = 64;

std::int64_t aligned(std::int64_t bytes) {
    return (bytes + kAlign - 1) / kAlign * kAlign;
}

struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{kAlign}); }
};
using Block = std::unique_ptr<std::byte[], Free>;

Block make_block(std::int64_t bytes) {
    return Block(static_cast<std::byte*>(
        ::operator new[](static_cast<std::size_t>(bytes), std::align_val_t{kAlign})));
}

// Memory that only grows and is not kept from one use to the next.
class Workspace {
public:
    std::byte* bytes(std::int64_t count) {
        if (count > m_bytes) {
            m_block.reset(); // not both at once
            m_block = make_block(count);
            m_bytes = count;
        }
        return m_block.get();
    }
    float* floats(std::int64_t count) {
        return reinterpret_cast<float*>(bytes(count * static_cast<std::int64_t>(sizeof(float))));
    }

private:
    Block m_block;
    std::int64_t m_bytes = 0;
};

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

// Tokens [first, first + count).
cpu::Activations slice(cpu::Activations a, std::int64_t first, std::int64_t count) {
    a.x += first * a.stride;
    a.tokens = count;
    if (a.q != nullptr) {
        a.q += first * a.padded;
        a.scale += first * (a.padded / 32);
        a.sum32 += first * (a.padded / 32);
        a.sum16 += first * (a.padded / 16);
        a.isum16 += first * (a.padded / 16);
    }
    return a;
}

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

// One product of a fork.
struct Job {
    cpu::Matrix matrix;
    cpu::Activations activations;
    float* out = nullptr;
    std::int64_t out_stride = 0;
    const float* bias = nullptr;

    std::int64_t tiles() const { return (matrix.rows + cpu::kRowTile - 1) / cpu::kRowTile; }
};

class CpuBackend final : public Backend {
public:
    explicit CpuBackend(int threads)
        : m_pool(threads)
        , m_worker_scratch(static_cast<std::size_t>(m_pool.threads())) {}

    DeviceInfo device() const override {
        const MachineMemory memory = machine_memory();
        DeviceInfo info;
        info.kind = "cpu";
        info.name = processor_name() + ", " + std::to_string(m_pool.threads()) +
                    (m_pool.threads() == 1 ? " thread, " : " threads, ") + cpu::instruction_set();
        info.total_bytes = memory.total_bytes;
        info.free_bytes = memory.available_bytes;
        return info;
    }

    // --- memory ---

    Result<std::unique_ptr<Buffer>> allocate(std::int64_t bytes) override {
        HS_ASSERT(bytes >= 0);
        GrowingMemory memory =
            TRY(GrowingMemory::reserve(static_cast<std::size_t>(std::max<std::int64_t>(1, bytes))));
        TRY(memory.commit(static_cast<std::size_t>(bytes)));
        return std::unique_ptr<Buffer>(new CpuBuffer(std::move(memory), bytes));
    }

    Result<std::unique_ptr<GrowingBuffer>> reserve(std::int64_t most_bytes) override {
        HS_ASSERT(most_bytes >= 0);
        GrowingMemory memory = TRY(GrowingMemory::reserve(
            static_cast<std::size_t>(std::max<std::int64_t>(1, most_bytes))));
        return std::unique_ptr<GrowingBuffer>(new CpuBuffer(std::move(memory)));
    }

    Result<Weight> place(const Weight& host) override {
        const auto format = weight_format(host.dtype);
        if (!format) {
            return Error{ErrorCode::Unsupported,
                         std::string("no products with weights of type ") + to_string(host.dtype),
                         "Convert the model to one of the supported formats"};
        }
        if (host.cols % cpu::block_elems(*format) != 0) {
            return Error{ErrorCode::Corrupt,
                         "expected a row length that is a multiple of " +
                             std::to_string(cpu::block_elems(*format)) + " for " +
                             to_string(host.dtype) + ", found " + std::to_string(host.cols),
                         ""};
        }
        return host;
    }

    void copy_in(std::byte* to, std::span<const std::byte> from) override {
        std::memcpy(to, from.data(), from.size());
    }
    void copy_out(std::span<std::byte> to, const std::byte* from) override {
        std::memcpy(to.data(), from, to.size());
    }
    void copy(std::byte* to, const std::byte* from, std::int64_t bytes) override {
        std::memmove(to, from, static_cast<std::size_t>(bytes));
    }

    View<float, 2> scratch(std::int64_t rows, std::int64_t cols) override {
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
    void reset_scratch() override {
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

    // --- pointwise ---

    void embed(const Weight& table, std::span<const std::int32_t> ids,
               View<float, 2> out) override {
        const cpu::Matrix matrix = matrix_of(table);
        HS_ASSERT(out.extent[0] == static_cast<std::int64_t>(ids.size()));
        HS_ASSERT(out.extent[1] == table.cols && out.stride[1] == 1);
        for (std::int32_t id : ids) {
            HS_ASSERT(id >= 0 && id < table.rows);
        }
        for_rows(out.extent[0], table.cols, [&](std::int64_t t) {
            cpu::dequantise_row(matrix, ids[static_cast<std::size_t>(t)], &out(t, 0));
        });
    }

    void rms_norm(View<const float, 2> x, std::span<const float> weight, float eps,
                  View<float, 2> out) override {
        const auto width = static_cast<std::int64_t>(weight.size());
        HS_ASSERT(x.extent == out.extent && x.stride[1] == 1 && out.stride[1] == 1);
        HS_ASSERT(width > 0 && x.extent[1] % width == 0);
        for_rows(x.extent[0], x.extent[1], [&](std::int64_t t) {
            for (std::int64_t c = 0; c < x.extent[1]; c += width) {
                cpu::rms_norm(&x(t, c), weight.data(), eps, width, &out(t, c));
            }
        });
    }

    void add(View<float, 2> x, View<const float, 2> y) override {
        HS_ASSERT(x.extent == y.extent && x.stride[1] == 1 && y.stride[1] == 1);
        for_rows(x.extent[0], x.extent[1],
                 [&](std::int64_t t) { cpu::add(&x(t, 0), &y(t, 0), x.extent[1]); });
    }

    void swiglu(View<const float, 2> gate, View<const float, 2> up, View<float, 2> out) override {
        HS_ASSERT(gate.extent == up.extent && gate.extent == out.extent);
        HS_ASSERT(gate.stride[1] == 1 && up.stride[1] == 1 && out.stride[1] == 1);
        for_rows(out.extent[0], 8 * out.extent[1], [&](std::int64_t t) {
            cpu::silu_multiply(&gate(t, 0), &up(t, 0), out.extent[1], &out(t, 0));
        });
    }

    void sigmoid_gate(View<float, 3> x, View<const float, 3> gate) override {
        HS_ASSERT(x.extent == gate.extent && x.stride[2] == 1 && gate.stride[2] == 1);
        for_rows(x.extent[0], 8 * x.extent[1] * x.extent[2], [&](std::int64_t t) {
            for (std::int64_t h = 0; h < x.extent[1]; ++h) {
                cpu::sigmoid_multiply(&x(t, h, 0), &gate(t, h, 0), x.extent[2]);
            }
        });
    }

    void sigmoid_scale_rows(View<float, 2> x, View<const float, 2> gate) override {
        HS_ASSERT(x.extent[0] == gate.extent[0] && gate.extent[1] == 1 && x.stride[1] == 1);
        for_rows(x.extent[0], x.extent[1], [&](std::int64_t t) {
            cpu::scale(&x(t, 0), cpu::sigmoid(gate(t, 0)), x.extent[1]);
        });
    }

    void rope(View<float, 3> x, const RopeTable& table, std::int64_t first_position) override {
        HS_ASSERT(x.stride[2] == 1 && table.dims <= x.extent[2]);
        const auto pairs = static_cast<std::int64_t>(table.inverse_frequency.size());
        HS_ASSERT(2 * pairs == table.dims);
        float* angles = m_work.floats(2 * pairs * x.extent[0]);
        for_rows(x.extent[0], 16 * pairs + x.extent[1] * table.dims, [&](std::int64_t t) {
            float* cosines = angles + 2 * pairs * t;
            float* sines = cosines + pairs;
            for (std::int64_t i = 0; i < pairs; ++i) {
                // The product in f32, as the models were trained.
                const float angle = static_cast<float>(first_position + t) *
                                    table.inverse_frequency[static_cast<std::size_t>(i)];
                cosines[i] = std::cos(angle) * table.magnitude;
                sines[i] = std::sin(angle) * table.magnitude;
            }
            for (std::int64_t h = 0; h < x.extent[1]; ++h) {
                cpu::rotate(&x(t, h, 0), cosines, sines, table.dims,
                            table.layout == RopeLayout::Interleaved);
            }
        });
    }

    // --- matrices ---

    void matmul(View<const float, 2> x, std::span<const Product> products) override {
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

    // --- token mixers ---

    void append_kv(View<const float, 3> rows, DType cache_dtype, std::byte* cache,
                   std::int64_t first_position, std::int64_t ring) override {
        const auto format = cache_format(cache_dtype);
        HS_ASSERT(rows.stride[2] == 1);
        const std::int64_t head_bytes = rows.extent[2] * cpu::block_bytes(format);
        for_rows(rows.extent[0], rows.extent[1] * rows.extent[2], [&](std::int64_t t) {
            const std::int64_t position = first_position + t;
            const std::int64_t slot = ring > 0 ? position % ring : position;
            for (std::int64_t h = 0; h < rows.extent[1]; ++h) {
                cpu::store_cache(&rows(t, h, 0), format,
                                 cache + (slot * rows.extent[1] + h) * head_bytes, rows.extent[2]);
            }
        });
    }

    void attention(const AttentionOp& op) override {
        HS_ASSERT(op.q.extent[0] >= 1 && op.length >= op.q.extent[0]);
        HS_ASSERT(op.kv_heads > 0 && op.q.extent[1] % op.kv_heads == 0);
        HS_ASSERT(op.q.extent[2] == op.head_dim && op.q.stride[2] == 1);
        HS_ASSERT(op.out.extent[0] == op.q.extent[0] && op.out.extent[1] == op.q.extent[1]);
        HS_ASSERT(op.out.extent[2] == op.value_head_dim && op.out.stride[2] == 1);
        cpu::Attention kernel{.q = op.q.data,
                              .q_token_stride = op.q.stride[0],
                              .q_head_stride = op.q.stride[1],
                              .tokens = op.q.extent[0],
                              .query_heads = op.q.extent[1],
                              .kv_heads = op.kv_heads,
                              .head_dim = op.head_dim,
                              .value_dim = op.value_head_dim,
                              .cache = cache_format(op.cache_dtype),
                              .keys = op.keys,
                              .values = op.values,
                              .length = op.length,
                              .ring = op.ring,
                              .scale = op.scale,
                              .window = op.window,
                              .sinks = op.sinks,
                              .out = op.out.data,
                              .out_token_stride = op.out.stride[0],
                              .out_head_stride = op.out.stride[1]};
        const std::int64_t group = kernel.query_heads / kernel.kv_heads;
        for (std::int64_t head = 0; head < group; head += cpu::kMostRows) {
            kernel.group_first = head;
            kernel.group_count = std::min(cpu::kMostRows, group - head);
            attend_all(kernel);
        }
    }

    void gated_delta(const GatedDeltaOp& op) override {
        const GatedDeltaSpec& spec = op.spec;
        HS_ASSERT(spec.key_heads > 0 && spec.value_heads % spec.key_heads == 0);
        HS_ASSERT(op.qkv.extent[1] == spec.conv_channels() && op.qkv.stride[1] == 1);
        HS_ASSERT(op.z.stride[1] == 1 && op.b.stride[1] == 1 && op.a.stride[1] == 1);
        HS_ASSERT(op.out.extent[0] == op.qkv.extent[0] && op.out.stride[1] == 1);
        HS_ASSERT(op.out.extent[1] == spec.value_heads * spec.value_dim);
        const cpu::GatedDelta kernel{.tokens = op.qkv.extent[0],
                                     .key_heads = spec.key_heads,
                                     .value_heads = spec.value_heads,
                                     .key_dim = spec.key_dim,
                                     .value_dim = spec.value_dim,
                                     .conv_kernel = spec.conv_kernel,
                                     .beta_scale = static_cast<float>(spec.beta_scale),
                                     .tiled_heads = spec.head_map == HeadMap::Tiled,
                                     .qkv = op.qkv.data,
                                     .qkv_stride = op.qkv.stride[0],
                                     .z = op.z.data,
                                     .z_stride = op.z.stride[0],
                                     .b = op.b.data,
                                     .b_stride = op.b.stride[0],
                                     .a = op.a.data,
                                     .a_stride = op.a.stride[0],
                                     .conv_weight = op.conv_weight,
                                     .decay_rate = op.decay_rate,
                                     .dt_bias = op.dt_bias,
                                     .norm_weight = op.norm_weight,
                                     .norm_eps = op.norm_eps,
                                     .conv_state = op.conv_state,
                                     .state = op.state,
                                     .out = op.out.data,
                                     .out_stride = op.out.stride[0],
                                     .decay_out = op.decay_out,
                                     .beta_out = op.beta_out};
        HS_ASSERT(spec.conv_kernel >= 1 && spec.conv_kernel <= cpu::kMostTaps);
        float* conv = m_work.floats(kernel.tokens * kernel.channels());
        const auto convolve = [&](std::int64_t first, std::int64_t last, int) {
            cpu::short_conv(kernel, first, last, conv);
        };
        if (kernel.tokens == 1) { // less work than a fork
            convolve(0, kernel.channels(), 0);
        } else {
            m_pool.for_range(kernel.channels(), 256, convolve);
        }
        for_rows(kernel.tokens, 2 * spec.key_heads * spec.key_dim, [&](std::int64_t t) {
            for (std::int64_t h = 0; h < spec.key_heads; ++h) {
                cpu::unit_query_key(kernel, h, t, conv);
            }
        });
        const std::int64_t floats = cpu::delta_scratch_floats(kernel);
        reserve_worker_scratch(floats * static_cast<std::int64_t>(sizeof(float)));
        m_pool.for_range(spec.value_heads, 1,
                         [&](std::int64_t first, std::int64_t last, int worker) {
                             for (std::int64_t h = first; h < last; ++h) {
                                 cpu::delta_head(kernel, h, conv, worker_floats(worker));
                             }
                         });
    }

    // --- channel mixers ---

    void moe(const MoeOp& op) override {
        const MoeSpec& spec = op.spec;
        const std::int64_t tokens = op.x.extent[0];
        const std::int64_t hidden = op.x.extent[1];
        const std::int64_t top_k = spec.top_k;
        const std::int64_t pairs = tokens * top_k; // of a token and an expert
        const auto experts = static_cast<std::size_t>(spec.experts);
        HS_ASSERT(op.gate.size() == experts && op.up.size() == experts &&
                  op.down.size() == experts);
        HS_ASSERT(top_k > 0 && top_k <= spec.experts);
        HS_ASSERT(op.scores.extent[0] == tokens && op.scores.extent[1] == spec.experts);
        HS_ASSERT(op.x.stride[1] == 1 && op.scores.stride[1] == 1 && op.out.stride[1] == 1);
        HS_ASSERT(op.out.extent == op.x.extent);

        m_chosen.resize(static_cast<std::size_t>(pairs));
        m_weights.resize(static_cast<std::size_t>(pairs));
        route_all(op);
        if (op.chosen_out != nullptr) {
            std::copy(m_chosen.begin(), m_chosen.end(), op.chosen_out);
        }

        // Pairs in the order of their experts; m_place[pair] is where a pair lies.
        m_first.assign(experts + 1, 0);
        for (std::int32_t e : m_chosen) {
            ++m_first[static_cast<std::size_t>(e) + 1];
        }
        for (std::size_t e = 0; e < experts; ++e) {
            m_first[e + 1] += m_first[e];
        }
        m_place.resize(static_cast<std::size_t>(pairs));
        m_next.assign(m_first.begin(), m_first.end() - 1);
        for (std::size_t pair = 0; pair < m_chosen.size(); ++pair) {
            m_place[pair] = m_next[static_cast<std::size_t>(m_chosen[pair])]++;
        }

        const std::int64_t inter = spec.intermediate;
        float* gathered = m_expert_in.floats(pairs * hidden);
        float* gate = m_expert_hidden.floats(2 * pairs * inter);
        float* up = gate + pairs * inter;
        for_rows(tokens, top_k * hidden, [&](std::int64_t t) {
            for (std::int64_t i = 0; i < top_k; ++i) {
                std::copy_n(&op.x(t, 0), hidden,
                            gathered + m_place[static_cast<std::size_t>(t * top_k + i)] * hidden);
            }
        });
        const cpu::Activations in =
            prepare(gathered, hidden, pairs, hidden, any_int8(op.gate, op.up));
        m_jobs.clear();
        for (std::size_t e = 0; e < experts; ++e) {
            const std::int64_t first = m_first[e];
            const std::int64_t count = m_first[e + 1] - first;
            if (count == 0) {
                continue;
            }
            HS_ASSERT(op.gate[e].rows == inter && op.gate[e].cols == hidden);
            HS_ASSERT(op.up[e].rows == inter && op.up[e].cols == hidden);
            HS_ASSERT(op.down[e].rows == hidden && op.down[e].cols == inter);
            const cpu::Activations part = slice(in, first, count);
            m_jobs.push_back({matrix_of(op.gate[e]), part, gate + first * inter, inter, nullptr});
            m_jobs.push_back({matrix_of(op.up[e]), part, up + first * inter, inter, nullptr});
        }
        run_jobs();
        for_rows(pairs, 8 * inter, [&](std::int64_t i) {
            cpu::silu_multiply(gate + i * inter, up + i * inter, inter, gate + i * inter);
        });

        const cpu::Activations mid = prepare(gate, inter, pairs, inter, any_int8(op.down, {}));
        float* result = gathered; // no longer needed
        m_jobs.clear();
        for (std::size_t e = 0; e < experts; ++e) {
            const std::int64_t first = m_first[e];
            const std::int64_t count = m_first[e + 1] - first;
            if (count > 0) {
                m_jobs.push_back({matrix_of(op.down[e]), slice(mid, first, count),
                                  result + first * hidden, hidden, nullptr});
            }
        }
        run_jobs();
        for_rows(tokens, top_k * hidden, [&](std::int64_t t) {
            std::fill_n(&op.out(t, 0), hidden, 0.0f);
            for (std::int64_t i = 0; i < top_k; ++i) {
                const auto pair = static_cast<std::size_t>(t * top_k + i);
                cpu::multiply_add(&op.out(t, 0), m_weights[pair], result + m_place[pair] * hidden,
                                  hidden);
            }
        });
    }

    Result<void> finish() override { return {}; }

private:
    struct ScratchBlock {
        Block memory;
        std::int64_t size = 0;
        std::int64_t used = 0;
    };

    static cpu::Format cache_format(DType dtype) {
        HS_ASSERT(dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16);
        return *weight_format(dtype);
    }

    static bool wants_int8(const Weight& weight) {
        const auto format = weight_format(weight.dtype);
        return format && cpu::wants_int8(*format);
    }
    static bool any_int8(std::span<const Weight> a, std::span<const Weight> b) {
        return std::any_of(a.begin(), a.end(), wants_int8) ||
               std::any_of(b.begin(), b.end(), wants_int8);
    }

    // body(row) for every row; forks only where it is worth it: a fork costs a few microseconds,
    // about ten thousand elements of pointwise work.
    template <class Body>
    void for_rows(std::int64_t rows, std::int64_t elements_per_row, Body body) {
        constexpr std::int64_t kWorthAFork = 16384;
        if (rows == 1 || rows * elements_per_row < kWorthAFork) {
            for (std::int64_t row = 0; row < rows; ++row) {
                body(row);
            }
            return;
        }
        const std::int64_t grain = std::max<std::int64_t>(
            1, std::min(rows / m_pool.threads(),
                        kWorthAFork / std::max<std::int64_t>(1, elements_per_row)));
        m_pool.for_range(rows, grain, [&](std::int64_t first, std::int64_t last, int) {
            for (std::int64_t row = first; row < last; ++row) {
                body(row);
            }
        });
    }

    // Few rows: every thread takes its part of the keys, and of a tile of keys all heads in turn,
    // so that the cache is read from front to back.
    void attend_few(const cpu::Attention& kernel, std::int64_t first_key) {
        constexpr std::int64_t kLeastKeys = 32; // of a part: merging costs about 10 keys
        constexpr std::int64_t kTileKeys = 64;
        const std::int64_t keys = kernel.length - first_key;
        const std::int64_t parts =
            std::clamp<std::int64_t>(keys / kLeastKeys, 1, 4 * m_pool.threads());
        const std::int64_t part_keys = (keys + parts - 1) / parts;
        const std::int64_t floats = cpu::attention_part_floats(kernel);
        float* memory = m_work.floats(parts * kernel.kv_heads * floats);
        // Keys are shared out, not heads: one head's entries lie KBs apart and fall on few sets of
        // the caches.
        m_pool.for_range(parts, 1, [&](std::int64_t part, std::int64_t last_part, int) {
            for (; part < last_part; ++part) {
                const std::int64_t begin = first_key + part * part_keys;
                const std::int64_t end = std::min(begin + part_keys, kernel.length);
                // Also with no keys at all, which rounding up can leave to the last part.
                for (std::int64_t tile = begin; tile == begin || tile < end; tile += kTileKeys) {
                    for (std::int64_t h = 0; h < kernel.kv_heads; ++h) {
                        cpu::attend(
                            kernel, h, 0, kernel.tokens, tile, std::min(tile + kTileKeys, end),
                            memory + (part * kernel.kv_heads + h) * floats, tile == begin, nullptr);
                    }
                }
            }
        });
        for (std::int64_t h = 0; h < kernel.kv_heads; ++h) {
            cpu::merge_attention(kernel, h, 0, kernel.tokens, memory + h * floats,
                                 kernel.kv_heads * floats, parts);
        }
    }

    void attend_all(const cpu::Attention& kernel) {
        const std::int64_t first_key =
            kernel.window > 0
                ? std::max<std::int64_t>(0, kernel.length - kernel.tokens + 1 - kernel.window)
                : 0;
        if (kernel.tokens * kernel.group_count <= cpu::kFewRows) {
            attend_few(kernel, first_key);
            return;
        }
        // Blocks of tokens and KV heads are independent; where they are fewer than what keeps the
        // threads busy, the keys of each are cut into parts as well.
        constexpr std::int64_t kLeastKeys = 256; // of a part
        const std::int64_t tokens = cpu::attention_block_tokens(kernel);
        const std::int64_t blocks = (kernel.tokens + tokens - 1) / tokens;
        const std::int64_t keys = kernel.length - first_key;
        const std::int64_t whole = blocks * kernel.kv_heads;
        const std::int64_t parts = std::clamp<std::int64_t>(
            std::min((4 * m_pool.threads() + whole - 1) / whole, keys / kLeastKeys), 1, 64);
        const std::int64_t part_keys = (keys + parts - 1) / parts;
        const std::int64_t floats = cpu::attention_part_floats(kernel);
        const std::int64_t items = whole * parts;
        const std::int64_t scratch = cpu::attention_scratch_floats(kernel) + floats;
        reserve_worker_scratch(scratch * static_cast<std::int64_t>(sizeof(float)));
        float* memory = parts > 1 ? m_work.floats(items * floats) : nullptr;
        const auto block_of = [&](std::int64_t item) {
            // The last tokens first: they see the most keys.
            const std::int64_t block = blocks - 1 - item / parts / kernel.kv_heads;
            return std::pair{block * tokens, std::min((block + 1) * tokens, kernel.tokens)};
        };
        m_pool.for_range(items, 1, [&](std::int64_t item, std::int64_t last_item, int worker) {
            for (; item < last_item; ++item) {
                const std::int64_t kv_head = item / parts % kernel.kv_heads;
                const std::int64_t begin = first_key + item % parts * part_keys;
                const auto [first, last] = block_of(item);
                float* part = parts > 1 ? memory + item * floats : worker_floats(worker);
                cpu::attend(kernel, kv_head, first, last, begin,
                            std::min(begin + part_keys, kernel.length), part, true,
                            worker_floats(worker) + floats);
                if (parts == 1) {
                    cpu::merge_attention(kernel, kv_head, first, last, part, floats, 1);
                }
            }
        });
        for (std::int64_t item = 0; parts > 1 && item < items; item += parts) {
            const auto [first, last] = block_of(item);
            cpu::merge_attention(kernel, item / parts % kernel.kv_heads, first, last,
                                 memory + item * floats, floats, parts);
        }
    }

    void reserve_worker_scratch(std::int64_t bytes) {
        for (Workspace& scratch : m_worker_scratch) {
            scratch.bytes(bytes);
        }
    }
    std::byte* worker_bytes(int worker) {
        return m_worker_scratch[static_cast<std::size_t>(worker)].bytes(0);
    }
    float* worker_floats(int worker) { return reinterpret_cast<float*>(worker_bytes(worker)); }

    // The input of products, in int8 too where one of them wants it.
    cpu::Activations prepare(const float* x, std::int64_t stride, std::int64_t tokens,
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

    // All of m_jobs in one fork, cut into tiles of rows that free threads take.
    void run_jobs() {
        std::int64_t tiles = 0;
        std::int64_t scratch_bytes = 0;
        for (const Job& job : m_jobs) {
            tiles += job.tiles();
            scratch_bytes = std::max(scratch_bytes,
                                     cpu::matmul_scratch_bytes(job.matrix, job.activations.tokens));
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

    void route_all(const MoeOp& op) {
        const cpu::Router router{.experts = op.spec.experts,
                                 .top_k = op.spec.top_k,
                                 .sigmoid = op.spec.score == MoeSpec::Score::Sigmoid,
                                 .normalise = op.spec.normalise_top_k,
                                 .weight_scale = static_cast<float>(op.spec.weight_scale),
                                 .choice_bias = op.choice_bias};
        const std::int64_t tokens = op.x.extent[0];
        float* scratch = m_work.floats(tokens * router.experts);
        for_rows(tokens, router.experts * (router.top_k + 8), [&](std::int64_t t) {
            cpu::route(router, &op.scores(t, 0), m_chosen.data() + t * router.top_k,
                       m_weights.data() + t * router.top_k, scratch + t * router.experts);
        });
    }

    Workspace m_int8; // activations of the current product
    Workspace m_work; // of the current op: angles, convolved channels, router scores
    Workspace m_expert_in, m_expert_hidden;
    std::vector<ScratchBlock> m_blocks; // scratch()
    std::vector<Job> m_jobs;
    std::vector<std::int32_t> m_chosen;
    std::vector<float> m_weights;
    std::vector<std::int64_t> m_first, m_next, m_place;
    ThreadPool m_pool;
    std::vector<Workspace> m_worker_scratch;
};

} // namespace

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
