#pragma once
// Weights for the mixers: out of a checkpoint, without copying where rows lie as they are needed,
// or from a seed. Included by engine/run alone.

#include "engine/backend/backend.h"
#include "engine/core/memory.h"
#include "engine/core/result.h"
#include "engine/files/checkpoint.h"
#include "engine/mixers/mixers.h"
#include "engine/spec/families.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

namespace hs {

// Everything a model's weights point into, apart from the checkpoint's mapping.
struct WeightMemory {
    std::vector<std::unique_ptr<Buffer>> buffers;     // on the backend: vectors, placed matrices
    std::vector<std::unique_ptr<std::byte[]>> copies; // re-laid rows
    std::vector<std::unique_ptr<float[]>> scales;     // FP8 block factors
    GrowingMemory taken_in;                           // rows read faster here than in the mapping
    std::int64_t bytes = 0;                           // of all weights, mapped ones included
    bool rounds_inputs = false;                       // any matrix whose products may
};

// Null where there is no memory.
std::unique_ptr<std::byte[]> allocate_bytes(std::int64_t bytes);
Error out_of_memory(const std::string& name, std::int64_t bytes);
// f32 values on the backend.
Result<std::span<const float>> place_values(Backend& backend, WeightMemory& memory,
                                            std::span<const float> values);

class CheckpointWeights final : public WeightSource {
public:
    CheckpointWeights(Backend& backend, const Checkpoint& checkpoint, TensorMap tensors,
                      WeightMemory& memory, std::stop_token stop,
                      std::function<void(std::int64_t done_bytes)> progress);

    Result<Weight> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override;
    Result<Weight> table(const std::string& name, std::int64_t rows, std::int64_t cols) override;
    Result<std::span<const float>> vector(const std::string& name, std::int64_t count) override;
    Result<std::span<const float>> constants(std::span<const float> values) override;

    // True once an error of this source was the wish to stop, not a failure.
    bool stopped() const { return m_stopped; }
    // Names of the checkpoint that were asked for, those of scales included.
    const std::set<std::string, std::less<>>& used() const { return m_used; }

private:
    struct Found;
    Result<Found> find(const std::string& name);
    Result<Weight> mapped(const Found& found, std::int64_t rows, std::int64_t cols);
    Result<Weight> unpacked(const Found& found, std::int64_t rows, std::int64_t cols);
    Result<Weight> packed_mxfp4(const Found& found, std::int64_t rows, std::int64_t cols);
    Result<std::vector<float>> values_of(const Found& found);
    static Error misfit(const Found& found, const std::string& expected);
    Result<void> attach_scales(Weight& weight, const Found& found, std::int64_t file_rows);
    Result<void> select_rows(Weight& weight, const Found& found);
    Result<Weight> transpose(const Weight& weight, const Found& found);
    void take_in(Weight& weight, const TensorInfo& tensor);
    void count(const TensorInfo& tensor);

    Backend* m_backend;
    const Checkpoint* m_checkpoint;
    TensorMap m_tensors;
    WeightMemory* m_memory;
    std::stop_token m_stop;
    std::function<void(std::int64_t)> m_progress;
    std::set<std::string, std::less<>> m_used;
    std::map<std::string, const float*> m_factors; // FP8 factors by tensor
    std::map<const std::byte*, Weight> m_taken_in; // by where it lies in the mapping
    std::size_t m_taken_in_bytes = 0;
    std::int64_t m_done_bytes = 0;
    bool m_stopped = false;
};

// Nothing but the names that a model would ask a checkpoint for: weights without values, to be
// built from and not run.
class NamesAlone final : public WeightSource {
public:
    explicit NamesAlone(const TensorMap& tensors)
        : m_tensors(&tensors) {}

    Result<Weight> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override;
    Result<std::span<const float>> vector(const std::string& name, std::int64_t count) override;
    Result<std::span<const float>> constants(std::span<const float> values) override;
    // Names that loading would use where the checkpoint has them, those of scales included.
    const std::set<std::string, std::less<>>& used() const { return m_used; }

private:
    Result<void> note(const std::string& name);
    std::span<const float> zeros(std::size_t count);

    const TensorMap* m_tensors;
    std::set<std::string, std::less<>> m_used;
    std::vector<std::unique_ptr<float[]>> m_zeros;
    std::size_t m_widest = 0; // of the last of them
};

// Seeded random weights of one type, scaled so that activations neither die nor explode.
// F32, F16, BF16, Q8_0, Q4_0 and Q4_K where a row divides into blocks, BF16 where it does not.
class SyntheticWeights final : public WeightSource {
public:
    SyntheticWeights(Backend& backend, std::uint64_t seed, DType dtype, WeightMemory& memory,
                     std::stop_token stop = {});

    Result<Weight> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override;
    Result<std::span<const float>> vector(const std::string& name, std::int64_t count) override;
    Result<std::span<const float>> constants(std::span<const float> values) override;
    bool stopped() const { return m_stopped; } // an error was the wish to stop

private:
    Backend* m_backend;
    std::uint64_t m_seed;
    DType m_dtype;
    WeightMemory* m_memory;
    std::stop_token m_stop;
    bool m_stopped = false;
};

// About what random weights of a spec take, before any are made.
std::int64_t synthetic_bytes(const ModelSpec& spec, DType dtype);

} // namespace hs
