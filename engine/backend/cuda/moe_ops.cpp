// Mixtures of experts on the CUDA backend: everything after the router's product happens on the
// device, and nothing waits for the host.

#include "engine/backend/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace hs {

namespace {

// More go to the tensor cores, expert by expert.
constexpr std::int64_t kMostFewTokens = 8;
constexpr int kMostTerms = 3; // of an input of products

const float* bias_of(std::span<const float* const> biases, std::size_t expert) {
    return biases.empty() ? nullptr : biases[expert];
}

bool aligned(const float* data, std::int64_t stride) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride % 4 == 0;
}

bool equal(std::span<const Weight> a, const std::vector<Weight>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Weight& x, const Weight& y) {
        return x.data == y.data && x.dtype == y.dtype && x.rows == y.rows && x.cols == y.cols &&
               x.scales == y.scales && x.scale_block_rows == y.scale_block_rows &&
               x.scale_block_cols == y.scale_block_cols && x.scale_stride == y.scale_stride;
    });
}
bool equal(std::span<const float* const> a, const std::vector<const float*>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

} // namespace

struct CudaBackend::ExpertTable {
    // What it was made from, and by which call of place() it was last compared with that.
    std::vector<Weight> gate, up, down;
    std::vector<const float*> gate_bias, up_bias, down_bias;
    std::int64_t compared_at = -1;

    std::unique_ptr<Buffer> memory; // (3, experts): gates, ups, downs
    std::set<int> gate_formats, up_formats, down_formats;
    bool alike = true; // gate and up of every expert have one format

    const cuda::ExpertMatrix* part(std::int64_t which) const {
        return reinterpret_cast<const cuda::ExpertMatrix*>(memory->data()) +
               which * static_cast<std::int64_t>(gate.size());
    }
};

CudaBackend::CudaBackend(std::shared_ptr<CudaContext> context)
    : m_context(std::move(context))
    , m_driver(*m_context->driver) {}

CudaBackend::~CudaBackend() {
    release();
}

Result<const CudaBackend::ExpertTable*> CudaBackend::experts_of(const MoeOp& op) {
    std::unique_ptr<ExpertTable>& held = m_experts[op.gate.data()];
    if (held != nullptr && held->compared_at == m_places && held->gate.size() == op.gate.size()) {
        return held.get();
    }
    if (held != nullptr && equal(op.gate, held->gate) && equal(op.up, held->up) &&
        equal(op.down, held->down) && equal(op.gate_bias, held->gate_bias) &&
        equal(op.up_bias, held->up_bias) && equal(op.down_bias, held->down_bias)) {
        held->compared_at = m_places;
        return held.get();
    }
    auto made = std::make_unique<ExpertTable>();
    made->gate.assign(op.gate.begin(), op.gate.end());
    made->up.assign(op.up.begin(), op.up.end());
    made->down.assign(op.down.begin(), op.down.end());
    made->gate_bias.assign(op.gate_bias.begin(), op.gate_bias.end());
    made->up_bias.assign(op.up_bias.begin(), op.up_bias.end());
    made->down_bias.assign(op.down_bias.begin(), op.down_bias.end());
    made->compared_at = m_places;
    std::vector<cuda::ExpertMatrix> all;
    const auto append = [&](std::span<const Weight> weights, std::span<const float* const> biases,
                            std::int64_t rows, std::int64_t cols, std::set<int>& formats) {
        for (std::size_t e = 0; e < weights.size(); ++e) {
            HS_ASSERT(weights[e].rows == rows && weights[e].cols == cols);
            const auto format = static_cast<int>(format_of(weights[e]));
            formats.insert(format);
            all.push_back({matrix_of(weights[e]), bias_of(biases, e), format});
        }
    };
    const std::int64_t inter = op.spec.intermediate;
    const std::int64_t hidden = op.x.extent[1];
    append(op.gate, op.gate_bias, inter, hidden, made->gate_formats);
    append(op.up, op.up_bias, inter, hidden, made->up_formats);
    append(op.down, op.down_bias, hidden, inter, made->down_formats);
    for (std::size_t e = 0; e < op.gate.size(); ++e) {
        made->alike = made->alike && op.gate[e].dtype == op.up[e].dtype;
    }
    const std::span<const std::byte> bytes = std::as_bytes(std::span(all));
    made->memory = TRY(allocate(static_cast<std::int64_t>(bytes.size())));
    copy_in(made->memory->data(), bytes);
    held = std::move(made);
    return held.get();
}

void CudaBackend::moe(const MoeOp& op) {
    const MoeSpec& spec = op.spec;
    const std::int64_t tokens = op.x.extent[0];
    const std::int64_t hidden = op.x.extent[1];
    const std::int64_t inter = spec.intermediate;
    const std::int64_t top_k = spec.top_k;
    const std::int64_t pairs = tokens * top_k; // of a token and an expert
    op.check();
    const auto found = experts_of(op);
    if (!found.ok()) {
        fail(found.error());
        return;
    }
    const ExpertTable& table = **found;

    // Memory of the op, all at once.
    const bool few = tokens <= kMostFewTokens;
    const std::int64_t most_tiles = pairs / cuda::kGemmTokens + spec.experts;
    std::int64_t used = 0;
    const auto part = [&](std::int64_t count, std::int64_t size) {
        const std::int64_t at = used;
        used += (count * size + 255) / 256 * 256;
        return at;
    };
    const std::int64_t chosen_at = part(pairs, 4);
    const std::int64_t weights_at = part(pairs, 4);
    const std::int64_t gate_at = part(pairs * inter, 4);
    const std::int64_t up_at = part(few && table.alike ? 0 : pairs * inter, 4);
    const std::int64_t result_at = part(few ? 0 : pairs * hidden, 4);
    const std::int64_t order_at = part(few ? 0 : pairs, 4);
    const std::int64_t tiles_at =
        part(few ? 0 : most_tiles, static_cast<std::int64_t>(sizeof(cuda::ExpertTile)));
    const std::int64_t count_at = part(1, 4);
    // x and what the experts made of it in eight bits, where a format takes it so.
    const auto take_int8 = [](const std::set<int>& formats) {
        return std::any_of(formats.begin(), formats.end(), [](int format) {
            return cuda::takes_int8(static_cast<cuda::Format>(format));
        });
    };
    const bool in_int8 = few && (take_int8(table.gate_formats) || take_int8(table.up_formats));
    const bool mid_int8 = few && take_int8(table.down_formats);
    const std::int64_t in_q_at = part(in_int8 ? tokens * hidden : 0, 1);
    const std::int64_t in_scales_at = part(in_int8 ? tokens * hidden / 32 : 0, 4);
    const std::int64_t mid_q_at = part(mid_int8 ? pairs * inter : 0, 1);
    const std::int64_t mid_scales_at = part(mid_int8 ? pairs * inter / 32 : 0, 4);
    const std::int64_t split_at = part(few ? 0
                                           : std::max(split_bytes(tokens, hidden, kMostTerms),
                                                      split_bytes(pairs, inter, kMostTerms)),
                                       1);
    std::byte* const memory = work(used);
    if (memory == nullptr) {
        return;
    }
    auto* const chosen = reinterpret_cast<std::int32_t*>(memory + chosen_at);
    auto* const weights = reinterpret_cast<float*>(memory + weights_at);
    auto* const gate = reinterpret_cast<float*>(memory + gate_at);
    auto* const up = reinterpret_cast<float*>(memory + up_at);

    cuda::RouteParams route = {};
    route.scores = op.scores.data;
    route.stride = op.scores.stride[0];
    route.experts = narrow(spec.experts);
    route.top_k = narrow(top_k);
    route.score = static_cast<int>(spec.score);
    route.normalise = spec.normalise_top_k ? 1 : 0;
    route.groups = narrow(spec.groups);
    route.groups_kept = narrow(spec.groups_kept);
    route.group_best = narrow(spec.group_best);
    route.weight_scale = static_cast<float>(spec.weight_scale);
    route.choice_bias = op.choice_bias;
    route.chosen = chosen;
    route.weights = weights;
    route.chosen_out = op.chosen_out;
    launch("hs_route", {tokens}, 32, (2 * spec.experts + spec.groups) * 4, route);

    const View<float, 2> gates(gate, {pairs, inter});
    const View<float, 2> ups(up, {pairs, inter});
    if (few) {
        static const auto up_kernels = kernels_by_format("hs_expert_up_");
        static const auto down_kernels = kernels_by_format("hs_expert_down_");
        cuda::ExpertUpParams in = {};
        in.x = op.x.data;
        in.x_stride = op.x.stride[0];
        in.aligned = aligned(op.x.data, op.x.stride[0]) ? 1 : 0;
        in.top_k = narrow(top_k);
        in.rows = narrow(inter);
        in.cols = narrow(hidden);
        in.chosen = chosen;
        in.glu = glu_of(spec.glu);
        if (in_int8) {
            in.int8 = quantise_rows(op.x.data, op.x.stride[0], 0, tokens, 1, hidden,
                                    memory + in_q_at, memory + in_scales_at);
        }
        const Grid grid{(inter + 8 * cuda::kExpertRows - 1) / (8 * cuda::kExpertRows), pairs};
        const auto multiply = [&](std::int64_t which, const std::set<int>& formats, float* out) {
            in.gate = table.part(which);
            in.up = table.alike ? table.part(1) : nullptr;
            in.out = out;
            for (const int format : formats) {
                in.format = format;
                launch(up_kernels[static_cast<std::size_t>(format)].c_str(), grid, 256, 0, in);
            }
        };
        multiply(0, table.gate_formats, gate);
        if (!table.alike) {
            multiply(1, table.up_formats, up);
            glu(spec.glu, gates, ups, gates);
        }
        cuda::ExpertDownParams out = {};
        out.x = gate;
        out.top_k = narrow(top_k);
        out.rows = narrow(hidden);
        out.cols = narrow(inter);
        out.aligned = aligned(gate, inter) ? 1 : 0;
        out.chosen = chosen;
        out.weights = weights;
        out.down = table.part(2);
        if (mid_int8) {
            out.int8 = quantise_rows(gate, inter, 0, pairs, 1, inter, memory + mid_q_at,
                                     memory + mid_scales_at);
        }
        out.out = op.out.data;
        out.out_stride = op.out.stride[0];
        for (const int format : table.down_formats) {
            out.format = format;
            launch(down_kernels[static_cast<std::size_t>(format)].c_str(),
                   {(hidden + cuda::kDownRows - 1) / cuda::kDownRows, tokens}, 256, 0, out);
            out.add = 1;
        }
        return;
    }

    auto* const order = reinterpret_cast<int*>(memory + order_at);
    auto* const tiles = reinterpret_cast<cuda::ExpertTile*>(memory + tiles_at);
    auto* const tile_count = reinterpret_cast<int*>(memory + count_at);
    auto* const result = reinterpret_cast<float*>(memory + result_at);
    const cuda::SortPairsParams sort{chosen, narrow(pairs), narrow(spec.experts),
                                     order,  tiles,         tile_count};
    Split split = {};
    const float* split_of = nullptr; // what it was made from
    int split_terms = 0;
    launch("hs_sort_pairs", {1}, cuda::kSortThreads, (2 * spec.experts + 1) * 4, sort);
    const auto multiply = [&](std::int64_t which, const std::set<int>& formats, const float* x,
                              std::int64_t x_stride, std::int64_t x_rows, std::int64_t rows,
                              std::int64_t cols, float* out) {
        cuda::GemmParams params = {};
        params.heads = 1;
        params.cols = narrow(cols);
        params.out = out;
        params.out_stride = rows;
        params.experts = table.part(which);
        params.tiles = tiles;
        params.tile_count = tile_count;
        params.order = order;
        params.pairs_per_row = narrow(pairs / x_rows);
        for (const int number : formats) {
            const auto format = static_cast<cuda::Format>(number);
            const int terms = cuda::input_terms(format);
            if (x != split_of || terms != split_terms) {
                split = split_rows(x, x_stride, 0, x_rows, 1, cols, terms, memory + split_at);
                split_of = x;
                split_terms = terms;
            }
            params.x = split.x;
            params.plane = split.plane;
            params.padded = split.padded;
            params.format = number;
            launch_gemm(format, false, {most_tiles, (rows + cuda::kGemmRows - 1) / cuda::kGemmRows},
                        params);
        }
    };
    multiply(0, table.gate_formats, op.x.data, op.x.stride[0], tokens, inter, hidden, gate);
    multiply(1, table.up_formats, op.x.data, op.x.stride[0], tokens, inter, hidden, up);
    glu(spec.glu, gates, ups, gates);
    multiply(2, table.down_formats, gate, inter, pairs, hidden, inter, result);
    const cuda::JoinPairsParams join{result,           weights,       op.out.data,
                                     op.out.stride[0], narrow(top_k), narrow(hidden)};
    launch("hs_join_pairs", {tokens, (hidden + cuda::kPointThreads - 1) / cuda::kPointThreads},
           cuda::kPointThreads, 0, join);
}

} // namespace hs
