// Pointwise ops of the CPU backend.

#include "engine/backend/cpu/cpu_backend.h"

#include <cmath>

namespace hs {

void CpuBackend::embed(const Weight& table, std::span<const std::int32_t> ids, View<float, 2> out) {
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

void CpuBackend::rms_norm(View<const float, 2> x, std::span<const float> weight, float eps,
                          View<float, 2> out) {
    const auto width = static_cast<std::int64_t>(weight.size());
    HS_ASSERT(x.extent == out.extent && x.stride[1] == 1 && out.stride[1] == 1);
    HS_ASSERT(width > 0 && x.extent[1] % width == 0);
    for_rows(x.extent[0], x.extent[1], [&](std::int64_t t) {
        for (std::int64_t c = 0; c < x.extent[1]; c += width) {
            cpu::rms_norm(&x(t, c), weight.data(), eps, width, &out(t, c));
        }
    });
}

void CpuBackend::add(View<float, 2> x, View<const float, 2> y) {
    HS_ASSERT(x.extent == y.extent && x.stride[1] == 1 && y.stride[1] == 1);
    for_rows(x.extent[0], x.extent[1],
             [&](std::int64_t t) { cpu::add(&x(t, 0), &y(t, 0), x.extent[1]); });
}

void CpuBackend::layer_norm(View<const float, 2> x, std::span<const float> weight,
                            std::span<const float> bias, float eps, View<float, 2> out) {
    const std::int64_t width = x.extent[1];
    HS_ASSERT(x.extent == out.extent && x.stride[1] == 1 && out.stride[1] == 1);
    HS_ASSERT(static_cast<std::int64_t>(weight.size()) == width && bias.size() == weight.size());
    for_rows(x.extent[0], width, [&](std::int64_t t) {
        cpu::layer_norm(&x(t, 0), weight.data(), bias.data(), eps, width, &out(t, 0));
    });
}

void CpuBackend::blend(View<float, 2> x, float x_scale, View<const float, 2> y, float y_scale) {
    HS_ASSERT(x.extent == y.extent && x.stride[1] == 1 && y.stride[1] == 1);
    for_rows(x.extent[0], x.extent[1], [&](std::int64_t t) {
        if (x_scale != 1.0f) {
            cpu::scale(&x(t, 0), x_scale, x.extent[1]);
        }
        cpu::multiply_add(&x(t, 0), y_scale, &y(t, 0), x.extent[1]);
    });
}

void CpuBackend::scale(View<float, 2> x, float factor) {
    HS_ASSERT(x.stride[1] == 1);
    for_rows(x.extent[0], x.extent[1],
             [&](std::int64_t t) { cpu::scale(&x(t, 0), factor, x.extent[1]); });
}

void CpuBackend::copy_columns(View<const float, 3> from, View<float, 3> to) {
    HS_ASSERT(from.extent == to.extent && from.stride[2] == 1 && to.stride[2] == 1);
    for_rows(from.extent[0], from.extent[1] * from.extent[2], [&](std::int64_t t) {
        for (std::int64_t h = 0; h < from.extent[1]; ++h) {
            std::copy_n(&from(t, h, 0), from.extent[2], &to(t, h, 0));
        }
    });
}

void CpuBackend::softcap(View<float, 2> x, float cap) {
    HS_ASSERT(x.stride[1] == 1 && cap > 0.0f);
    for_rows(x.extent[0], 8 * x.extent[1],
             [&](std::int64_t t) { cpu::softcap(&x(t, 0), cap, x.extent[1]); });
}

void CpuBackend::mix_streams(std::span<const View<const float, 2>> streams,
                             std::span<const float> query, float eps, View<float, 2> out) {
    HS_ASSERT(!streams.empty() && out.stride[1] == 1);
    for (const View<const float, 2>& stream : streams) {
        HS_ASSERT(stream.extent == out.extent && stream.stride[1] == 1);
    }
    const auto count = static_cast<std::int64_t>(streams.size());
    const std::int64_t width = out.extent[1];
    HS_ASSERT(static_cast<std::int64_t>(query.size()) == width);
    float* const memory = m_work.floats(out.extent[0] * count);
    for_rows(out.extent[0], 2 * count * width, [&](std::int64_t t) {
        float* const weights = memory + t * count;
        float most = -INFINITY;
        for (std::int64_t s = 0; s < count; ++s) {
            const float* const row = &streams[static_cast<std::size_t>(s)](t, 0);
            weights[s] = cpu::unit_dot(row, query.data(), eps, width);
            most = std::max(most, weights[s]);
        }
        float sum = 0.0f;
        for (std::int64_t s = 0; s < count; ++s) {
            weights[s] = std::exp(weights[s] - most);
            sum += weights[s];
        }
        std::fill_n(&out(t, 0), width, 0.0f);
        for (std::int64_t s = 0; s < count; ++s) {
            cpu::multiply_add(&out(t, 0), weights[s] / sum,
                              &streams[static_cast<std::size_t>(s)](t, 0), width);
        }
    });
}

void CpuBackend::glu(const GluSpec& spec, View<const float, 2> gate, View<const float, 2> up,
                     View<float, 2> out) {
    HS_ASSERT(gate.extent == up.extent && gate.extent == out.extent);
    HS_ASSERT(gate.stride[1] == 1 && up.stride[1] == 1 && out.stride[1] == 1);
    for_rows(out.extent[0], 8 * out.extent[1], [&](std::int64_t t) {
        cpu::glu(glu_of(spec), &gate(t, 0), &up(t, 0), out.extent[1], &out(t, 0));
    });
}

void CpuBackend::sigmoid_gate(View<float, 3> x, View<const float, 3> gate) {
    HS_ASSERT(x.extent == gate.extent && x.stride[2] == 1 && gate.stride[2] == 1);
    for_rows(x.extent[0], 8 * x.extent[1] * x.extent[2], [&](std::int64_t t) {
        for (std::int64_t h = 0; h < x.extent[1]; ++h) {
            cpu::sigmoid_multiply(&x(t, h, 0), &gate(t, h, 0), x.extent[2]);
        }
    });
}

void CpuBackend::sigmoid_scale_rows(View<float, 2> x, View<const float, 2> gate) {
    HS_ASSERT(x.extent[0] == gate.extent[0] && gate.extent[1] == 1 && x.stride[1] == 1);
    for_rows(x.extent[0], x.extent[1],
             [&](std::int64_t t) { cpu::scale(&x(t, 0), cpu::sigmoid(gate(t, 0)), x.extent[1]); });
}

void CpuBackend::rope(View<float, 3> x, const RopeTable& table, std::int64_t first_position) {
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

} // namespace hs
