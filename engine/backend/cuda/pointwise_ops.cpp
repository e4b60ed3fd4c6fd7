// Pointwise ops of the CUDA backend.

#include "engine/backend/cuda/cuda_backend.h"

#include <algorithm>
#include <string>

namespace hs {

namespace {

Grid over(std::int64_t rows, std::int64_t cols) {
    return {rows, (cols + cuda::kPointThreads - 1) / cuda::kPointThreads, 1};
}

// Of a block that reads a row of `width` together: whole warps, no more than have work.
int row_threads(std::int64_t width) {
    return static_cast<int>(std::clamp<std::int64_t>((width + 31) / 32 * 32, 32, 512));
}

bool aligned(const float* data, std::int64_t stride) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride % 4 == 0;
}

} // namespace

// --- kernels that do the work of two
// --------------------------------------------------------------

void CudaBackend::note(std::int64_t rows, decltype(Last::op) op) {
    if (m_context->steps->recording()) {
        m_last = {m_context->steps->size(), rows, op};
    }
}

template <class Params>
const Params* CudaBackend::last_op(std::int64_t rows) const {
    const StepRecorder& steps = *m_context->steps;
    const bool last = steps.recording() && steps.size() > 0 && steps.size() == m_last.kernels &&
                      m_last.rows == rows;
    return last ? std::get_if<Params>(&m_last.op) : nullptr;
}

void CudaBackend::launch_norm_row(const cuda::NormRowParams& params, std::int64_t rows) {
    launch("hs_norm_row", {rows}, cuda::kNormRowThreads, 0, params);
    note(rows, params);
}

bool CudaBackend::quantise_with_last(const float* x, std::int64_t stride, std::int64_t rows,
                                     std::int64_t cols, const cuda::Int8Out& to) {
    if (const auto* norm = last_op<cuda::NormRowParams>(rows);
        norm != nullptr && norm->int8.q == nullptr && norm->out == x &&
        norm->out_stride == stride && norm->width == cols) {
        cuda::NormRowParams both = *norm;
        both.int8 = to;
        m_context->steps->drop_last();
        launch_norm_row(both, rows);
        return true;
    }
    if (const auto* glu = last_op<cuda::GluParams>(rows);
        glu != nullptr && glu->out == x && glu->out_stride == stride && glu->cols == cols) {
        cuda::GluInt8Params both = {};
        both.glu = *glu;
        both.int8 = to;
        m_context->steps->drop_last();
        launch("hs_glu_int8", {rows, (cols + cuda::kQuantiseCols - 1) / cuda::kQuantiseCols}, 256,
               0, both);
        return true;
    }
    return false;
}

// --- the ops
// --------------------------------------------------------------------------------------

cuda::Glu CudaBackend::glu_of(const GluSpec& spec) {
    return {static_cast<int>(spec.kind), static_cast<float>(spec.alpha),
            static_cast<float>(spec.limit), static_cast<float>(spec.beta),
            static_cast<float>(spec.linear_beta)};
}

void CudaBackend::embed(const Weight& table, std::span<const std::int32_t> ids,
                        View<float, 2> out) {
    HS_ASSERT(out.extent[0] == static_cast<std::int64_t>(ids.size()));
    HS_ASSERT(out.extent[1] == table.cols && out.stride[1] == 1);
    for (const std::int32_t id : ids) {
        HS_ASSERT(id >= 0 && id < table.rows);
    }
    constexpr std::size_t kStepTokens = 8; // a decode step, with guesses
    if (ids.size() <= kStepTokens) {
        m_context->steps->begin();
        m_last = {};
    }
    static const auto kernels = kernels_by_format("hs_embed_");
    const std::string& kernel = kernels[static_cast<std::size_t>(format_of(table))];
    const auto all = static_cast<std::int64_t>(ids.size());
    for (std::int64_t first = 0; first < all; first += cuda::kEmbedIds) {
        const std::int64_t count = std::min<std::int64_t>(cuda::kEmbedIds, all - first);
        cuda::EmbedParams params = {};
        std::copy_n(ids.begin() + first, count, params.ids);
        params.table = matrix_of(table);
        params.out = out.data + first * out.stride[0];
        params.out_stride = out.stride[0];
        launch(kernel.c_str(), over(count, (table.cols + 7) / 8), cuda::kPointThreads, 0, params);
    }
}

void CudaBackend::rms_norm(View<const float, 2> x, std::span<const float> weight, float eps,
                           View<float, 2> out) {
    const auto width = static_cast<std::int64_t>(weight.size());
    HS_ASSERT(x.extent == out.extent && x.stride[1] == 1 && out.stride[1] == 1);
    HS_ASSERT(width > 0 && x.extent[1] % width == 0);
    const std::int64_t pieces = x.extent[1] / width;
    const cuda::NormParams params{x.data,        weight.data(),  nullptr,
                                  out.data,      x.stride[0],    out.stride[0],
                                  narrow(width), narrow(pieces), eps};
    // Few long rows: a decode step.
    constexpr std::int64_t kMostRows = 8;
    const bool long_rows =
        pieces == 1 && x.extent[0] <= kMostRows && width % 4 == 0 && width <= cuda::kMostNormRow;
    if (long_rows && aligned(x.data, x.stride[0]) && aligned(out.data, out.stride[0]) &&
        aligned(weight.data(), 0)) {
        cuda::NormRowParams row = {};
        row.x = const_cast<float*>(x.data); // written only when something is added to it
        row.weight = weight.data();
        row.out = out.data;
        row.x_stride = x.stride[0];
        row.out_stride = out.stride[0];
        row.width = narrow(width);
        row.eps = eps;
        const cuda::BlendParams* const added = last_op<cuda::BlendParams>(x.extent[0]);
        if (added != nullptr && added->x == x.data && added->x_stride == x.stride[0] &&
            added->cols == width && added->y != out.data && aligned(added->y, added->y_stride)) {
            row.y = added->y;
            row.y_stride = added->y_stride;
            m_context->steps->drop_last();
        }
        launch_norm_row(row, x.extent[0]);
        return;
    }
    launch("hs_rms_norm", {x.extent[0] * pieces}, row_threads(width), 0, params);
}

void CudaBackend::layer_norm(View<const float, 2> x, std::span<const float> weight,
                             std::span<const float> bias, float eps, View<float, 2> out) {
    const std::int64_t width = x.extent[1];
    HS_ASSERT(x.extent == out.extent && x.stride[1] == 1 && out.stride[1] == 1);
    HS_ASSERT(static_cast<std::int64_t>(weight.size()) == width && bias.size() == weight.size());
    const cuda::NormParams params{x.data,        weight.data(), bias.data(), out.data, x.stride[0],
                                  out.stride[0], narrow(width), 1,           eps};
    launch("hs_layer_norm", {x.extent[0]}, row_threads(width), 0, params);
}

void CudaBackend::add(View<float, 2> x, View<const float, 2> y) {
    HS_ASSERT(x.extent == y.extent && x.stride[1] == 1 && y.stride[1] == 1);
    const cuda::BlendParams params{x.data, y.data, x.stride[0], y.stride[0], narrow(x.extent[1]),
                                   1.0f,   1.0f};
    launch("hs_add", over(x.extent[0], x.extent[1]), cuda::kPointThreads, 0, params);
    note(x.extent[0], params);
}

void CudaBackend::blend(View<float, 2> x, float x_scale, View<const float, 2> y, float y_scale) {
    HS_ASSERT(x.extent == y.extent && x.stride[1] == 1 && y.stride[1] == 1);
    const cuda::BlendParams params{x.data,  y.data, x.stride[0], y.stride[0], narrow(x.extent[1]),
                                   x_scale, y_scale};
    launch("hs_blend", over(x.extent[0], x.extent[1]), cuda::kPointThreads, 0, params);
}

void CudaBackend::scale(View<float, 2> x, float factor) {
    HS_ASSERT(x.stride[1] == 1);
    const cuda::ScaleParams params{x.data, x.stride[0], narrow(x.extent[1]), factor};
    launch("hs_scale", over(x.extent[0], x.extent[1]), cuda::kPointThreads, 0, params);
}

void CudaBackend::softcap(View<float, 2> x, float cap) {
    HS_ASSERT(x.stride[1] == 1 && cap > 0.0f);
    const cuda::ScaleParams params{x.data, x.stride[0], narrow(x.extent[1]), cap};
    launch("hs_softcap", over(x.extent[0], x.extent[1]), cuda::kPointThreads, 0, params);
}

void CudaBackend::copy_columns(View<const float, 3> from, View<float, 3> to) {
    HS_ASSERT(from.extent == to.extent && from.stride[2] == 1 && to.stride[2] == 1);
    const cuda::HeadsParams params{
        from.data,    to.data,      from.stride[0],       from.stride[1],
        to.stride[0], to.stride[1], narrow(to.extent[1]), narrow(to.extent[2])};
    launch("hs_copy_columns", over(to.extent[0], to.extent[1] * to.extent[2]), cuda::kPointThreads,
           0, params);
}

void CudaBackend::sigmoid_gate(View<float, 3> x, View<const float, 3> gate) {
    HS_ASSERT(x.extent == gate.extent && x.stride[2] == 1 && gate.stride[2] == 1);
    const cuda::HeadsParams params{
        gate.data,   x.data,      gate.stride[0],      gate.stride[1],
        x.stride[0], x.stride[1], narrow(x.extent[1]), narrow(x.extent[2])};
    launch("hs_sigmoid_gate", over(x.extent[0], x.extent[1] * x.extent[2]), cuda::kPointThreads, 0,
           params);
}

void CudaBackend::sigmoid_scale_rows(View<float, 2> x, View<const float, 2> gate) {
    HS_ASSERT(x.extent[0] == gate.extent[0] && gate.extent[1] == 1 && x.stride[1] == 1);
    const cuda::ScaleRowsParams params{x.data, gate.data, x.stride[0], gate.stride[0],
                                       narrow(x.extent[1])};
    launch("hs_scale_rows", over(x.extent[0], x.extent[1]), cuda::kPointThreads, 0, params);
}

void CudaBackend::mix_streams(std::span<const View<const float, 2>> streams,
                              std::span<const float> query, float eps, View<float, 2> out) {
    HS_ASSERT(!streams.empty() && out.stride[1] == 1);
    HS_ASSERT(static_cast<std::int64_t>(query.size()) == out.extent[1]);
    if (streams.size() > cuda::kMostStreams) {
        fail({ErrorCode::Unsupported,
              "attention residuals: expected at most " + std::to_string(cuda::kMostStreams) +
                  " streams, found " + std::to_string(streams.size()),
              "Use the CPU (--device cpu)"});
        return;
    }
    cuda::MixStreamsParams params = {};
    for (std::size_t s = 0; s < streams.size(); ++s) {
        HS_ASSERT(streams[s].extent == out.extent && streams[s].stride[1] == 1);
        params.stream[s] = streams[s].data;
        params.stride[s] = streams[s].stride[0];
    }
    params.query = query.data();
    params.out = out.data;
    params.out_stride = out.stride[0];
    params.count = static_cast<int>(streams.size());
    params.width = narrow(out.extent[1]);
    params.eps = eps;
    launch("hs_mix_streams", {out.extent[0]}, row_threads(out.extent[1]), 0, params);
}

void CudaBackend::glu(const GluSpec& spec, View<const float, 2> gate, View<const float, 2> up,
                      View<float, 2> out) {
    HS_ASSERT(gate.extent == up.extent && gate.extent == out.extent);
    HS_ASSERT(gate.stride[1] == 1 && up.stride[1] == 1 && out.stride[1] == 1);
    const cuda::GluParams params{gate.data,
                                 up.data,
                                 out.data,
                                 gate.stride[0],
                                 up.stride[0],
                                 out.stride[0],
                                 narrow(out.extent[1]),
                                 glu_of(spec)};
    launch("hs_glu", over(out.extent[0], out.extent[1]), cuda::kPointThreads, 0, params);
    note(out.extent[0], params);
}

void CudaBackend::rope(View<float, 3> x, const RopeTable& table, std::int64_t first_position) {
    HS_ASSERT(x.stride[2] == 1 && table.dims <= x.extent[2]);
    const auto pairs = static_cast<std::int64_t>(table.inverse_frequency.size());
    HS_ASSERT(2 * pairs == table.dims);
    const Grid grid{x.extent[0], (x.extent[1] + cuda::kRopeHeads - 1) / cuda::kRopeHeads};
    for (std::int64_t first = 0; first < pairs; first += cuda::kRopePairs) {
        const std::int64_t count = std::min<std::int64_t>(cuda::kRopePairs, pairs - first);
        cuda::RopeParams params = {};
        std::copy_n(table.inverse_frequency.begin() + first, count, params.inverse_frequency);
        params.x = x.data;
        params.token_stride = x.stride[0];
        params.head_stride = x.stride[1];
        params.first_position = first_position;
        params.heads = narrow(x.extent[1]);
        params.first_pair = narrow(first);
        params.pairs = narrow(count);
        params.all_pairs = narrow(pairs);
        params.interleaved = table.layout == RopeLayout::Interleaved ? 1 : 0;
        params.magnitude = table.magnitude;
        launch("hs_rope", grid, 128, 0, params);
    }
}

} // namespace hs
