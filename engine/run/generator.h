#pragma once
// One reply: template, tokenise, restore the nearest snapshot, prefill what is new, decode, stop.

#include "engine/run/events.h"
#include "engine/run/model.h"
#include "engine/run/sequence.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

#include <functional>
#include <memory>
#include <stop_token>

namespace hs {

// Whose weights a model runs: the checkpoint's, the checkpoint's under another schedule, or random
// ones, whose times and bytes mean something and whose words do not.
enum class Origin { Checkpoint, Converted, Synthetic };
const char* to_string(Origin origin); // "checkpoint", "converted", "synthetic"
// What a person must know of the weights beside a schedule: "", ", windows put over full
// attention",
// ", random weights".
const char* caveat(Origin origin);

// A model with what it needs to speak: tokenizer and template. Const and shared.
struct LoadedModel {
    std::shared_ptr<const Model> model;
    std::shared_ptr<const Tokenizer> tokenizer;
    std::shared_ptr<const ChatTemplate> chat_template;
    bool template_is_fallback = false; // the checkpoint had none
    Sampling recommended;              // from general.sampling.* or generation_config.json
    std::string source;                // the path, for reports
    Origin origin = Origin::Checkpoint;
};

// A checkpoint opened for its header and, where its files are there, the tensors in them: a folder
// with config.json alone will do. Files are mapped, not read.
Result<Checkpoint> open_to_look(const std::filesystem::path& path);

// Opens a file or folder with what it needs to speak. Empty when stopped.
Result<std::optional<LoadedModel>> load_model(std::shared_ptr<Backend> backend,
                                              const std::filesystem::path& path,
                                              const LoadOptions& options = {});

// The KV precision a model gets when nobody chose one: f16 where products round their inputs
// anyway, f32 otherwise.
DType default_kv_dtype(const Model& model);

struct GenerateSink {
    std::function<void(const PrefillEvent&)> prefill;
    std::function<void(const TokenEvent&)> token;
    std::function<void(const StateEvent&)> state; // at most ten times a second, and at the end
};

// The prompt's ids as the request says (template or raw).
Result<std::vector<TokenId>> prompt_ids(const LoadedModel& loaded, const GenerateRequest& request);

// Never throws; a failure is a result with reason Failed and what was generated so far.
GenerateResult generate(const LoadedModel& loaded, Sequence& sequence,
                        const GenerateRequest& request, const GenerateSink& sink,
                        std::stop_token stop);

} // namespace hs
