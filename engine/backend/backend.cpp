#include "engine/backend/backend.h"

#include "engine/backend/cpu/format.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hs {

Weight Weight::slice_rows(std::int64_t first, std::int64_t count) const {
    HS_ASSERT(first >= 0 && count >= 0 && first <= rows && count <= rows - first);
    Weight part = *this;
    part.data += first * row_stride_bytes;
    part.rows = count;
    if (scales != nullptr) {
        HS_ASSERT(first % scale_block_rows == 0);
        part.scales += first / scale_block_rows * scale_stride;
    }
    return part;
}

Result<void> dequantise(DType dtype, std::span<const std::byte> from, std::span<float> out) {
    const auto format = weight_format(dtype);
    if (!format) {
        return Error{ErrorCode::Unsupported,
                     std::string("expected a weight format, found ") + to_string(dtype), ""};
    }
    const auto elems = static_cast<std::size_t>(cpu::block_elems(*format));
    const auto bytes = static_cast<std::size_t>(cpu::block_bytes(*format));
    if (out.size() % elems != 0 || from.size() / bytes < out.size() / elems) {
        return Error{ErrorCode::InvalidArgument,
                     "expected whole blocks for " + std::to_string(out.size()) + " elements of " +
                         to_string(dtype) + ", found " + std::to_string(from.size()) + " bytes",
                     ""};
    }
    cpu::dequantise(*format, from.data(), out.data(), static_cast<std::int64_t>(out.size()));
    return {};
}

namespace {

using std::numbers::pi;

// The dimension that turns n times within the original context (softmax.md section 1.3).
double correction(const RopeSpec& spec, double turns) {
    return static_cast<double>(spec.dims) *
           std::log(static_cast<double>(spec.scaling.original_context) / (2 * pi * turns)) /
           (2 * std::log(spec.theta));
}

double yarn(const RopeSpec& spec, double frequency, std::int64_t i) {
    const RopeScaling& s = spec.scaling;
    double low = correction(spec, s.beta_fast);
    double high = correction(spec, s.beta_slow);
    if (s.truncate) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    const auto last = static_cast<double>(spec.dims - 1);
    low = std::clamp(low, 0.0, last);
    high = std::clamp(high, 0.0, last);
    if (low == high) {
        high += 0.001;
    }
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    return ramp * frequency / s.factor + (1 - ramp) * frequency;
}

double llama3(const RopeScaling& s, double frequency) {
    const double wavelength = 2 * pi / frequency;
    const auto original = static_cast<double>(s.original_context);
    if (wavelength < original / s.high_freq_factor) {
        return frequency;
    }
    if (wavelength > original / s.low_freq_factor) {
        return frequency / s.factor;
    }
    const double smooth =
        (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

} // namespace

RopeTable make_rope_table(const RopeSpec& spec) {
    RopeTable table;
    table.dims = spec.dims;
    table.layout = spec.layout;
    if (spec.scaling.kind == RopeScaling::Kind::Yarn) {
        table.magnitude = static_cast<float>(spec.scaling.attention_factor);
    }
    for (std::int64_t i = 0; i < spec.dims / 2; ++i) {
        double frequency =
            std::pow(spec.theta, -2.0 * static_cast<double>(i) / static_cast<double>(spec.dims));
        switch (spec.scaling.kind) {
        case RopeScaling::Kind::None:
            break;
        case RopeScaling::Kind::Linear:
            frequency /= spec.scaling.factor;
            break;
        case RopeScaling::Kind::Yarn:
            frequency = yarn(spec, frequency, i);
            break;
        case RopeScaling::Kind::Llama3:
            frequency = llama3(spec.scaling, frequency);
            break;
        }
        table.inverse_frequency.push_back(static_cast<float>(frequency));
    }
    return table;
}

// --- what backends rely on -----------------------------------------------------------------------

void AttentionOp::check() const {
    HS_ASSERT(q.extent[0] >= 1 && length >= q.extent[0]);
    HS_ASSERT(kv_heads > 0 && q.extent[1] % kv_heads == 0);
    HS_ASSERT(q.extent[2] == head_dim && q.stride[2] == 1);
    HS_ASSERT(out.extent[0] == q.extent[0] && out.extent[1] == q.extent[1]);
    HS_ASSERT(out.extent[2] == value_head_dim && out.stride[2] == 1);
    HS_ASSERT(chosen == nullptr || (window == 0 && ring == 0 && chosen_most > 0));
}

void ChooseKeysOp::check() const {
    HS_ASSERT(q.stride[2] == 1 && weights.extent[0] == q.extent[0]);
    HS_ASSERT(weights.extent[1] == q.extent[1] && weights.stride[1] == 1);
    HS_ASSERT(length >= q.extent[0] && most > 0 && chosen != nullptr);
}

void GatedDeltaOp::check() const {
    HS_ASSERT(spec.key_heads > 0 && spec.value_heads % spec.key_heads == 0);
    HS_ASSERT(qkv.extent[1] == spec.conv_channels() && qkv.stride[1] == 1);
    HS_ASSERT(z.stride[1] == 1 && b.stride[1] == 1 && a.stride[1] == 1);
    HS_ASSERT(out.extent[0] == qkv.extent[0] && out.stride[1] == 1);
    HS_ASSERT(out.extent[1] == spec.value_heads * spec.value_dim);
}

void KdaOp::check() const {
    for (const View<const float, 2>& rows : {q, k, v, decay, gate}) {
        HS_ASSERT(rows.extent[0] == q.extent[0] && rows.extent[1] == spec.channels());
        HS_ASSERT(rows.stride[1] == 1);
    }
    HS_ASSERT(b.extent[0] == q.extent[0] && b.extent[1] == spec.heads && b.stride[1] == 1);
    HS_ASSERT(out.extent == q.extent && out.stride[1] == 1);
    HS_ASSERT(spec.decay_bound <= 0.0);
}

void LightningOp::check() const {
    const std::int64_t tokens = out.extent[0];
    const std::int64_t channels = spec.heads * spec.head_dim;
    for (const View<const float, 3>& rows : {q, k, v}) {
        HS_ASSERT(rows.extent[0] == tokens && rows.extent[1] == spec.heads &&
                  rows.extent[2] == spec.head_dim && rows.stride[2] == 1);
    }
    HS_ASSERT(spec.heads > 0 && spec.norm_groups > 0 && channels % spec.norm_groups == 0);
    HS_ASSERT(out.extent[1] == channels && out.stride[1] == 1);
    HS_ASSERT(gate.extent[0] == tokens && gate.extent[1] == channels && gate.stride[1] == 1);
}

void MoeOp::check() const {
    const auto experts = static_cast<std::size_t>(spec.experts);
    HS_ASSERT(gate.size() == experts && up.size() == experts && down.size() == experts);
    HS_ASSERT(spec.top_k > 0 && spec.top_k <= spec.experts);
    HS_ASSERT(scores.extent[0] == x.extent[0] && scores.extent[1] == spec.experts);
    HS_ASSERT(x.stride[1] == 1 && scores.stride[1] == 1 && out.stride[1] == 1);
    HS_ASSERT(out.extent == x.extent);
}

} // namespace hs
