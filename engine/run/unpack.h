#pragma once
// Integer matrices of compressed-tensors checkpoints in a form that products know (formats.md
// section 3.3). Knows tensors by their module's name, not what they are for.
// Included by engine/run alone.

#include "engine/core/result.h"
#include "engine/core/tensor_view.h"
#include "engine/files/checkpoint.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace hs {

struct Unpacked {
    DType dtype = DType::F32;
    std::unique_ptr<std::byte[]> bytes; // (rows, cols)
};

// module + ".weight_packed" (I32, 2, 4 or 8 bits) or module + ".weight" (I8), with ".weight_scale"
// and, where they are, ".weight_zero_point" and ".weight_g_idx". Q4_0 or Q8_0 where these hold the
// same values exactly, else F32. `used` is told every tensor read.
// Errors: Corrupt, Unsupported, NotFound, OutOfMemory, with the tensor's name.
Result<Unpacked> unpack_integers(const Checkpoint& checkpoint, const std::string& module,
                                 std::int64_t rows, std::int64_t cols,
                                 const std::function<void(const TensorInfo&)>& used);

} // namespace hs
