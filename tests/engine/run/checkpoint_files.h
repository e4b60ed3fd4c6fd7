#pragma once
// The reference checkpoints of tests/data/checkpoints (made by tests/reference/*_checkpoints.py)
// and what transformers computed with them.

#include "engine/backend/backend.h"
#include "engine/files/checkpoint.h"
#include "engine/run/model.h"
#include "engine/run/sequence.h"

#include <QtTest>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace hs::test {

// HYBRIDSCOPE_CHECKPOINTS names another folder of the same layout (sweep_checkpoints.py).
inline std::filesystem::path checkpoint_folder() {
    const QByteArray other = qgetenv("HYBRIDSCOPE_CHECKPOINTS");
    return other.isEmpty() ? std::filesystem::path(HS_TEST_CHECKPOINTS)
                           : std::filesystem::path(other.toStdString());
}

struct CheckpointFile {
    std::string name; // "qwen3.5, gguf"
    std::filesystem::path model;
    std::filesystem::path expected;
};

inline std::vector<CheckpointFile> checkpoint_files() {
    std::vector<CheckpointFile> files;
    for (const auto& entry : std::filesystem::directory_iterator(checkpoint_folder())) {
        const std::filesystem::path folder = entry.path();
        const std::filesystem::path expected = folder / "expected.safetensors";
        if (!std::filesystem::exists(expected)) {
            continue;
        }
        files.push_back({folder.filename().string() + ", safetensors", folder / "hf", expected});
        if (std::filesystem::exists(folder / "model.gguf")) {
            files.push_back(
                {folder.filename().string() + ", gguf", folder / "model.gguf", expected});
        }
    }
    std::sort(files.begin(), files.end(),
              [](const CheckpointFile& a, const CheckpointFile& b) { return a.name < b.name; });
    return files;
}

struct Expected {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> greedy;
    std::vector<float> logits; // (tokens, vocab)
    std::int64_t vocab = 0;
};

// Another tensor of an expected file, f32.
inline std::vector<float> read_floats(const std::filesystem::path& path, const char* name) {
    Result<Checkpoint> file = Checkpoint::open(path);
    const TensorInfo* tensor = file.ok() ? file->find(name) : nullptr;
    if (tensor == nullptr) {
        qFatal("%s lacks %s", path.string().c_str(), name);
    }
    std::vector<float> values(static_cast<std::size_t>(tensor->elements()));
    std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
    return values;
}

inline Expected read_expected(const std::filesystem::path& path) {
    Result<Checkpoint> file = Checkpoint::open(path);
    if (!file.ok()) {
        qFatal("%s", file.error().text().c_str());
    }
    Expected expected;
    const auto copy = [&](const char* name, auto& into) {
        const TensorInfo* tensor = file->find(name);
        if (tensor == nullptr) {
            qFatal("%s lacks %s", path.string().c_str(), name);
        }
        into.resize(static_cast<std::size_t>(tensor->elements()));
        std::memcpy(into.data(), tensor->data.data(), tensor->data.size());
        return tensor->shape.back();
    };
    copy("tokens", expected.tokens);
    copy("greedy", expected.greedy);
    expected.vocab = copy("logits", expected.logits);
    return expected;
}

inline std::shared_ptr<Backend> cpu() {
    static const std::shared_ptr<Backend> backend = make_cpu_backend(1);
    return backend;
}

inline std::shared_ptr<const Model> load(const std::filesystem::path& path) {
    Result<Checkpoint> file = Checkpoint::open(path);
    if (!file.ok()) {
        qFatal("%s", file.error().text().c_str());
    }
    auto model = Model::load(cpu(), std::move(*file));
    if (!model.ok()) {
        qFatal("%s", model.error().text().c_str());
    }
    return **model;
}

inline std::unique_ptr<Sequence> sequence(std::shared_ptr<const Model> model,
                                          std::int64_t context = 512, DType kv = DType::F32) {
    SequenceOptions options;
    options.state.kv_dtype = kv;
    options.state.context_tokens = context;
    auto made = Sequence::create(std::move(model), options);
    if (!made.ok()) {
        qFatal("%s", made.error().text().c_str());
    }
    return std::move(*made);
}

// Logits (T, vocab) of ids appended in pieces; piece 0: all at once.
inline std::vector<float> run(const Model& model, Sequence& sequence,
                              std::span<const std::int32_t> ids, std::int64_t piece = 0) {
    const std::int64_t vocab = model.spec().vocab;
    const auto tokens = static_cast<std::int64_t>(ids.size());
    std::vector<float> logits(static_cast<std::size_t>(tokens * vocab));
    const std::int64_t step = piece > 0 ? piece : tokens;
    for (std::int64_t first = 0; first < tokens; first += step) {
        const std::int64_t count = std::min(step, tokens - first);
        const View<float, 2> rows(logits.data() + first * vocab, {count, vocab});
        const auto result = model.forward(
            sequence, ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
            Model::Logits::All, rows);
        if (!result.ok()) {
            qFatal("%s", result.error().text().c_str());
        }
    }
    return logits;
}

// The worst over positions of largest difference over largest value, and of the same with norms.
struct Difference {
    double worst_value = 0;
    double worst_norm = 0;
};

inline Difference difference(std::span<const float> found, std::span<const float> expected,
                             std::int64_t vocab) {
    Difference worst;
    for (std::size_t at = 0; at < expected.size(); at += static_cast<std::size_t>(vocab)) {
        double largest = 0, largest_value = 0, sum = 0, sum_value = 0;
        for (std::size_t i = at; i < at + static_cast<std::size_t>(vocab); ++i) {
            const double d = std::abs(double(found[i]) - double(expected[i]));
            largest = std::isnan(d) ? INFINITY : std::max(largest, d);
            largest_value = std::max(largest_value, std::abs(double(expected[i])));
            sum += d * d;
            sum_value += double(expected[i]) * double(expected[i]);
        }
        worst.worst_value = std::max(worst.worst_value, largest / largest_value);
        worst.worst_norm = std::max(worst.worst_norm, std::sqrt(sum / sum_value));
    }
    return worst;
}

inline std::int32_t largest(std::span<const float> logits) {
    return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) -
                                     logits.begin());
}

} // namespace hs::test
