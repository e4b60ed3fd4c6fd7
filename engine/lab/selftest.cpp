#include "engine/lab/selftest.h"

#include "engine/lab/reference.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <list>
#include <random>
#include <span>
#include <utility>

namespace hs {

namespace {

using reference::Inputs;
using reference::Values;
using Floats = std::vector<float>;

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

std::size_t at(std::int64_t i) {
    return static_cast<std::size_t>(i);
}

// Allowed errors, relative to the largest value of the reference. float32 keeps 6e-8 per step;
// sums of some hundred terms in any order stay below a few e-6.
constexpr double kPointwise = 2e-6;
constexpr double kSoftmax = 2e-5;
constexpr double kRecurrent = 1e-4; // rounding carried through 70 state updates
// Inputs of eight bits through four layers: 0.05 in the median of random models, 0.15 in the worst
// of forty. What is mistaken is off by its own size.
constexpr double kEightBits = 0.3;
// Of a product: times the sum of |x w|, for float32 sums in any sensible order.
constexpr double kProduct = 64 * 0x1p-24;

class Suite {
public:
    Suite(Backend& backend, const SelftestOptions& options, std::stop_token stop)
        : m_backend(backend)
        , m_stop(std::move(stop))
        , m_random(options.seed) {}

    Result<std::vector<SelftestRow>> run() {
        using Part = Result<void> (Suite::*)();
        for (Part part :
             {&Suite::embedding, &Suite::norms, &Suite::elementwise, &Suite::gates_and_scalings,
              &Suite::rotation, &Suite::products, &Suite::products_by_head,
              &Suite::attention_over_caches, &Suite::attention_over_latents, &Suite::choices,
              &Suite::gated_delta, &Suite::kda, &Suite::lightning, &Suite::residual_streams,
              &Suite::mixture, &Suite::decode_steps}) {
            if (m_stop.stop_requested()) {
                break;
            }
            TRY((this->*part)());
            m_buffers.clear();
            m_files.clear();
            m_factors.clear();
        }
        return std::move(m_rows);
    }

private:
    // --- memory of the device ---

    Result<std::byte*> raw(std::span<const std::byte> bytes) {
        auto buffer = TRY(
            m_backend.allocate(static_cast<std::int64_t>(std::max<std::size_t>(64, bytes.size()))));
        std::byte* data = buffer->data();
        m_backend.copy_in(data, bytes);
        m_buffers.push_back(std::move(buffer));
        return data;
    }
    Result<float*> put(Inputs values) {
        return reinterpret_cast<float*>(TRY(raw(std::as_bytes(values))));
    }
    // (rows, cols) of poison, rows apart by cols + 3.
    Result<View<float, 2>> poisoned(std::int64_t rows, std::int64_t cols) {
        float* data = TRY(put(Floats(at(rows * (cols + 3)), kPoison)));
        return View<float, 2>{data, {rows, cols}, {cols + 3, 1}};
    }
    // What lies in a view, and whether the gaps between its rows are still poison.
    Result<Floats> get(View<const float, 2> view, bool* gaps_kept = nullptr) {
        TRY(m_backend.finish());
        Floats all(at(view.extent[0] * view.stride[0]));
        m_backend.copy_out(std::as_writable_bytes(std::span<float>(all)),
                           reinterpret_cast<const std::byte*>(view.data));
        Floats out;
        bool kept = true;
        for (std::int64_t r = 0; r < view.extent[0]; ++r) {
            for (std::int64_t c = 0; c < view.stride[0]; ++c) {
                const float value = all[at(r * view.stride[0] + c)];
                if (c < view.extent[1]) {
                    out.push_back(value);
                } else {
                    kept = kept && std::isnan(value);
                }
            }
        }
        if (gaps_kept != nullptr) {
            *gaps_kept = kept;
        }
        return out;
    }

    // --- random inputs ---

    double uniform() { return std::uniform_real_distribution<double>(0, 1)(m_random); }
    Floats normal(std::int64_t n, double spread = 1.0) {
        std::normal_distribution<double> distribution(0, spread);
        Floats out(at(n));
        for (float& x : out) {
            x = static_cast<float>(distribution(m_random));
        }
        return out;
    }

    struct Matrix {
        Weight weight;  // on the device
        Floats plain;   // dequantised
        Floats extents; // |w| without the cancellation of scale and minimum
    };

    // Random blocks: any bits as quants, scales that keep the weights near one.
    std::vector<std::byte> blocks(DType dtype, std::int64_t n) {
        std::vector<std::byte> out(at(row_bytes(dtype, n)));
        if (!info(dtype).quantised && dtype != DType::F8E4M3) {
            const Floats values = normal(n);
            for (std::int64_t i = 0; i < n; ++i) {
                const float value = values[at(i)];
                const auto bits = std::bit_cast<std::uint32_t>(value);
                if (dtype == DType::F32) {
                    std::memcpy(&out[at(4 * i)], &value, 4);
                } else if (dtype == DType::BF16) {
                    const auto half = static_cast<std::uint16_t>(bits >> 16);
                    std::memcpy(&out[at(2 * i)], &half, 2);
                } else {
                    const std::uint16_t half = random_half();
                    std::memcpy(&out[at(2 * i)], &half, 2);
                }
            }
            return out;
        }
        for (std::byte& b : out) {
            b = static_cast<std::byte>(m_random());
            if (dtype == DType::F8E4M3 && (b & std::byte{0x7F}) == std::byte{0x7F}) {
                b ^= std::byte{1}; // NaN
            }
        }
        const auto size = at(info(dtype).block_bytes);
        for (std::size_t block = 0; info(dtype).quantised && block < out.size(); block += size) {
            const auto scale_at = [&](std::size_t offset) {
                const std::uint16_t half = random_half();
                std::memcpy(&out[block + offset], &half, 2);
            };
            switch (dtype) {
            case DType::Q2_K:
                scale_at(80);
                scale_at(82);
                break;
            case DType::Q3_K:
                scale_at(108);
                break;
            case DType::Q6_K:
                scale_at(208);
                break;
            case DType::MXFP4:
                out[block] = static_cast<std::byte>(120 + m_random() % 10);
                break;
            case DType::Q4_1:
            case DType::Q5_1:
            case DType::Q4_K:
            case DType::Q5_K:
                scale_at(0);
                scale_at(2);
                break;
            default:
                scale_at(0);
                break;
            }
        }
        return out;
    }
    // +-[2^-4, 2^1), all mantissas.
    std::uint16_t random_half() {
        const auto r = static_cast<std::uint32_t>(m_random());
        return static_cast<std::uint16_t>((r & 0x8000) | (11 + (r >> 16) % 5) << 10 | (r & 0x3FF));
    }

    Result<Matrix> matrix(DType dtype, std::int64_t rows, std::int64_t cols,
                          std::int64_t scale_rows = 0, std::int64_t scale_cols = 0) {
        Matrix m;
        const std::vector<std::byte> bytes = blocks(dtype, rows * cols);
        m.plain.resize(at(rows * cols));
        TRY(dequantise(dtype, bytes, m.plain));
        // One byte off any alignment, as tensors in a file may be.
        std::vector<std::byte>& shifted = m_files.emplace_back(bytes.size() + 1);
        std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);
        Weight weight{.dtype = dtype,
                      .rows = rows,
                      .cols = cols,
                      .data = shifted.data() + 1,
                      .row_stride_bytes = row_bytes(dtype, cols)};
        if (scale_rows > 0) {
            const std::int64_t across = (cols + scale_cols - 1) / scale_cols;
            const std::int64_t down = (rows + scale_rows - 1) / scale_rows;
            const Floats& scales = m_factors.emplace_back(normal(across * down));
            for (std::int64_t i = 0; i < rows * cols; ++i) {
                m.plain[at(i)] *=
                    scales[at(i / cols / scale_rows * across + i % cols / scale_cols)];
            }
            weight.scales = scales.data();
            weight.scale_block_rows = scale_rows;
            weight.scale_block_cols = scale_cols;
            weight.scale_stride = across;
        }
        m.weight = TRY(m_backend.place(weight, m_buffers));
        return m;
    }

    // --- comparison ---

    void record(std::string op, std::string shape, double error, double bound, bool kept = true) {
        SelftestRow row{std::move(op), std::move(shape), error, bound, false};
        row.passed = kept && std::isfinite(error) && error <= bound;
        m_rows.push_back(std::move(row));
    }
    // Relative to the largest value wanted.
    static double relative_error(Inputs got, const Values& want) {
        double error = got.size() == want.size() ? 0 : INFINITY;
        double most = 1e-30;
        for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
            const double e = std::fabs(got[i] - want[i]);
            error = std::isnan(e) ? INFINITY : std::max(error, e);
            most = std::max(most, std::fabs(want[i]));
        }
        return error / most;
    }
    Result<void> compare(std::string op, std::string shape, View<const float, 2> got,
                         const Values& want, double bound) {
        bool kept = true;
        const Floats values = TRY(get(got, &kept));
        record(std::move(op), std::move(shape), relative_error(values, want), bound, kept);
        return {};
    }
    static std::string extents(std::initializer_list<std::int64_t> sizes) {
        std::string text;
        for (std::int64_t n : sizes) {
            text += (text.empty() ? "" : " x ") + std::to_string(n);
        }
        return text;
    }

    static constexpr DType kWeightTypes[] = {
        DType::F32,  DType::F16,  DType::BF16,   DType::F8E4M3, DType::Q4_0, DType::Q4_1,
        DType::Q5_0, DType::Q5_1, DType::Q8_0,   DType::Q2_K,   DType::Q3_K, DType::Q4_K,
        DType::Q5_K, DType::Q6_K, DType::IQ4_NL, DType::IQ4_XS, DType::MXFP4};

    // --- the parts ---

    Result<void> embedding() {
        for (DType dtype : kWeightTypes) {
            const std::int64_t cols = info(dtype).block_elems == 1 ? 77 : 512;
            const Matrix table = TRY(matrix(dtype, 9, cols));
            const std::vector<std::int32_t> ids = {8, 0, 3, 3};
            auto out = TRY(poisoned(4, cols));
            m_backend.embed(table.weight, ids, out);
            Values want;
            for (std::int32_t id : ids) {
                for (std::int64_t c = 0; c < cols; ++c) {
                    want.push_back(table.plain[at(id * cols + c)]);
                }
            }
            TRY(compare(std::string("embed ") + to_string(dtype), extents({4, cols}), out, want,
                        0.0));
        }
        return {};
    }

    Result<void> norms() {
        for (auto [tokens, groups, width] :
             {std::tuple{1, 1, 1024}, {7, 1, 77}, {3, 5, 64}, {65, 1, 2560}, {2, 16, 256}}) {
            const std::int64_t cols = groups * width;
            const Floats x = normal(tokens * cols, 3.0);
            const Floats w = normal(width);
            const float* weight = TRY(put(w));
            const View<const float, 2> in{TRY(put(x)), {tokens, cols}};
            auto out = TRY(poisoned(tokens, cols));
            m_backend.rms_norm(in, {weight, w.size()}, 1e-6f, out);
            const Values want = reference::rms_norm(x, w, 1e-6);
            TRY(compare("rms_norm", extents({tokens, groups, width}), out, want, kPointwise));
            View<float, 2> self{TRY(put(x)), {tokens, cols}};
            m_backend.rms_norm(self, {weight, w.size()}, 1e-6f, self);
            TRY(compare("rms_norm in place", extents({tokens, groups, width}), self, want,
                        kPointwise));
        }
        return {};
    }

    Result<void> elementwise() {
        for (auto [tokens, cols] : {std::pair{1, 3072}, {5, 77}, {70, 513}}) {
            const std::string shape = extents({tokens, cols});
            Floats x = normal(tokens * cols, 4.0);
            x[0] = -120.0f; // where exp overflows float32
            x[1] = 120.0f;
            const Floats y = normal(tokens * cols);
            const View<const float, 2> xs{TRY(put(x)), {tokens, cols}};
            const View<const float, 2> ys{TRY(put(y)), {tokens, cols}};

            View<float, 2> sum{TRY(put(x)), {tokens, cols}};
            m_backend.add(sum, ys);
            Values want(x.size());
            for (std::size_t i = 0; i < x.size(); ++i) {
                want[i] = double{x[i]} + y[i];
            }
            TRY(compare("add", shape, sum, want, kPointwise));

            auto out = TRY(poisoned(tokens, cols));
            m_backend.glu({}, xs, ys, out);
            const Values gated = reference::swiglu(x, y);
            TRY(compare("swiglu", shape, out, gated, kPointwise));
            View<float, 2> self{TRY(put(x)), {tokens, cols}};
            m_backend.glu({}, self, ys, self);
            TRY(compare("swiglu in place", shape, self, gated, kPointwise));

            const auto sigmoid = [](double v) { return 1.0 / (1.0 + std::exp(-v)); };
            View<float, 2> gate_out{TRY(put(y)), {tokens, cols}};
            m_backend.sigmoid_gate({gate_out.data, {tokens, 1, cols}},
                                   {xs.data, {tokens, 1, cols}});
            for (std::size_t i = 0; i < x.size(); ++i) {
                want[i] = y[i] * sigmoid(x[i]);
            }
            TRY(compare("sigmoid_gate", shape, gate_out, want, kPointwise));

            View<float, 2> scaled{TRY(put(y)), {tokens, cols}};
            m_backend.sigmoid_scale_rows(scaled, {xs.data, {tokens, 1}, {cols, 1}});
            for (std::size_t i = 0; i < x.size(); ++i) {
                want[i] = y[i] * sigmoid(x[i / at(cols) * at(cols)]);
            }
            TRY(compare("sigmoid_scale_rows", shape, scaled, want, kPointwise));
        }
        return {};
    }

    Result<void> gates_and_scalings() {
        for (auto [tokens, cols] : {std::pair{1, 3072}, {5, 77}, {70, 513}}) {
            const std::string shape = extents({tokens, cols});
            Floats x = normal(tokens * cols, 6.0); // past the limits of a clamped gate
            x[0] = -120.0f;
            x[1] = 120.0f;
            const Floats y = normal(tokens * cols, 6.0);
            // Rows of the inputs lie apart, as columns of a wider product.
            const View<const float, 2> xs = TRY(apart(x, tokens, cols));
            const View<const float, 2> ys = TRY(apart(y, tokens, cols));
            Values want(x.size());
            const auto each = [&](auto&& value) {
                for (std::size_t i = 0; i < want.size(); ++i) {
                    want[i] = value(double{x[i]}, double{y[i]});
                }
            };
            GluSpec gelu;
            gelu.kind = GluSpec::Kind::GeluTanh;
            GluSpec clamped;
            clamped.kind = GluSpec::Kind::Clamped;
            GluSpec tight = clamped;
            tight.alpha = 0.9;
            tight.limit = 2.5;
            for (const auto& [name, spec] :
                 {std::pair{"glu gelu", gelu}, {"glu clamped", clamped}, {"glu clamped", tight}}) {
                auto out = TRY(poisoned(tokens, cols));
                m_backend.glu(spec, xs, ys, out);
                each([&spec = spec](double g, double u) { return reference::glu(spec, g, u); });
                TRY(compare(name, shape, out, want, kPointwise));
                View<float, 2> self{TRY(put(x)), {tokens, cols}};
                m_backend.glu(spec, self, ys, self);
                TRY(compare(std::string(name) + " in place", shape, self, want, kPointwise));
            }

            View<float, 2> capped = TRY(apart(x, tokens, cols));
            m_backend.softcap(capped, 5.0f);
            each([](double v, double) { return 5.0 * std::tanh(v / 5.0); });
            TRY(compare("softcap", shape, capped, want, kPointwise));

            View<float, 2> scaled = TRY(apart(x, tokens, cols));
            m_backend.scale(scaled, 0.707f);
            each([](double v, double) { return v * 0.707f; });
            TRY(compare("scale", shape, scaled, want, kPointwise));

            for (const auto& [a, b] : {std::pair{3.5f, 0.25f}, {1.0f, -2.0f}, {0.0f, 1.0f}}) {
                View<float, 2> blended = TRY(apart(x, tokens, cols));
                m_backend.blend(blended, a, ys, b);
                each([a = a, b = b](double v, double w) { return a * v + b * w; });
                TRY(compare("blend", shape, blended, want, kPointwise));
            }

            const Floats weight = normal(cols);
            const Floats bias = normal(cols);
            const std::span<const float> weight_d(TRY(put(weight)), weight.size());
            const std::span<const float> bias_d(TRY(put(bias)), bias.size());
            Floats shifted = x; // a mean that is not small beside the spread
            for (float& v : shifted) {
                v += 20.0f;
            }
            auto normed = TRY(poisoned(tokens, cols));
            m_backend.layer_norm(TRY(apart(shifted, tokens, cols)), weight_d, bias_d, 1e-6f,
                                 normed);
            want = reference::layer_norm(shifted, weight, bias, 1e-6);
            TRY(compare("layer_norm", shape, normed, want, kPointwise));
            View<float, 2> self{TRY(put(shifted)), {tokens, cols}};
            m_backend.layer_norm(self, weight_d, bias_d, 1e-6f, self);
            TRY(compare("layer_norm in place", shape, self, want, kPointwise));

            const std::int64_t heads = cols % 7 == 0 ? 7 : 3;
            auto copied = TRY(poisoned(tokens, cols));
            const std::int64_t width = cols / heads;
            m_backend.copy_columns(
                {xs.data, {tokens, heads, width}, {xs.stride[0], width, 1}},
                {copied.data, {tokens, heads, width}, {copied.stride[0], width, 1}});
            each([](double v, double) { return v; });
            TRY(compare("copy_columns", shape, copied, want, 0.0));
        }
        return {};
    }
    // Values with gaps of poison between their rows.
    Result<View<float, 2>> apart(const Floats& values, std::int64_t rows, std::int64_t cols) {
        constexpr std::int64_t kGap = 5;
        Floats wide(at(rows * (cols + kGap)), kPoison);
        for (std::int64_t r = 0; r < rows; ++r) {
            std::copy_n(values.begin() + r * cols, cols, wide.begin() + r * (cols + kGap));
        }
        return View<float, 2>{TRY(put(wide)), {rows, cols}, {cols + kGap, 1}};
    }

    Result<void> rotation() {
        for (RopeLayout layout : {RopeLayout::HalfSplit, RopeLayout::Interleaved}) {
            for (auto [tokens, heads, head_dim, dims, first] :
                 {std::tuple{1, 3, 64, 64, 5}, {7, 2, 256, 64, 0}, {3, 5, 20, 6, 100000}}) {
                RopeSpec spec;
                spec.dims = dims;
                spec.theta = 1e6;
                spec.layout = layout;
                const RopeTable table = make_rope_table(spec);
                const Floats x = normal(tokens * heads * head_dim);
                View<float, 2> data{TRY(put(x)), {tokens, heads * head_dim}};
                m_backend.rope({data.data, {tokens, heads, head_dim}}, table, first);
                TRY(compare(layout == RopeLayout::HalfSplit ? "rope half-split"
                                                            : "rope interleaved",
                            extents({tokens, heads, head_dim}), data,
                            reference::rope(x, heads, head_dim, table, first), kPointwise));
            }
        }
        return {};
    }

    // The error of a product in units of what it may be: activation rounding of block formats,
    // and float32 sums.
    Result<void> compare_product(const std::string& op, const Floats& x, const Matrix& m,
                                 Inputs bias, View<const float, 2> got) {
        const std::int64_t tokens = got.extent[0];
        const std::int64_t rows = m.weight.rows;
        const std::int64_t cols = m.weight.cols;
        bool kept = true;
        const Floats values = TRY(get(got, &kept));
        record(op, extents({tokens, rows, cols}),
               product_error(x, m.plain, rounds_inputs(m.weight.dtype), bias, values, cols), 1.0,
               kept);
        return {};
    }

    // x (T, cols) times w (N, cols) against values (T, N).
    static double product_error(const Floats& x, const Floats& w, bool rounded, Inputs bias,
                                Inputs values, std::int64_t cols) {
        const auto tokens = static_cast<std::int64_t>(x.size()) / cols;
        const auto rows = static_cast<std::int64_t>(w.size()) / cols;
        const Values want = reference::matmul(x, w, bias, tokens, rows, cols);
        Floats abs_x = x;
        Floats abs_w = w;
        for (float& v : abs_x) {
            v = std::fabs(v);
        }
        for (float& v : abs_w) {
            v = std::fabs(v);
        }
        const Values allowed = reference::matmul(abs_x, abs_w, {}, tokens, rows, cols);
        const Values rounding = reference::rounding_bound(x, w, tokens, rows, cols);
        double worst = 0;
        for (std::size_t i = 0; i < want.size(); ++i) {
            const double bound = kProduct * (allowed[i] + std::fabs(want[i])) +
                                 (rounded ? rounding[i] : 0.0) + 1e-30;
            const double error = std::fabs(values[i] - want[i]) / bound;
            worst = std::isnan(error) ? INFINITY : std::max(worst, error);
        }
        return worst;
    }

    Result<void> products() {
        for (DType dtype : kWeightTypes) {
            const std::int64_t block = info(dtype).block_elems;
            for (auto [tokens, rows, blocks_across] : {std::tuple{1, 33, 1},
                                                       {1, 300, 3},
                                                       {2, 5, 2},
                                                       {3, 17, 1},
                                                       {5, 40, 3},
                                                       {17, 19, 2},
                                                       {70, 65, 1},
                                                       {300, 150, 2}}) {
                const std::int64_t cols =
                    block == 1 ? 77 * blocks_across + 1 : block * blocks_across;
                const Matrix m = TRY(matrix(dtype, rows, cols));
                const Floats x = normal(tokens * cols);
                const Floats bias = normal(rows);
                auto out = TRY(poisoned(tokens, rows));
                const Product product{m.weight, out, TRY(put(bias))};
                m_backend.matmul({TRY(put(x)), {tokens, cols}}, {&product, 1});
                TRY(compare_product(std::string("matmul ") + to_string(dtype), x, m, bias, out));
            }
        }
        for (auto [scale_rows, scale_cols] : {std::pair{128, 128}, {1, 1000}}) {
            for (std::int64_t tokens : {1, 9}) {
                const std::int64_t cols = 300;
                const Matrix m = TRY(matrix(DType::F8E4M3, 150, cols, scale_rows, scale_cols));
                const Floats x = normal(tokens * cols);
                auto out = TRY(poisoned(tokens, 150));
                m_backend.matmul({TRY(put(x)), {tokens, cols}}, m.weight, out);
                TRY(compare_product(scale_rows == 1 ? "matmul F8_E4M3, scales per row"
                                                    : "matmul F8_E4M3, scales 128 x 128",
                                    x, m, {}, out));
            }
        }
        // Columns of a wider input, as heads and halves of a projection lie.
        for (const DType dtype : {DType::F32, DType::BF16, DType::F8E4M3, DType::Q8_0}) {
            for (const std::int64_t tokens : {1, 3, 19}) {
                const Matrix m = TRY(matrix(dtype, 45, 96));
                const Floats x = normal(tokens * 96);
                auto out = TRY(poisoned(tokens, 45));
                m_backend.matmul(TRY(apart(x, tokens, 96)), m.weight, out);
                TRY(compare_product(std::string("matmul of columns ") + to_string(dtype), x, m, {},
                                    out));
            }
        }
        // One input, several formats and heights.
        for (std::int64_t tokens : {1, 6}) {
            const Floats x = normal(tokens * 512);
            std::vector<Matrix> group;
            std::vector<Product> asked;
            for (auto [dtype, rows] : {std::pair{DType::Q4_K, 70},
                                       {DType::F32, 3},
                                       {DType::Q6_K, 16},
                                       {DType::BF16, 129}}) {
                group.push_back(TRY(matrix(dtype, rows, 512)));
                asked.push_back({group.back().weight, TRY(poisoned(tokens, rows)), nullptr});
            }
            m_backend.matmul({TRY(put(x)), {tokens, 512}}, asked);
            for (std::size_t i = 0; i < group.size(); ++i) {
                TRY(compare_product("matmul group", x, group[i], {}, asked[i].out));
            }
        }
        return {};
    }

    Result<void> attention_over_caches() {
        struct Case {
            std::int64_t tokens, length, query_heads, kv_heads, head_dim, value_dim, window, ring;
            bool sinks;
        };
        const Case cases[] = {
            {1, 1, 2, 1, 64, 64, 0, 0, false},      {1, 333, 8, 2, 128, 128, 0, 0, false},
            {1, 2100, 4, 1, 256, 256, 0, 0, false}, {70, 70, 4, 4, 64, 64, 0, 0, false},
            {37, 111, 6, 2, 24, 40, 0, 0, false},   {5, 150, 8, 1, 64, 64, 16, 20, true},
            {1, 50, 4, 2, 32, 32, 7, 7, true},      {3, 70, 43, 1, 16, 16, 0, 0, true},
            {1, 700, 80, 2, 64, 64, 0, 0, false},   {40, 64, 4, 2, 192, 128, 0, 0, true},
        };
        for (DType dtype : {DType::F32, DType::F16, DType::BF16}) {
            for (const Case& c : cases) {
                const std::int64_t slots = c.ring > 0 ? c.ring : c.length;
                const std::int64_t key_width = c.kv_heads * c.head_dim;
                const std::int64_t value_width = c.kv_heads * c.value_dim;
                const Floats q = normal(c.tokens * c.query_heads * c.head_dim);
                const Floats k = normal(c.length * key_width);
                const Floats v = normal(c.length * value_width);
                const Floats sinks = normal(c.sinks ? c.query_heads : 0);
                std::byte* keys = TRY(raw(std::vector<std::byte>(
                    at(slots * row_bytes(dtype, key_width)), std::byte{0xFF})));
                std::byte* values = TRY(raw(std::vector<std::byte>(
                    at(slots * row_bytes(dtype, value_width)), std::byte{0xFF})));
                // Appended in pieces, as a sequence grows.
                const float* kd = TRY(put(k));
                const float* vd = TRY(put(v));
                for (std::int64_t first = 0; first < c.length;) {
                    const std::int64_t n =
                        std::min({c.length - first, std::max<std::int64_t>(1, first), slots});
                    m_backend.append_kv({kd + first * key_width, {n, c.kv_heads, c.head_dim}},
                                        dtype, keys, first, c.ring);
                    m_backend.append_kv({vd + first * value_width, {n, c.kv_heads, c.value_dim}},
                                        dtype, values, first, c.ring);
                    first += n;
                }
                auto out = TRY(poisoned(c.tokens, c.query_heads * c.value_dim));
                AttentionOp op;
                op.q = {TRY(put(q)), {c.tokens, c.query_heads, c.head_dim}};
                op.cache_dtype = dtype;
                op.keys = keys;
                op.values = values;
                op.length = c.length;
                op.ring = c.ring;
                op.kv_heads = c.kv_heads;
                op.head_dim = c.head_dim;
                op.value_head_dim = c.value_dim;
                op.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
                op.window = c.window;
                op.sinks = c.sinks ? TRY(put(sinks)) : nullptr;
                op.out = {out.data,
                          {c.tokens, c.query_heads, c.value_dim},
                          {out.stride[0], c.value_dim, 1}};
                m_backend.attention(op);
                const Values want =
                    reference::attention({c.tokens, c.length, c.query_heads, c.kv_heads, c.head_dim,
                                          c.value_dim, op.scale, c.window},
                                         q, rounded(k, dtype), rounded(v, dtype), sinks);
                TRY(compare(std::string("attention ") + to_string(dtype) +
                                (c.ring > 0 ? ", ring" : "") + (c.sinks ? ", sinks" : ""),
                            extents({c.tokens, c.length, c.query_heads, c.kv_heads, c.head_dim}),
                            out, want, kSoftmax));
            }
        }
        return {};
    }

    // A matrix for every head.
    Result<void> products_by_head() {
        for (DType dtype : kWeightTypes) {
            const std::int64_t block = info(dtype).block_elems;
            for (auto [tokens, heads, rows, blocks_across] :
                 {std::tuple{1, 5, 19, 1}, {1, 2, 70, 3}, {3, 3, 16, 2}, {20, 4, 33, 1}}) {
                const std::int64_t cols = block == 1 ? 41 * blocks_across : block * blocks_across;
                const Matrix m = TRY(matrix(dtype, heads * rows, cols));
                TRY(compare_heads(std::string("matmul_heads ") + to_string(dtype), m, tokens,
                                  heads));
            }
        }
        const Matrix scaled = TRY(matrix(DType::F8E4M3, 4 * 21, 70, 1, 32));
        return compare_heads("matmul_heads F8_E4M3, scales per row", scaled, 6, 4);
    }
    Result<void> compare_heads(const std::string& op, const Matrix& m, std::int64_t tokens,
                               std::int64_t heads) {
        const std::int64_t cols = m.weight.cols;
        const std::int64_t rows = m.weight.rows / heads;
        // Heads of the input lie apart, as in wider rows.
        const std::int64_t width = cols + 7;
        const Floats x = normal(tokens * heads * width);
        auto out = TRY(poisoned(tokens, heads * rows));
        m_backend.matmul_heads({TRY(put(x)), {tokens, heads, cols}, {heads * width, width, 1}},
                               m.weight,
                               {out.data, {tokens, heads, rows}, {out.stride[0], rows, 1}});
        bool kept = true;
        const Floats values = TRY(get(out, &kept));
        double worst = 0;
        for (std::int64_t h = 0; h < heads; ++h) {
            Floats in;
            Floats got;
            for (std::int64_t t = 0; t < tokens; ++t) {
                const auto from = x.begin() + (t * heads + h) * width;
                in.insert(in.end(), from, from + cols);
                const auto to = values.begin() + (t * heads + h) * rows;
                got.insert(got.end(), to, to + rows);
            }
            const auto first = m.plain.begin() + h * rows * cols;
            worst = std::max(worst, product_error(in, Floats(first, first + rows * cols),
                                                  rounds_inputs(m.weight.dtype), {}, got, cols));
        }
        record(op, extents({tokens, heads, rows, cols}), worst, 1.0, kept);
        return {};
    }

    // One row per position is key and value of all heads; all positions, or some.
    Result<void> attention_over_latents() {
        struct Case {
            std::int64_t tokens, length, heads, latent, rope, most;
        };
        const Case cases[] = {
            {1, 300, 16, 512, 64, 0},  {1, 70, 128, 32, 8, 0},   {40, 90, 5, 24, 8, 0},
            {1, 50, 3, 20, 4, 0},      {3, 65, 43, 16, 6, 0},    {17, 200, 16, 40, 16, 0},
            {1, 300, 16, 512, 64, 40}, {1, 900, 70, 32, 8, 513}, {9, 90, 5, 24, 8, 1},
            {40, 300, 12, 33, 7, 64},  {2, 150, 128, 64, 2, 90},
        };
        for (DType dtype : {DType::F32, DType::F16, DType::BF16}) {
            for (const Case& c : cases) {
                const std::int64_t width = c.latent + c.rope;
                const Floats q = normal(c.tokens * c.heads * width);
                const Floats k = normal(c.length * width);
                std::byte* cache = TRY(raw(std::vector<std::byte>(
                    at(c.length * row_bytes(dtype, width)), std::byte{0xFF})));
                m_backend.append_kv({TRY(put(k)), {c.length, 1, width}}, dtype, cache, 0, 0);
                const Floats keys = rounded(k, dtype);
                Floats values;
                for (std::int64_t p = 0; p < c.length; ++p) {
                    const auto row = keys.begin() + p * width;
                    values.insert(values.end(), row, row + c.latent);
                }
                auto out = TRY(poisoned(c.tokens, c.heads * c.latent));
                AttentionOp op;
                op.q = {TRY(put(q)), {c.tokens, c.heads, width}};
                op.cache_dtype = dtype;
                op.keys = cache;
                op.values = cache;
                op.length = c.length;
                op.kv_heads = 1;
                op.head_dim = width;
                op.value_head_dim = c.latent;
                op.scale = 1.0f / std::sqrt(static_cast<float>(width));
                op.out = {out.data, {c.tokens, c.heads, c.latent}, {out.stride[0], c.latent, 1}};
                const reference::Attention shape{c.tokens, c.length, c.heads,  1,
                                                 width,    c.latent, op.scale, 0};
                std::string name = std::string("latent attention ") + to_string(dtype);
                Values want;
                if (c.most > 0) {
                    const std::vector<std::int32_t> chosen =
                        random_choice(c.tokens, c.length, c.most);
                    op.chosen = reinterpret_cast<const std::int32_t*>(
                        TRY(raw(std::as_bytes(std::span(chosen)))));
                    op.chosen_most = c.most;
                    name += ", chosen positions";
                    want = reference::sparse_attention(shape, q, keys, values, chosen, c.most);
                } else {
                    want = reference::attention(shape, q, keys, values, {});
                }
                m_backend.attention(op);
                TRY(compare(name, extents({c.tokens, c.length, c.heads, c.latent, c.rope}), out,
                            want, kSoftmax));
            }
        }
        return {};
    }
    // For each token 1 to `most` positions of those it sees, ascending, then -1.
    std::vector<std::int32_t> random_choice(std::int64_t tokens, std::int64_t length,
                                            std::int64_t most) {
        std::vector<std::int32_t> chosen;
        for (std::int64_t t = 0; t < tokens; ++t) {
            const std::int64_t seen = length - tokens + t + 1;
            const auto limit = static_cast<std::uint64_t>(std::min(most, seen));
            const auto wanted =
                static_cast<std::int64_t>(t % 3 == 2 ? 1 + m_random() % limit : limit);
            std::int64_t left = wanted;
            for (std::int64_t p = 0; p < seen; ++p) {
                const auto rest = static_cast<std::uint64_t>(seen - p);
                if (m_random() % rest < static_cast<std::uint64_t>(left)) {
                    chosen.push_back(static_cast<std::int32_t>(p));
                    --left;
                }
            }
            chosen.insert(chosen.end(), at(most - wanted), -1);
        }
        return chosen;
    }

    // Which positions sparse attention reads.
    Result<void> choices() {
        struct Case {
            std::int64_t tokens, length, heads, head_dim, most;
        };
        const Case cases[] = {
            {1, 300, 64, 128, 128}, {70, 70, 3, 24, 20}, {5, 2100, 4, 10, 512}, {1, 1, 1, 8, 4},
            {33, 97, 1, 16, 1},     {2, 130, 7, 33, 64}, {1, 65, 2, 20, 64},
        };
        for (DType dtype : {DType::F32, DType::F16, DType::BF16}) {
            for (const Case& c : cases) {
                for (const bool exact : {false, true}) {
                    Floats q = normal(c.tokens * c.heads * c.head_dim);
                    Floats weights = normal(c.tokens * c.heads);
                    Floats keys = normal(c.length * c.head_dim);
                    if (exact) {
                        // Small integers: no sum is rounded, and many scores are equal.
                        for (Floats* values : {&q, &weights, &keys}) {
                            for (float& v : *values) {
                                v = std::trunc(v);
                            }
                        }
                    }
                    std::byte* cache = TRY(raw(std::vector<std::byte>(
                        at(c.length * row_bytes(dtype, c.head_dim)), std::byte{0xFF})));
                    m_backend.append_kv({TRY(put(keys)), {c.length, 1, c.head_dim}}, dtype, cache,
                                        0, 0);
                    std::vector<std::int32_t> got(at(c.tokens * c.most), 0x7FFFFFFF);
                    std::byte* chosen = TRY(raw(std::as_bytes(std::span(got))));
                    ChooseKeysOp op;
                    op.q = {TRY(put(q)), {c.tokens, c.heads, c.head_dim}};
                    op.weights = {TRY(put(weights)), {c.tokens, c.heads}};
                    op.cache_dtype = dtype;
                    op.keys = cache;
                    op.length = c.length;
                    op.most = c.most;
                    op.chosen = reinterpret_cast<std::int32_t*>(chosen);
                    m_backend.choose_keys(op);
                    TRY(m_backend.finish());
                    m_backend.copy_out(std::as_writable_bytes(std::span(got)), chosen);
                    const auto want =
                        reference::choose_keys({c.tokens, c.length, c.heads, c.head_dim, c.most}, q,
                                               weights, rounded(keys, dtype));
                    record(std::string("choose_keys ") + to_string(dtype) +
                               (exact ? ", equal scores" : ""),
                           extents({c.tokens, c.length, c.heads, c.head_dim, c.most}),
                           exact ? (got == want.positions ? 0.0 : 1.0)
                                 : worst_choice(got, want, c.tokens, c.most),
                           exact ? 0.0 : kPointwise);
                }
            }
        }
        return {};
    }
    // How far below the score of what it should have been a chosen position lies, relative to the
    // largest score; infinite for a list that is not ascending or has the wrong length.
    static double worst_choice(std::span<const std::int32_t> got, const reference::Chosen& want,
                               std::int64_t tokens, std::int64_t most) {
        const auto length = static_cast<std::int64_t>(want.scores.size()) / tokens;
        double worst = 0;
        for (std::int64_t t = 0; t < tokens; ++t) {
            const auto score = [&](std::int64_t position) {
                return want.scores[at(t * length + position)];
            };
            double largest = 1e-30;
            for (std::int64_t p = 0; p < length - tokens + t + 1; ++p) {
                largest = std::max(largest, std::fabs(score(p)));
            }
            double least_wanted = INFINITY;
            double least_got = INFINITY;
            for (std::int64_t i = 0; i < most; ++i) {
                const std::int32_t p = got[at(t * most + i)];
                const std::int32_t w = want.positions[at(t * most + i)];
                const bool ascending = i == 0 || p == -1 || p > got[at(t * most + i - 1)];
                if ((p < 0) != (w < 0) || p < -1 || p >= length || !ascending) {
                    return INFINITY;
                }
                if (p >= 0) {
                    least_got = std::min(least_got, score(p));
                    least_wanted = std::min(least_wanted, score(w));
                }
            }
            worst = std::max(worst, (least_wanted - least_got) / largest);
        }
        return worst;
    }

    // To nearest, ties to even, by going through the integers the format can hold.
    static Floats rounded(Floats values, DType dtype) {
        for (float& v : values) {
            if (dtype == DType::F32 || v == 0) {
                continue;
            }
            int exponent = 0;
            std::frexp(v, &exponent);
            const int bits = dtype == DType::F16 ? 11 : 8;
            const int least = dtype == DType::F16 ? -24 : -133; // of the subnormals
            const int unit = std::max(exponent - bits, least);
            v = static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(double{v}, -unit)), unit));
        }
        return values;
    }

    Result<void> gated_delta() {
        struct Case {
            std::int64_t key_heads, value_heads, key_dim, value_dim, conv_kernel;
            double beta_scale;
            HeadMap map;
            std::vector<std::int64_t> pieces;
        };
        const Case cases[] = {
            {2, 4, 128, 128, 4, 1.0, HeadMap::Grouped, {70}},
            {2, 4, 128, 128, 4, 1.0, HeadMap::Tiled, {1, 1, 37, 1}},
            {1, 3, 20, 24, 4, 2.0, HeadMap::Grouped, {2, 33, 1}},
            {3, 3, 64, 32, 3, 1.0, HeadMap::Tiled, {64, 6}},
            {1, 2, 8, 16, 11, 1.0, HeadMap::Grouped, {5, 1, 20}},
        };
        for (const Case& c : cases) {
            const GatedDeltaSpec spec{c.key_heads,   c.value_heads, c.key_dim, c.value_dim,
                                      c.conv_kernel, c.beta_scale,  c.map};
            std::int64_t tokens = 0;
            for (std::int64_t n : c.pieces) {
                tokens += n;
            }
            const std::int64_t channels = spec.conv_channels();
            const std::int64_t width = c.value_heads * c.value_dim;
            const Floats qkv = normal(tokens * channels);
            const Floats z = normal(tokens * width);
            const Floats b = normal(tokens * c.value_heads, 2.0);
            const Floats a = normal(tokens * c.value_heads, 3.0);
            const Floats conv_weight = normal(channels * c.conv_kernel, 0.5);
            const Floats dt_bias = normal(c.value_heads);
            const Floats norm_weight = normal(c.value_dim);
            Floats decay_rate = normal(c.value_heads, 0.5);
            for (float& r : decay_rate) {
                r = -0.3f * std::exp(r);
            }
            const Floats conv_state = normal(channels * (c.conv_kernel - 1));
            const Floats state = normal(c.value_heads * c.key_dim * c.value_dim);

            auto out = TRY(poisoned(tokens, width));
            float* decay = TRY(put(Floats(at(tokens * c.value_heads), kPoison)));
            float* beta = TRY(put(Floats(at(tokens * c.value_heads), kPoison)));
            const float* qkv_d = TRY(put(qkv));
            const float* z_d = TRY(put(z));
            const float* b_d = TRY(put(b));
            const float* a_d = TRY(put(a));
            GatedDeltaOp op;
            op.spec = spec;
            op.conv_weight = TRY(put(conv_weight));
            op.decay_rate = TRY(put(decay_rate));
            op.dt_bias = TRY(put(dt_bias));
            op.norm_weight = TRY(put(norm_weight));
            op.conv_state = TRY(put(conv_state));
            op.state = TRY(put(state));
            std::int64_t first = 0;
            for (std::int64_t n : c.pieces) {
                op.qkv = {qkv_d + first * channels, {n, channels}};
                op.z = {z_d + first * width, {n, width}};
                op.b = {b_d + first * c.value_heads, {n, c.value_heads}};
                op.a = {a_d + first * c.value_heads, {n, c.value_heads}};
                op.out = out.slice(first, n);
                op.decay_out = decay + first * c.value_heads;
                op.beta_out = beta + first * c.value_heads;
                m_backend.gated_delta(op);
                first += n;
            }
            Values conv_want(conv_state.begin(), conv_state.end());
            Values state_want(state.begin(), state.end());
            const auto want =
                reference::gated_delta({spec, tokens, double{op.norm_eps}, qkv, z, b, a,
                                        conv_weight, decay_rate, dt_bias, norm_weight},
                                       conv_want, state_want);
            const std::string shape =
                extents({tokens, c.key_heads, c.value_heads, c.key_dim, c.value_dim}) + " in " +
                std::to_string(c.pieces.size()) + (c.pieces.size() == 1 ? " piece" : " pieces");
            TRY(compare("gated_delta", shape, out, want.out, kRecurrent));
            TRY(compare("gated_delta state", shape, rows(op.state, state.size()), state_want,
                        kRecurrent));
            TRY(compare("gated_delta conv state", shape, rows(op.conv_state, conv_state.size()),
                        conv_want, 0.0));
            TRY(compare("gated_delta decay", shape, rows(decay, want.decay.size()), want.decay,
                        kPointwise));
            TRY(compare("gated_delta beta", shape, rows(beta, want.beta.size()), want.beta,
                        kPointwise));
        }
        return {};
    }

    Result<void> lightning() {
        struct Case {
            std::int64_t heads, head_dim, groups;
            bool silu, per_head;
            double layer_factor; // of rates; 1e-5: hardly anything fades; 1: the first head nearly
                                 // all of it
            std::vector<std::int64_t> pieces;
        };
        const Case cases[] = {
            {4, 128, 1, true, true, 1.0, {200}},
            {4, 128, 4, false, false, 0.3, {1, 1, 64, 1, 65}},
            {3, 20, 6, false, true, 1.0, {2, 63, 1, 7}},
            {5, 10, 1, true, false, 1e-5, {70, 1}},
            {1, 7, 7, true, true, 0.5, {1, 3, 90}},
            {2, 48, 2, false, false, 1.0, {6, 5, 66}},
        };
        for (const Case& c : cases) {
            LightningSpec spec;
            spec.heads = c.heads;
            spec.head_dim = c.head_dim;
            spec.silu = c.silu;
            spec.scale = c.silu ? 1.0 : 1.0 / std::sqrt(static_cast<double>(c.head_dim));
            spec.norm_groups = c.groups;
            std::int64_t tokens = 0;
            for (std::int64_t n : c.pieces) {
                tokens += n;
            }
            const std::int64_t width = c.heads * c.head_dim;
            const Floats qkv = normal(tokens * 3 * width);
            const Floats gate = normal(tokens * width, 2.0);
            const Floats norm_weight = normal(width);
            Floats rates;
            for (std::int64_t h = 1; h <= c.heads; ++h) {
                const double slope =
                    std::exp2(-8.0 * static_cast<double>(h) / static_cast<double>(c.heads));
                rates.push_back(static_cast<float>(slope * c.layer_factor));
            }
            const Floats state = normal(width * c.head_dim);
            // q, k and v as the mixer finds them in one projection.
            const std::int64_t part = c.per_head ? c.head_dim : width;
            const std::int64_t head = c.per_head ? 3 * c.head_dim : c.head_dim;
            std::array<Floats, 3> apart;
            for (std::int64_t t = 0; t < tokens; ++t) {
                for (std::int64_t i = 0; i < 3 * width; ++i) {
                    const std::int64_t of = i / width;
                    const std::int64_t h = i % width / c.head_dim;
                    const std::int64_t d = i % c.head_dim;
                    apart[at(of)].push_back(qkv[at(t * 3 * width + of * part + h * head + d)]);
                }
            }
            auto out = TRY(poisoned(tokens, width));
            const float* qkv_d = TRY(put(qkv));
            const float* gate_d = TRY(put(gate));
            LightningOp op;
            op.spec = spec;
            op.decay_rates = TRY(put(rates));
            op.norm_weight = TRY(put(norm_weight));
            op.state = TRY(put(state));
            std::int64_t first = 0;
            for (std::int64_t n : c.pieces) {
                View<const float, 3>* const views[] = {&op.q, &op.k, &op.v};
                for (std::int64_t of = 0; of < 3; ++of) {
                    *views[of] =
                        View<const float, 3>(qkv_d + first * 3 * width + of * part,
                                             {n, c.heads, c.head_dim}, {3 * width, head, 1});
                }
                op.gate = {gate_d + first * width, {n, width}};
                op.out = out.slice(first, n);
                m_backend.lightning(op);
                first += n;
            }
            Values state_want(state.begin(), state.end());
            const Values want = reference::lightning({spec, tokens, double{op.norm_eps}, apart[0],
                                                      apart[1], apart[2], gate, rates, norm_weight},
                                                     state_want);
            const std::string shape =
                extents({tokens, c.heads, c.head_dim}) + (c.silu ? " silu" : "") + " in " +
                std::to_string(c.pieces.size()) + (c.pieces.size() == 1 ? " piece" : " pieces");
            TRY(compare("lightning", shape, out, want, kRecurrent));
            TRY(compare("lightning state", shape, rows(op.state, state.size()), state_want,
                        kRecurrent));
        }
        return {};
    }

    Result<void> kda() {
        struct Case {
            std::int64_t heads, head_dim, conv_kernel;
            double bound;
            std::vector<std::int64_t> pieces;
        };
        const Case cases[] = {
            {4, 128, 4, 0.0, {70}},      {4, 128, 4, -5.0, {1, 1, 37, 1, 90}},
            {3, 20, 4, 0.0, {2, 33, 1}}, {2, 96, 3, -5.0, {64, 65}},
            {1, 37, 1, 0.0, {5, 1, 70}},
        };
        for (const Case& c : cases) {
            KdaSpec spec;
            spec.heads = c.heads;
            spec.head_dim = c.head_dim;
            spec.conv_kernel = c.conv_kernel;
            spec.decay_bound = c.bound;
            std::int64_t tokens = 0;
            for (std::int64_t n : c.pieces) {
                tokens += n;
            }
            const std::int64_t width = spec.channels();
            const Floats q = normal(tokens * width);
            const Floats k = normal(tokens * width);
            const Floats v = normal(tokens * width);
            Floats decay = normal(tokens * width, 3.0);
            decay[0] = 40.0f; // where softplus is the identity
            decay[1] = -90.0f;
            const Floats b = normal(tokens * c.heads, 2.0);
            const Floats gate = normal(tokens * width);
            const Floats conv_weight = normal(3 * width * c.conv_kernel, 0.5);
            const Floats dt_bias = normal(width);
            const Floats norm_weight = normal(c.head_dim);
            Floats decay_rate = normal(c.heads, 0.5);
            for (float& r : decay_rate) {
                r = -0.3f * std::exp(r);
            }
            const Floats conv_state = normal(3 * width * (c.conv_kernel - 1));
            const Floats state = normal(width * c.head_dim);

            auto out = TRY(poisoned(tokens, width));
            float* decay_out = TRY(put(Floats(at(tokens * c.heads), kPoison)));
            float* beta_out = TRY(put(Floats(at(tokens * c.heads), kPoison)));
            const float* inputs[] = {TRY(put(q)), TRY(put(k)), TRY(put(v)), TRY(put(decay)),
                                     TRY(put(gate))};
            const float* b_d = TRY(put(b));
            KdaOp op;
            op.spec = spec;
            op.conv_weight = TRY(put(conv_weight));
            op.decay_rate = TRY(put(decay_rate));
            op.dt_bias = TRY(put(dt_bias));
            op.norm_weight = TRY(put(norm_weight));
            op.conv_state = TRY(put(conv_state));
            op.state = TRY(put(state));
            std::int64_t first = 0;
            for (std::int64_t n : c.pieces) {
                View<const float, 2>* const views[] = {&op.q, &op.k, &op.v, &op.decay, &op.gate};
                for (std::size_t i = 0; i < std::size(views); ++i) {
                    *views[i] = {inputs[i] + first * width, {n, width}};
                }
                op.b = {b_d + first * c.heads, {n, c.heads}};
                op.out = out.slice(first, n);
                op.decay_out = decay_out + first * c.heads;
                op.beta_out = beta_out + first * c.heads;
                m_backend.kda(op);
                first += n;
            }
            Values conv_want(conv_state.begin(), conv_state.end());
            Values state_want(state.begin(), state.end());
            const auto want = reference::kda({spec, tokens, double{op.norm_eps}, q, k, v, decay, b,
                                              gate, conv_weight, decay_rate, dt_bias, norm_weight},
                                             conv_want, state_want);
            const std::string shape =
                extents({tokens, c.heads, c.head_dim}) + (c.bound < 0 ? " bounded" : "") + " in " +
                std::to_string(c.pieces.size()) + (c.pieces.size() == 1 ? " piece" : " pieces");
            TRY(compare("kda", shape, out, want.out, kRecurrent));
            TRY(compare("kda state", shape, rows(op.state, state.size()), state_want, kRecurrent));
            TRY(compare("kda conv state", shape, rows(op.conv_state, conv_state.size()), conv_want,
                        0.0));
            TRY(compare("kda decay", shape, rows(decay_out, want.decay.size()), want.decay,
                        kPointwise));
            TRY(compare("kda beta", shape, rows(beta_out, want.beta.size()), want.beta,
                        kPointwise));
        }
        return {};
    }

    // What Kimi K3 has between its mixers: attention residuals, and a gate bounded by tanh.
    Result<void> residual_streams() {
        for (auto [tokens, width, count] :
             {std::tuple{1, 512, 1}, {1, 72, 9}, {19, 77, 2}, {130, 64, 5}}) {
            std::vector<Floats> values;
            std::vector<Inputs> inputs;
            std::vector<View<const float, 2>> streams;
            for (int s = 0; s < count; ++s) {
                values.push_back(normal(tokens * width, s == 1 ? 30.0 : 0.5));
                streams.emplace_back(TRY(put(values.back())),
                                     std::array<std::int64_t, 2>{tokens, width});
            }
            inputs.assign(values.begin(), values.end());
            const Floats query = normal(width, 0.3);
            const std::span<const float> query_d(TRY(put(query)), query.size());
            auto out = TRY(poisoned(tokens, width));
            m_backend.mix_streams(streams, query_d, 1e-5f, out);
            TRY(compare("mix_streams", extents({count, tokens, width}), out,
                        reference::mix_streams(inputs, query, 1e-5), kSoftmax));
        }
        for (auto [tokens, cols] : {std::pair{1, 3072}, {5, 77}, {70, 513}}) {
            GluSpec spec;
            spec.kind = GluSpec::Kind::Situ;
            spec.beta = cols == 77 ? 2.5 : 4.0;
            Floats gate = normal(tokens * cols, 4.0);
            gate[0] = -120.0f;
            gate[1] = 120.0f;
            gate[2] = 1e-6f;
            const Floats up = normal(tokens * cols, 20.0);
            auto out = TRY(poisoned(tokens, cols));
            m_backend.glu(spec, {TRY(put(gate)), {tokens, cols}}, {TRY(put(up)), {tokens, cols}},
                          out);
            TRY(compare("glu situ", extents({tokens, cols}), out, reference::situ(spec, gate, up),
                        kPointwise));
        }
        return {};
    }

    static View<const float, 2> rows(const float* data, std::size_t n) {
        return {data, {1, static_cast<std::int64_t>(n)}};
    }

    Result<void> mixture() {
        using Score = MoeSpec::Score;
        struct Case {
            std::int64_t tokens;
            Score score;
            bool normalise, bias;
            std::int64_t groups, kept, best;
            bool expert_bias;
            GluSpec::Kind glu;
        };
        const Case cases[] = {
            {1, Score::Softmax, true, false, 1, 1, 2, false, GluSpec::Kind::Silu},
            {23, Score::Softmax, false, false, 1, 1, 2, false, GluSpec::Kind::Silu},
            {9, Score::Sigmoid, true, true, 1, 1, 2, false, GluSpec::Kind::Silu},
            {17, Score::Sigmoid, true, true, 4, 2, 2, false, GluSpec::Kind::Silu},
            {11, Score::Softmax, false, false, 2, 1, 1, false, GluSpec::Kind::GeluTanh},
            {13, Score::SoftmaxOfChosen, false, false, 1, 1, 2, true, GluSpec::Kind::Clamped},
            {1, Score::SoftmaxOfChosen, false, false, 1, 1, 2, true, GluSpec::Kind::Clamped},
        };
        for (const auto& [tokens, score, normalise, bias, groups, kept, best, expert_bias, glu] :
             cases) {
            const std::int64_t hidden = 72;
            MoeSpec spec;
            spec.experts = groups > 1 ? 8 : 7;
            spec.top_k = 3;
            spec.intermediate = 40;
            spec.groups = groups;
            spec.groups_kept = kept;
            spec.group_best = best;
            spec.expert_bias = expert_bias;
            spec.glu.kind = glu;
            spec.score = score;
            spec.normalise_top_k = normalise;
            spec.weight_scale = 2.5;
            Floats gate;
            Floats up;
            Floats down;
            std::vector<Weight> gates;
            std::vector<Weight> ups;
            std::vector<Weight> downs;
            for (std::int64_t e = 0; e < spec.experts; ++e) {
                for (auto [list, plain, r, c] :
                     {std::tuple{&gates, &gate, spec.intermediate, hidden},
                      {&ups, &up, spec.intermediate, hidden},
                      {&downs, &down, hidden, spec.intermediate}}) {
                    const Matrix m = TRY(matrix(DType::BF16, r, c));
                    list->push_back(m.weight);
                    plain->insert(plain->end(), m.plain.begin(), m.plain.end());
                }
            }
            const Floats x = normal(tokens * hidden, 0.3);
            Floats scores = normal(tokens * spec.experts);
            scores[2] = scores[5]; // equal: the lower index is taken
            const Floats choice = normal(bias ? spec.experts : 0);
            auto out = TRY(poisoned(tokens, hidden));
            std::byte* chosen = TRY(raw(std::vector<std::byte>(at(tokens * spec.top_k) * 4)));
            MoeOp op;
            op.spec = spec;
            op.x = {TRY(put(x)), {tokens, hidden}};
            op.scores = {TRY(put(scores)), {tokens, spec.experts}};
            op.choice_bias = bias ? TRY(put(choice)) : nullptr;
            op.gate = gates;
            op.up = ups;
            op.down = downs;
            op.out = out;
            op.chosen_out = reinterpret_cast<std::int32_t*>(chosen);
            const std::int64_t bias_rows = expert_bias ? spec.experts : 0;
            const std::array<Floats, 3> biases{normal(bias_rows * spec.intermediate),
                                               normal(bias_rows * spec.intermediate),
                                               normal(bias_rows * hidden)};
            std::array<std::vector<const float*>, 3> bias_of;
            for (std::size_t part = 0; part < 3 && expert_bias; ++part) {
                const float* const data = TRY(put(biases[part]));
                const std::int64_t width = part < 2 ? spec.intermediate : hidden;
                for (std::int64_t e = 0; e < spec.experts; ++e) {
                    bias_of[part].push_back(data + e * width);
                }
            }
            op.gate_bias = bias_of[0];
            op.up_bias = bias_of[1];
            op.down_bias = bias_of[2];
            m_backend.moe(op);
            const auto want = reference::moe(spec, x, scores, choice, gate, up, down, tokens,
                                             hidden, {biases[0], biases[1], biases[2]});
            const std::string shape = extents({tokens, spec.experts, spec.top_k, hidden});
            TRY(compare("moe", shape, out, want.out, kSoftmax));
            std::vector<std::int32_t> got(want.chosen.size());
            TRY(m_backend.finish());
            m_backend.copy_out(std::as_writable_bytes(std::span<std::int32_t>(got)), chosen);
            record("moe choice", shape, got == want.chosen ? 0.0 : 1.0, 0.0);
        }
        return {};
    }

    // Steps of a small model without mixers, one after another: a backend may know them again and
    // run several ops as one.
    Result<void> decode_steps() {
        constexpr std::int64_t kHidden = 256;
        constexpr std::int64_t kInter = 512;
        constexpr std::int64_t kVocab = 32;
        constexpr int kLayers = 4;
        for (const auto& [dtype, bound] : {std::pair{DType::BF16, kSoftmax},
                                           {DType::Q8_0, kEightBits},
                                           {DType::Q4_K, kEightBits}}) {
            for (const std::int64_t tokens : {1, 3}) {
                const Matrix table = TRY(matrix(DType::F32, kVocab, kHidden));
                const Matrix gate = TRY(matrix(dtype, kInter, kHidden));
                const Matrix up = TRY(matrix(dtype, kInter, kHidden));
                const Matrix down = TRY(matrix(dtype, kHidden, kInter));
                const Floats weight = normal(kHidden);
                const std::span<const float> norm(TRY(put(weight)), weight.size());
                const auto room = [&](std::int64_t cols) -> Result<View<float, 2>> {
                    return View<float, 2>{TRY(put(Floats(at(tokens * cols), kPoison))),
                                          {tokens, cols}};
                };
                auto x = TRY(room(kHidden));
                auto normed = TRY(room(kHidden));
                auto gates = TRY(room(kInter));
                auto ups = TRY(room(kInter));
                auto mixed = TRY(room(kHidden));
                for (std::int32_t step = 0; step < 4; ++step) {
                    std::vector<std::int32_t> ids;
                    Floats want;
                    for (std::int64_t t = 0; t < tokens; ++t) {
                        ids.push_back((7 * step + static_cast<std::int32_t>(t)) % kVocab);
                        const auto row = table.plain.begin() + ids.back() * kHidden;
                        want.insert(want.end(), row, row + kHidden);
                    }
                    m_backend.embed(table.weight, ids, x);
                    for (int layer = 0; layer < kLayers; ++layer) {
                        m_backend.rms_norm(x, norm, 1e-6f, normed);
                        const std::array<Product, 2> products{
                            {{gate.weight, gates, nullptr}, {up.weight, ups, nullptr}}};
                        m_backend.matmul(normed, products);
                        m_backend.glu({}, gates, ups, gates);
                        m_backend.matmul(gates, down.weight, mixed);
                        m_backend.add(x, mixed);
                        const Floats in = narrowed(reference::rms_norm(want, weight, 1e-6));
                        const auto times = [&](const Floats& from, const Matrix& m) {
                            return narrowed(reference::matmul(from, m.plain, {}, tokens,
                                                              m.weight.rows, m.weight.cols));
                        };
                        const Floats mid =
                            narrowed(reference::swiglu(times(in, gate), times(in, up)));
                        const Floats branch = times(mid, down);
                        for (std::size_t i = 0; i < want.size(); ++i) {
                            want[i] += branch[i];
                        }
                    }
                    m_backend.rms_norm(x, norm, 1e-6f, normed);
                    TRY(compare(std::string("decode step ") + to_string(dtype),
                                extents({tokens, kHidden, kInter}), normed,
                                reference::rms_norm(want, weight, 1e-6), bound));
                }
            }
        }
        return {};
    }
    static Floats narrowed(const Values& values) { return {values.begin(), values.end()}; }

    Backend& m_backend;
    std::stop_token m_stop;
    std::mt19937_64 m_random;
    std::vector<std::unique_ptr<Buffer>> m_buffers;
    std::list<std::vector<std::byte>> m_files; // what matrices lie in before they are placed
    std::list<Floats> m_factors;
    std::vector<SelftestRow> m_rows;
};

} // namespace

Result<std::vector<SelftestRow>> selftest(Backend& backend, const SelftestOptions& options,
                                          std::stop_token stop) {
    return Suite(backend, options, std::move(stop)).run();
}

std::string selftest_table(const std::vector<SelftestRow>& rows) {
    // The worst of each op, in the order of their first rows.
    struct Line {
        const SelftestRow* worst = nullptr;
        int count = 0;
        int failed = 0;
    };
    std::vector<std::pair<std::string, Line>> lines;
    const auto badness = [](const SelftestRow& row) {
        return row.bound > 0 ? row.error / row.bound : row.error;
    };
    int failed = 0;
    for (const SelftestRow& row : rows) {
        auto line = std::find_if(lines.begin(), lines.end(),
                                 [&](const auto& l) { return l.first == row.op; });
        if (line == lines.end()) {
            lines.emplace_back(row.op, Line{});
            line = lines.end() - 1;
        }
        Line& l = line->second;
        ++l.count;
        if (!row.passed) {
            ++l.failed;
            ++failed;
        }
        if (l.worst == nullptr || (!row.passed && l.worst->passed) ||
            (row.passed == l.worst->passed && badness(row) > badness(*l.worst))) {
            l.worst = &row;
        }
    }
    std::string text;
    char buffer[256];
    std::snprintf(buffer, sizeof(buffer), "%-34s %5s  %-9s %-9s  %s\n", "op", "cases", "error",
                  "allowed", "worst case");
    text += buffer;
    for (const auto& [op, line] : lines) {
        std::snprintf(buffer, sizeof(buffer), "%-34s %5d  %-9.2g %-9.2g  %s%s\n", op.c_str(),
                      line.count, line.worst->error, line.worst->bound, line.worst->shape.c_str(),
                      line.failed > 0 ? "  FAILED" : "");
        text += buffer;
    }
    std::snprintf(buffer, sizeof(buffer), "%zu comparisons, %d failed\n", rows.size(), failed);
    return text + buffer;
}

} // namespace hs
