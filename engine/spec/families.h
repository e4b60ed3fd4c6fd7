#pragma once
// Model families: which architectures are known, and how a checkpoint of each becomes a ModelSpec
// and a map from the spec's tensors to the checkpoint's. REGISTER A FAMILY in families.cpp: one
// declaration, one row.

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/files/checkpoint.h"
#include "engine/spec/model_spec.h"

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// Where a tensor of the spec lies in a checkpoint, and what has to be done to its values.
// Matrices stay in their file format; `rows` selects and orders them without conversion.
struct TensorSource {
    enum class Transform {
        None,
        AddOne,      // zero-centred norm weights: 1 + w
        NegativeExp, // A_log to the decay rate -exp(A_log)
    };
    std::string name; // in the checkpoint
    Transform transform = Transform::None;
    // Row ranges [first, first + count) taken in this order; empty: all rows.
    struct RowRange {
        std::int64_t first = 0;
        std::int64_t count = 0;
        std::int64_t step = 1;
    };
    std::vector<RowRange> rows;
    std::int64_t file_rows = 0; // of the whole tensor, where `rows` is not empty
    // > 0: of the rows taken, each run of so many becomes its transpose, (columns, transposed).
    std::int64_t transposed = 0;
    // Of the transposes, the rows taken; empty: all.
    std::vector<RowRange> turned_rows;
    // For vectors: tensors whose values follow, in this order.
    std::vector<std::string> more;
    // For vectors: a tensor whose values multiply these, one by one; or empty.
    std::string factor;
    // > 0: the blocks of FP8 factors begin anew every so many rows of the file.
    std::int64_t scale_slab = 0;
    // MXFP4 in two tensors of bytes, as compressed-tensors and gpt-oss write it: `name` holds pairs
    // of values, this one the factors (softmax.md section 1.5). Empty: an ordinary tensor.
    std::string mxfp4_scales;
    // For a stacked (experts, rows, cols) tensor: which expert; -1: not stacked.
    std::int64_t expert = -1;
};

// Names of a spec's tensors, as engine/run/model.cpp asks for them:
//   "embedding", "output" (absent when tied), "norm"
//   "layers.N.{mixer,channel}_norm", "layers.N.{mixer,channel}_norm_after"
//   "layers.N.mixer.{q,k,v,o}", ".{q,k}_norm", ".{q,k,v,o}_bias", ".sinks"    softmax
//   "layers.N.mixer.{q_a,q_b} or .q", ".q_a_norm", ".{kv_a,k_b,v_b,o,gate}",
//   ".kv_a_norm", ".indexer.{q,k,weights}", ".indexer.k_norm{,_bias}"         latent
//       k_b (heads * kv_rank, nope_dim), v_b (heads * value_dim, kv_rank)
//   "layers.N.mixer.{qkv or q,k,v}", ".{z,b,a,out}",
//   ".{conv,decay_rate,dt_bias,norm}"                                         gated delta
//   "layers.N.mixer.{q,k,v,decay_a,decay_b,b,out}", ".{gate_a,gate_b} or .gate",
//   ".{conv,decay_rate,dt_bias,norm}"                                         KDA
//   "layers.N.mixer.{qkv,gate,out}", ".{norm,q_norm,k_norm}"                  lightning
//   "layers.N.channel.{gate,up,down}", ".{gate,up,down}_bias"                 dense
//   "layers.N.channel.router", ".router_bias", ".choice_bias",
//   ".experts.E.{gate,up,down}", ".experts.E.{gate,up,down}_bias",
//   ".shared.{gate,up,down}", ".shared_gate", ".latent.{down,up,norm}"        mixture
//   "residual.{mixer,channel}.N" (hidden), "residual.output"                  attention residuals
//   "draft.0.{embedding_norm,hidden_norm,norm}", ".join" (hidden, 2 hidden:
//   the embedding's half first), and a layer's own: "draft.0.mixer_norm" ...  multi-token
//   prediction
using TensorMap = std::function<Result<TensorSource>(std::string_view spec_tensor)>;

// Why a tensor of the checkpoint that no layer asks for is left out ("multi-token prediction",
// "vision"); nullptr when the family does not know it.
using ExtraReason = std::function<const char*(std::string_view checkpoint_tensor)>;

struct SpecAndTensors {
    ModelSpec spec;
    TensorMap tensors;
    ExtraReason extra;
};

struct Family {
    const char* name; // "qwen3.5"
    // What checkpoints of the family call themselves: config.json architectures and model types,
    // GGUF general.architecture.
    std::span<const char* const> answers_to;
    Result<SpecAndTensors> (*read)(const Checkpoint& checkpoint);
};

std::span<const Family> families();
// Errors: Unsupported, with the name found and the names known.
Result<const Family*> find_family(std::string_view architecture);
Result<SpecAndTensors> read_model(const Checkpoint& checkpoint);
// Errors: Unsupported, with the reason, for a spec that no backend can run.
Result<void> check_runs(const ModelSpec& spec);

} // namespace hs
