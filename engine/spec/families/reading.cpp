#include "engine/spec/families/reading.h"

#include "engine/core/log.h"
#include "engine/core/paths.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>
#include <fmt/format.h>

namespace hs {

using Transform = TensorSource::Transform;
using RowRange = TensorSource::RowRange;

Error refused(std::string what, std::string remedy) {
    return {ErrorCode::Unsupported, std::move(what), std::move(remedy)};
}

Error unsound(std::string what) {
    return {ErrorCode::Corrupt, std::move(what), {}};
}

namespace {

std::string shown(const Json& value) {
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 60) {
        text.resize(60);
        text += "...";
    }
    return text;
}

bool any_tensor_contains(const Checkpoint& checkpoint, std::string_view part) {
    const auto tensors = checkpoint.tensors();
    return std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& tensor) {
        return tensor.name.find(part) != std::string::npos;
    });
}

bool neutral(const Json& value) {
    if (value.is_null() || ((value.is_array() || value.is_object()) && value.empty())) {
        return true;
    }
    if (value.is_boolean()) {
        return !value.get<bool>();
    }
    if (value.is_number()) {
        return value.get<double>() == 0.0;
    }
    return value.is_string() && value.get_ref<const std::string&>().empty();
}

// Settings of training, generation and bookkeeping that transformers writes into config.json.
constexpr std::array<std::string_view, 58> kBookkeeping{
    "architectures",
    "model_type",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "_name_or_path",
    "name_or_path",
    "auto_map",
    "use_cache",
    "initializer_range",
    "attention_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
    "resid_pdrop",
    "embd_pdrop",
    "output_router_logits",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "return_dict_in_generate",
    "pretraining_tp",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_experts_implementation",
    "is_encoder_decoder",
    "is_decoder",
    "add_cross_attention",
    "cross_attention_hidden_size",
    "tie_encoder_decoder",
    "chunk_size_feed_forward",
    "pruned_heads",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "task_specific_params",
    "tokenizer_class",
    "prefix",
    "finetuning_task",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "max_length",
    "min_length",
    "num_beams",
    "num_return_sequences",
    "mamba_ssm_dtype",
    "language_model_only",
    "unsloth_fixed",
    "unsloth_version",
    "hybridscope",
};

// Beginnings and ends of names that belong to other parts of a model or to the tokenizer.
bool of_another_part(std::string_view key) {
    return key.ends_with("_token_id") || key.ends_with("_token_index") ||
           key.starts_with("vision") || key.starts_with("image") || key.starts_with("video") ||
           key.starts_with("audio") || key.starts_with("mtp_") || key.starts_with("forced_") ||
           key.starts_with("vit_") || key.find("nextn") != std::string_view::npos;
}

// Words that names of forward-pass settings are made of. A setting nobody asked for whose name
// holds one of them may change what the model computes; better refused than run wrongly.
constexpr std::array<std::string_view, 37> kForwardWords{
    "softcap", "clip",  "multiplier", "scale",     "scaling", "gate",    "norm",   "rank",
    "window",  "rope",  "rotary",     "attention", "attn",    "expert",  "router", "bias",
    "act",     "layer", "head",       "embed",     "hyper",   "hc_",     "ple_",   "index",
    "sink",    "moe",   "mlp",        "conv",      "linear",  "n_group", "topk",   "top_k_",
    "ssm",     "kda",   "residual",   "alibi",     "parallel"};

bool speaks_of_forward_pass(std::string_view key) {
    return std::any_of(kForwardWords.begin(), kForwardWords.end(), [&](std::string_view word) {
        return key.find(word) != std::string_view::npos;
    });
}

} // namespace

// --- Settings ----------------------------------------------------------------------------------

Settings::Settings(const Json& object, std::string prefix, std::string where)
    : m_object(&object)
    , m_prefix(std::move(prefix))
    , m_where(std::move(where)) {}

bool Settings::has(std::string_view key) {
    return member(key) != nullptr;
}

const Json* Settings::member(std::string_view key) {
    m_asked.emplace(key);
    return json_member(*m_object, full(key));
}

namespace {

Result<std::int64_t> checked_integer(const Json& value, const std::string& name, std::int64_t least,
                                     std::int64_t most) {
    const bool fits = value.is_number_unsigned()
                          ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(most) &&
                                value.get<std::uint64_t>() >= static_cast<std::uint64_t>(least)
                      : value.is_number_integer()
                          ? value.get<std::int64_t>() >= least && value.get<std::int64_t>() <= most
                          : false;
    if (!fits) {
        return unsound(fmt::format("{}: expected an integer in [{}, {}], found {}", name, least,
                                   most, shown(value)));
    }
    return value.get<std::int64_t>();
}

} // namespace

Result<std::int64_t> Settings::size(std::string_view key, std::int64_t most) {
    const Json* value = member(key);
    if (value == nullptr) {
        return Error{ErrorCode::NotFound,
                     fmt::format("{}: {} is missing, expected an integer in [1, {}]", m_where,
                                 full(key), most),
                     {}};
    }
    return checked_integer(*value, m_where + ": " + full(key), 1, most);
}

Result<std::int64_t> Settings::size(std::string_view key, std::int64_t most, std::int64_t absent) {
    return has(key) ? size(key, most) : Result<std::int64_t>(absent);
}

Result<std::int64_t> Settings::count(std::string_view key, std::int64_t most, std::int64_t absent) {
    const Json* value = member(key);
    if (value == nullptr) {
        return absent;
    }
    return checked_integer(*value, m_where + ": " + full(key), 0, most);
}

Result<double> Settings::number(std::string_view key) {
    const Json* value = member(key);
    if (value == nullptr) {
        return Error{ErrorCode::NotFound,
                     fmt::format("{}: {} is missing, expected a number", m_where, full(key)),
                     {}};
    }
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
        return unsound(fmt::format("{}: {}: expected a finite number, found {}", m_where, full(key),
                                   shown(*value)));
    }
    return value->get<double>();
}

Result<double> Settings::number(std::string_view key, double absent) {
    return has(key) ? number(key) : Result<double>(absent);
}

Result<bool> Settings::flag(std::string_view key, bool absent) {
    const Json* value = member(key);
    if (value == nullptr) {
        return absent;
    }
    if (!value->is_boolean()) {
        return unsound(fmt::format("{}: {}: expected true or false, found {}", m_where, full(key),
                                   shown(*value)));
    }
    return value->get<bool>();
}

Result<std::string> Settings::word(std::string_view key, std::string_view absent) {
    const Json* value = member(key);
    if (value == nullptr) {
        return std::string(absent);
    }
    if (!value->is_string()) {
        return unsound(
            fmt::format("{}: {}: expected a word, found {}", m_where, full(key), shown(*value)));
    }
    return value->get<std::string>();
}

Result<std::vector<std::int64_t>> Settings::per_layer(std::string_view key, std::int64_t layers,
                                                      std::int64_t most) {
    const Json* value = member(key);
    if (value == nullptr) {
        return Error{ErrorCode::NotFound,
                     fmt::format("{}: {} is missing, expected an integer or one per layer", m_where,
                                 full(key)),
                     {}};
    }
    const std::string name = m_where + ": " + full(key);
    if (!value->is_array()) {
        const std::int64_t one = TRY(checked_integer(*value, name, 0, most));
        return std::vector<std::int64_t>(static_cast<std::size_t>(layers), one);
    }
    if (static_cast<std::int64_t>(value->size()) < layers) {
        return unsound(fmt::format("{}: expected {} values, one per layer, found {}", name, layers,
                                   value->size()));
    }
    std::vector<std::int64_t> values;
    for (std::int64_t i = 0; i < layers; ++i) {
        const Json& one = (*value)[static_cast<std::size_t>(i)];
        if (one.is_boolean()) {
            values.push_back(one.get<bool>() ? 1 : 0);
        } else {
            values.push_back(TRY(checked_integer(one, name, 0, most)));
        }
    }
    return values;
}

Result<std::vector<std::int64_t>> Settings::list(std::string_view key, std::int64_t most) {
    std::vector<std::int64_t> values;
    const Json* value = member(key);
    if (value == nullptr) {
        return values;
    }
    if (!value->is_array()) {
        return unsound(fmt::format("{}: {}: expected a list of integers, found {}", m_where,
                                   full(key), shown(*value)));
    }
    for (const Json& one : *value) {
        values.push_back(TRY(checked_integer(one, m_where + ": " + full(key), 0, most)));
    }
    return values;
}

Result<std::vector<std::string>> Settings::words(std::string_view key) {
    std::vector<std::string> values;
    const Json* value = member(key);
    if (value == nullptr) {
        return values;
    }
    const auto is_word = [](const Json& one) { return one.is_string(); };
    if (!value->is_array() || !std::all_of(value->begin(), value->end(), is_word)) {
        return unsound(fmt::format("{}: {}: expected a list of words, found {}", m_where, full(key),
                                   shown(*value)));
    }
    for (const Json& one : *value) {
        values.push_back(one.get<std::string>());
    }
    return values;
}

void Settings::ignore(std::initializer_list<std::string_view> keys) {
    for (std::string_view key : keys) {
        m_asked.emplace(key);
    }
}

std::vector<std::string> Settings::unknown() {
    std::vector<std::string> found;
    if (!m_object->is_object()) {
        return found;
    }
    for (const auto& [name, value] : m_object->items()) {
        if (!std::string_view(name).starts_with(m_prefix)) {
            continue;
        }
        const std::string_view key = std::string_view(name).substr(m_prefix.size());
        if (m_asked.find(key) != m_asked.end() || neutral(value) || of_another_part(key) ||
            std::find(kBookkeeping.begin(), kBookkeeping.end(), key) != kBookkeeping.end()) {
            continue;
        }
        if (speaks_of_forward_pass(key)) {
            found.push_back(fmt::format("{} = {}", name, shown(value)));
        } else {
            HS_LOG(Info, "spec", "{}: {} is not known and left out", m_where, name);
        }
    }
    return found;
}

Result<void> Settings::refuse_unknown(std::string_view family) {
    const std::vector<std::string> found = unknown();
    if (found.empty()) {
        return {};
    }
    return refused(
        fmt::format("{}: {}: not a setting that {} models are known to have, and it may change "
                    "what the model computes; expected it absent or off",
                    m_where, found.front(), family),
        "Use a checkpoint of a family that this program knows, or a newer program.");
}

std::string why_not_run(const std::vector<std::string>& reasons, Settings& settings) {
    std::string text = fmt::format("{}", fmt::join(reasons, "; "));
    if (const auto unknown = settings.unknown(); !unknown.empty()) {
        text +=
            fmt::format("; not understood, so that sizes may differ: {}", fmt::join(unknown, ", "));
    }
    return text;
}

// --- TensorNames -------------------------------------------------------------------------------

void TensorNames::add(std::string spec_tensor, std::string checkpoint_tensor, Transform transform) {
    TensorSource source;
    source.name = std::move(checkpoint_tensor);
    source.transform = transform;
    m_sources.insert_or_assign(std::move(spec_tensor), std::move(source));
}

void TensorNames::add_rows(std::string spec_tensor, std::string checkpoint_tensor,
                           std::vector<RowRange> rows, std::int64_t file_rows) {
    TensorSource source;
    source.name = std::move(checkpoint_tensor);
    source.rows = std::move(rows);
    source.file_rows = file_rows;
    m_sources.insert_or_assign(std::move(spec_tensor), std::move(source));
}

void TensorNames::add_stacked(std::string spec_tensor, std::string checkpoint_tensor,
                              std::vector<RowRange> rows, std::int64_t file_rows) {
    TensorSource source;
    source.name = std::move(checkpoint_tensor);
    source.rows = std::move(rows);
    source.file_rows = file_rows;
    source.expert = 0;
    m_sources.insert_or_assign(std::move(spec_tensor), std::move(source));
}

void TensorNames::add_source(std::string spec_tensor, TensorSource source) {
    m_sources.insert_or_assign(std::move(spec_tensor), std::move(source));
}

void TensorNames::add_draft_layer(const std::string& layer, const std::string& head) {
    constexpr std::string_view kLayer = "layers.#.";
    const auto moved = [&](std::string& name) {
        if (name.starts_with(layer)) {
            name.replace(0, layer.size(), head);
        }
    };
    std::map<std::string, TensorSource, std::less<>> more;
    for (const auto& [spec_tensor, source] : m_sources) {
        if (spec_tensor.starts_with(kLayer)) {
            TensorSource copy = source;
            moved(copy.name);
            moved(copy.mxfp4_scales);
            std::for_each(copy.more.begin(), copy.more.end(), moved);
            more.emplace("draft.#." + spec_tensor.substr(kLayer.size()), std::move(copy));
        }
    }
    m_sources.merge(more);
}

bool has_all(const Checkpoint& checkpoint, const std::string& head,
             std::initializer_list<const char*> parts) {
    return std::all_of(parts.begin(), parts.end(), [&](const char* part) {
        return checkpoint.find(fmt::format("{}{}.weight", head, part)) != nullptr;
    });
}

void add_draft(TensorNames& names, const std::string& layer, const std::string& head,
               const DraftNames& own, Transform norms) {
    names.add_draft_layer(layer, head);
    names.add("draft.#.join", own.join + ".weight");
    names.add("draft.#.embedding_norm", own.embedding_norm + ".weight", norms);
    names.add("draft.#.hidden_norm", own.hidden_norm + ".weight", norms);
    names.add("draft.#.norm", own.norm + ".weight", norms);
}

TensorMap TensorNames::map() const {
    return [sources = m_sources](std::string_view spec_tensor) -> Result<TensorSource> {
        // "layers.7.channel.experts.3.up" is looked up as "layers.#.channel.experts.#.up".
        std::string key;
        std::array<std::string, 2> numbers;
        std::size_t found = 0;
        for (std::size_t i = 0; i < spec_tensor.size();) {
            const bool digit = std::isdigit(static_cast<unsigned char>(spec_tensor[i])) != 0;
            if (digit && found < numbers.size() && i > 0 && spec_tensor[i - 1] == '.') {
                std::size_t end = i;
                while (end < spec_tensor.size() && spec_tensor[end] != '.') {
                    ++end;
                }
                numbers[found++] = spec_tensor.substr(i, end - i);
                key += '#';
                i = end;
            } else {
                key += spec_tensor[i++];
            }
        }
        const auto it = sources.find(key);
        if (it == sources.end()) {
            return Error{ErrorCode::NotFound,
                         fmt::format("{}: the family names no tensor for it", spec_tensor),
                         {}};
        }
        TensorSource source = it->second;
        constexpr std::array<std::string_view, 2> marks{"{L}", "{E}"};
        const auto fill = [&](std::string& name) {
            for (std::size_t i = 0; i < marks.size(); ++i) {
                const std::size_t at = name.find(marks[i]);
                if (at != std::string::npos) {
                    name.replace(at, marks[i].size(), numbers[i]);
                }
            }
        };
        fill(source.name);
        fill(source.mxfp4_scales);
        fill(source.factor);
        std::for_each(source.more.begin(), source.more.end(), fill);
        if (source.expert >= 0) {
            source.expert = std::stoll("0" + numbers[1]);
        }
        return source;
    };
}

TensorMap by_layer(std::vector<bool> full, TensorMap in_full, TensorMap in_others) {
    return [full = std::move(full), in_full = std::move(in_full),
            in_others = std::move(in_others)](std::string_view spec_tensor) {
        constexpr std::string_view kStart = "layers.";
        bool other = false;
        if (spec_tensor.starts_with(kStart)) {
            std::size_t layer = 0;
            for (std::size_t i = kStart.size(); i < spec_tensor.size() && spec_tensor[i] != '.';
                 ++i) {
                layer = 10 * layer + static_cast<std::size_t>(spec_tensor[i] - '0');
            }
            other = layer < full.size() && !full[layer];
        }
        return other ? in_others(spec_tensor) : in_full(spec_tensor);
    };
}

// --- config.json -------------------------------------------------------------------------------

Json with_defaults(const Json& given, const Json& defaults) {
    Json all = defaults;
    if (given.is_object()) {
        for (const auto& [key, value] : given.items()) {
            if (!value.is_null() || json_member(all, key) == nullptr) {
                all[key] = value;
            }
        }
    }
    return all;
}

Result<Frame> read_frame(const Checkpoint& checkpoint, const char* family, Settings& settings) {
    Frame frame;
    ModelSpec& spec = frame.spec;
    spec.family = family;
    // Architectures that come with the program say their own name.
    static const Json none = Json::object();
    const Json* const facts = json_member(checkpoint.metadata(), "hybridscope");
    const std::string title = TRY(json_string(facts != nullptr ? *facts : none, "title", ""));
    std::filesystem::path folder = checkpoint.path();
    if (!folder.has_filename()) {
        folder = folder.parent_path();
    }
    if (folder.extension() == ".json" || folder.extension() == ".safetensors") {
        folder = folder.parent_path();
    }
    spec.name = title.empty() ? utf8_from_path(folder.filename()) : title;
    spec.hidden = TRY(settings.size("hidden_size", limits::hidden));
    spec.vocab = TRY(settings.size("vocab_size", limits::vocab));
    frame.layers = TRY(settings.size("num_hidden_layers", limits::layers));
    frame.query_heads = TRY(settings.size("num_attention_heads", limits::heads));
    spec.context_length =
        TRY(settings.size("max_position_embeddings", limits::context, std::int64_t{32768}));
    spec.norm_eps = TRY(settings.number("rms_norm_eps", 1e-6));
    if (spec.norm_eps <= 0 || spec.norm_eps > 1) {
        return unsound(fmt::format("{}: rms_norm_eps: expected a number in (0, 1], found {}",
                                   settings.where(), spec.norm_eps));
    }
    const std::string activation = TRY(settings.word("hidden_act", "silu"));
    if (activation != "silu" && activation != "swish") {
        return refused(fmt::format("{}: hidden_act: expected \"silu\", found \"{}\"",
                                   settings.where(), activation));
    }
    TRY(check_quantisation(settings));
    return frame;
}

Result<bool> read_tied(const Checkpoint& checkpoint, Settings& outer, Settings& inner) {
    const bool inner_says = TRY(inner.flag("tie_word_embeddings", false));
    const bool outer_says = TRY(outer.flag("tie_word_embeddings", inner_says));
    // Wrappers and their text parts disagree in published files; the tensors decide then.
    const bool no_output =
        !checkpoint.tensors().empty() && checkpoint.find("lm_head.weight") == nullptr;
    return outer_says || (inner_says && no_output);
}

namespace {

double yarn_magnitude(double factor, double strength) {
    return factor <= 1.0 ? 1.0 : 0.1 * strength * std::log(factor) + 1.0;
}

Result<void> read_rope_scaling(Settings& rope, const std::string& type, RopeSpec& spec,
                               std::int64_t context_length) {
    RopeScaling& scaling = spec.scaling;
    scaling.original_context =
        TRY(rope.size("original_max_position_embeddings", limits::context, context_length));
    if (type == "yarn" && !rope.has("factor")) {
        scaling.factor =
            static_cast<double>(context_length) / static_cast<double>(scaling.original_context);
    } else {
        scaling.factor = TRY(rope.number("factor"));
    }
    if (scaling.factor < 1e-3 || scaling.factor > 1e6) {
        return unsound(fmt::format("{}: factor: expected a number in [0.001, 1000000], found {}",
                                   rope.where(), scaling.factor));
    }
    if (type == "linear") {
        scaling.kind = RopeScaling::Kind::Linear;
    } else if (type == "llama3") {
        scaling.kind = RopeScaling::Kind::Llama3;
        scaling.low_freq_factor = TRY(rope.number("low_freq_factor"));
        scaling.high_freq_factor = TRY(rope.number("high_freq_factor"));
        if (!(scaling.low_freq_factor > 0) ||
            !(scaling.high_freq_factor > scaling.low_freq_factor)) {
            return unsound(fmt::format("{}: expected 0 < low_freq_factor < high_freq_factor, "
                                       "found {} and {}",
                                       rope.where(), scaling.low_freq_factor,
                                       scaling.high_freq_factor));
        }
    } else {
        scaling.kind = RopeScaling::Kind::Yarn;
        const double fast = TRY(rope.number("beta_fast", 32.0));
        const double slow = TRY(rope.number("beta_slow", 1.0));
        scaling.beta_fast = fast > 0 ? fast : 32.0;
        scaling.beta_slow = slow > 0 ? slow : 1.0;
        scaling.truncate = TRY(rope.flag("truncate", true));
        const double mscale = TRY(rope.number("mscale", 0.0));
        const double mscale_all = TRY(rope.number("mscale_all_dim", 0.0));
        const double suggested = mscale != 0 && mscale_all != 0
                                     ? yarn_magnitude(scaling.factor, mscale) /
                                           yarn_magnitude(scaling.factor, mscale_all)
                                     : yarn_magnitude(scaling.factor, 1.0);
        scaling.attention_factor = TRY(rope.number("attention_factor", suggested));
    }
    return {};
}

Result<double> checked_theta(double theta, const std::string& where) {
    if (theta < 1.0 || theta > 1e15) {
        return unsound(
            fmt::format("{}: rope theta: expected a number in [1, 1e15], found {}", where, theta));
    }
    return theta;
}

} // namespace

Result<RopeSpec> read_rope(Settings& settings, std::int64_t head_dim, double default_partial,
                           std::int64_t context_length) {
    static const Json none = Json::object();
    // transformers lets the older rope_scaling speak before rope_parameters.
    const Json* parameters = settings.member("rope_parameters");
    const char* key = "rope_parameters";
    if (const Json* older = settings.member("rope_scaling"); older != nullptr && !neutral(*older)) {
        parameters = older;
        key = "rope_scaling";
    }
    const std::string where = settings.where() + ": " + key;
    if (parameters != nullptr && !parameters->is_object()) {
        return unsound(fmt::format("{}: expected an object, found {}", where, shown(*parameters)));
    }
    Settings rope(parameters != nullptr ? *parameters : none, "", where);

    RopeSpec spec;
    const double outer_theta = TRY(settings.number("rope_theta", 10000.0));
    const double theta = TRY(rope.number("rope_theta", outer_theta));
    spec.theta = TRY(checked_theta(theta, where));
    const double outer_partial = TRY(settings.number("partial_rotary_factor", default_partial));
    const double partial = TRY(rope.number("partial_rotary_factor", outer_partial));
    if (partial <= 0 || partial > 1) {
        return unsound(fmt::format(
            "{}: partial_rotary_factor: expected a number in (0, 1], found {}", where, partial));
    }
    if (default_partial == 1.0 && partial != 1.0) {
        return refused(fmt::format("{}: partial_rotary_factor: expected 1 in this family, found {}",
                                   where, partial));
    }
    const std::int64_t dims = static_cast<std::int64_t>(static_cast<double>(head_dim) * partial);
    spec.dims = dims;
    const std::string older_type = TRY(rope.word("type", "default"));
    const std::string type = TRY(rope.word("rope_type", older_type));
    if (type == "linear" || type == "llama3" || type == "yarn") {
        TRY(read_rope_scaling(rope, type, spec, context_length));
    } else if (type != "default" && type != "mrope") {
        return refused(fmt::format("{}: rope_type: expected \"default\", \"linear\", \"yarn\" or "
                                   "\"llama3\", found \"{}\"",
                                   where, type));
    }
    if (dims % 2 != 0) {
        // transformers then rotates one dimension more, with exponents over the odd number.
        if (spec.scaling.kind != RopeScaling::Kind::None || dims + 1 > head_dim) {
            return refused(fmt::format(
                "{}: expected an even number of rotated dimensions, found {}", where, dims));
        }
        spec.dims = dims + 1;
        for (std::int64_t i = 0; i < spec.dims / 2; ++i) {
            const double wanted =
                std::pow(spec.theta, 2.0 * static_cast<double>(i) / static_cast<double>(dims));
            const double usual =
                std::pow(spec.theta, 2.0 * static_cast<double>(i) / static_cast<double>(spec.dims));
            spec.divisors.push_back(static_cast<float>(wanted / usual));
        }
    }
    // Three positions of images; for text all three are the same, which is ordinary RoPE.
    rope.ignore(
        {"mrope_section", "mrope_interleaved", "finetuned", "original_max_position_embeddings"});
    TRY(rope.refuse_unknown("these"));
    return spec;
}

Result<RopeSpec> read_rope_parameters(const Json& parameters, const std::string& where,
                                      std::int64_t head_dim, double default_partial,
                                      std::int64_t context_length) {
    Json alone = Json::object();
    alone["rope_parameters"] = parameters;
    Settings settings(alone, "", where);
    return read_rope(settings, head_dim, default_partial, context_length);
}

Result<SoftmaxSpec> read_softmax(Settings& settings, std::int64_t query_heads,
                                 std::int64_t default_head_dim) {
    SoftmaxSpec spec;
    spec.query_heads = query_heads;
    spec.kv_heads = TRY(settings.size("num_key_value_heads", limits::heads, query_heads));
    spec.head_dim = TRY(settings.size("head_dim", limits::head_dim, default_head_dim));
    if (spec.head_dim < 1) {
        return unsound(fmt::format("{}: expected hidden_size >= num_attention_heads, or head_dim",
                                   settings.where()));
    }
    spec.value_head_dim = spec.head_dim;
    if (query_heads % spec.kv_heads != 0) {
        return unsound(fmt::format("{}: num_attention_heads {} is no multiple of "
                                   "num_key_value_heads {}",
                                   settings.where(), query_heads, spec.kv_heads));
    }
    if (query_heads * spec.head_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} are more than {} values", settings.where(),
                                   query_heads, spec.head_dim, limits::head_values));
    }
    spec.scale = 1.0 / std::sqrt(static_cast<double>(spec.head_dim));
    spec.qkv_bias = TRY(settings.flag("attention_bias", false));
    spec.output_bias = spec.qkv_bias;
    return spec;
}

Result<MoeSpec> read_moe(Settings& settings, bool always_normalised, bool shared) {
    MoeSpec spec;
    settings.ignore({"num_experts", "num_local_experts"});
    const char* experts = settings.has("num_experts") ? "num_experts" : "num_local_experts";
    spec.experts = TRY(settings.size(experts, limits::experts));
    spec.top_k = TRY(settings.size("num_experts_per_tok", spec.experts));
    spec.intermediate = TRY(settings.size("moe_intermediate_size", limits::intermediate));
    if (shared) {
        spec.shared_intermediate =
            TRY(settings.size("shared_expert_intermediate_size", limits::intermediate));
        spec.shared_gate = true;
    }
    spec.normalise_top_k = TRY(settings.flag("norm_topk_prob", always_normalised));
    if (always_normalised) {
        spec.normalise_top_k = true;
    }
    return spec;
}

Result<void> check_quantisation(Settings& settings) {
    const Json* quantisation = settings.member("quantization_config");
    if (quantisation == nullptr) {
        return {};
    }
    Settings q(*quantisation, "", settings.where() + ": quantization_config");
    const std::string method = TRY(q.word("quant_method", ""));
    const std::string format = TRY(q.word("format", ""));
    constexpr std::array<std::string_view, 6> formats{"float-quantized", "naive-quantized",
                                                      "int-quantized",   "mxfp4-pack-quantized",
                                                      "pack-quantized",  "mixed-precision"};
    const bool known = method == "fp8" || method == "mxfp4" ||
                       (method == "compressed-tensors" &&
                        std::find(formats.begin(), formats.end(), format) != formats.end());
    if (!known) {
        return refused(
            fmt::format("{}: quant_method \"{}\"{}: expected \"fp8\", \"mxfp4\", or "
                        "\"compressed-tensors\" with format \"float-quantized\", "
                        "\"int-quantized\", \"pack-quantized\" or \"mxfp4-pack-quantized\"",
                        q.where(), method, format.empty() ? "" : " with format \"" + format + "\""),
            "Use the BF16, F16 or FP8 checkpoint, or a GGUF of this model.");
    }
    return {};
}

std::string tensor_prefix(const Checkpoint& checkpoint) {
    for (const char* prefix :
         {"model.language_model.", "model.", "language_model.model.", "language_model.", ""}) {
        if (checkpoint.find(std::string(prefix) + "embed_tokens.weight") != nullptr) {
            return prefix;
        }
    }
    return "model.";
}

void add_dense_names(TensorNames& names, const std::string& layer_prefix, bool bias) {
    for (const char* part : {"gate", "up", "down"}) {
        const std::string base = layer_prefix + "mlp." + part + "_proj.";
        names.add(std::string("layers.#.channel.") + part, base + "weight");
        if (bias) {
            names.add(std::string("layers.#.channel.") + part + "_bias", base + "bias");
        }
    }
}

namespace {} // namespace

void add_moe_names(TensorNames& names, const std::string& layer_prefix,
                   const Checkpoint& checkpoint, const MoeSpec& moe) {
    const std::string mlp = layer_prefix + "mlp.";
    names.add("layers.#.channel.router", mlp + "gate.weight");
    const std::string trunk = tensor_prefix(checkpoint) + "layers.";
    const auto tensors = checkpoint.tensors();
    const bool stacked = std::any_of(tensors.begin(), tensors.end(), [&](const TensorInfo& t) {
        return t.name.starts_with(trunk) && t.name.ends_with(".mlp.experts.gate_up_proj");
    });
    if (stacked) {
        // (E, 2 I, H): the gate's rows first; and (E, H, I).
        names.add_stacked("layers.#.channel.experts.#.gate", mlp + "experts.gate_up_proj",
                          {{0, moe.intermediate}}, 2 * moe.intermediate);
        names.add_stacked("layers.#.channel.experts.#.up", mlp + "experts.gate_up_proj",
                          {{moe.intermediate, moe.intermediate}}, 2 * moe.intermediate);
        names.add_stacked("layers.#.channel.experts.#.down", mlp + "experts.down_proj");
    } else {
        for (const char* part : {"gate", "up", "down"}) {
            names.add(std::string("layers.#.channel.experts.#.") + part,
                      mlp + "experts.{E}." + part + "_proj.weight");
        }
    }
    for (const char* part : {"gate", "up", "down"}) {
        names.add(std::string("layers.#.channel.shared.") + part,
                  mlp + "shared_expert." + part + "_proj.weight");
    }
    names.add("layers.#.channel.shared_gate", mlp + "shared_expert_gate.weight");
}

void add_softmax_names(TensorNames& names, const std::string& layer_prefix, Transform norms) {
    const std::string attention = layer_prefix + "self_attn.";
    for (const char* part : {"q", "k", "v", "o"}) {
        names.add(std::string("layers.#.mixer.") + part, attention + part + "_proj.weight");
        names.add(std::string("layers.#.mixer.") + part + "_bias", attention + part + "_proj.bias");
    }
    names.add("layers.#.mixer.q_norm", attention + "q_norm.weight", norms);
    names.add("layers.#.mixer.k_norm", attention + "k_norm.weight", norms);
}

// --- GGUF --------------------------------------------------------------------------------------

Result<Frame> read_gguf_frame(const Checkpoint& checkpoint, const char* family,
                              Settings& settings) {
    Frame frame;
    ModelSpec& spec = frame.spec;
    spec.family = family;
    spec.name = TRY(json_string(checkpoint.metadata(), "general.name", ""));
    if (spec.name.empty()) {
        spec.name = utf8_from_path(checkpoint.path().stem());
    }
    spec.hidden = TRY(settings.size("embedding_length", limits::hidden));
    const std::int64_t blocks = TRY(settings.size("block_count", limits::layers));
    // Blocks for multi-token prediction are counted and come last.
    const std::int64_t extra = TRY(settings.count("nextn_predict_layers", limits::layers, 0));
    if (extra >= blocks) {
        return unsound(fmt::format("{}: block_count {} leaves no layer beside nextn_predict_layers "
                                   "{}",
                                   settings.where(), blocks, extra));
    }
    frame.layers = blocks - extra;
    const std::vector<std::int64_t> heads =
        TRY(settings.per_layer("attention.head_count", frame.layers, limits::heads));
    frame.query_heads = *std::max_element(heads.begin(), heads.end());
    if (frame.query_heads < 1) {
        return unsound(settings.where() + ": attention.head_count: expected at least 1, found 0");
    }
    for (const std::int64_t h : heads) {
        if (h != 0 && h != frame.query_heads) {
            return refused(settings.where() +
                           ": attention.head_count: expected one number for all layers");
        }
    }
    spec.context_length =
        TRY(settings.size("context_length", limits::context, std::int64_t{32768}));
    spec.norm_eps = TRY(settings.number("attention.layer_norm_rms_epsilon"));
    if (spec.norm_eps <= 0 || spec.norm_eps > 1) {
        return unsound(fmt::format("{}: attention.layer_norm_rms_epsilon: expected a number in "
                                   "(0, 1], found {}",
                                   settings.where(), spec.norm_eps));
    }
    // The table has the last word on the vocabulary; tokenizer lists may be shorter.
    if (const TensorInfo* table = checkpoint.find("token_embd.weight")) {
        if (table->shape.size() != 2 || table->shape[0] < 1 || table->shape[0] > limits::vocab) {
            return unsound("token_embd.weight: expected (vocabulary, " +
                           std::to_string(spec.hidden) + "), found " + table->describe());
        }
        spec.vocab = table->shape[0];
        settings.ignore({"vocab_size"});
    } else {
        spec.vocab = TRY(settings.size("vocab_size", limits::vocab));
    }
    spec.tied_embedding = checkpoint.find("output.weight") == nullptr;
    settings.ignore({"rope.dimension_sections", "attention.causal", "tensor_data_layout",
                     "attention.layer_norm_epsilon"});
    return frame;
}

Result<RopeSpec> read_gguf_rope(Settings& settings, std::int64_t head_dim, RopeLayout layout) {
    RopeSpec spec;
    spec.layout = layout;
    spec.dims = TRY(settings.size("rope.dimension_count", head_dim, head_dim));
    if (spec.dims % 2 != 0) {
        return refused(fmt::format("{}: rope.dimension_count: expected an even number, found {}",
                                   settings.where(), spec.dims));
    }
    const double theta = TRY(settings.number("rope.freq_base", 10000.0));
    spec.theta = TRY(checked_theta(theta, settings.where()));
    RopeScaling& scaling = spec.scaling;
    const std::string type = TRY(settings.word("rope.scaling.type", "none"));
    const double legacy_factor = TRY(settings.number("rope.scale_linear", 1.0));
    scaling.factor = TRY(settings.number("rope.scaling.factor", legacy_factor));
    if (scaling.factor == 0.0) {
        scaling.factor = 1.0;
    }
    if (scaling.factor < 1e-3 || scaling.factor > 1e6) {
        return unsound(fmt::format("{}: rope.scaling.factor: expected a number in [0.001, "
                                   "1000000], found {}",
                                   settings.where(), scaling.factor));
    }
    scaling.original_context =
        TRY(settings.count("rope.scaling.original_context_length", limits::context, 0));
    const double attention = TRY(settings.number("rope.scaling.attn_factor", 1.0));
    if (type == "yarn") {
        scaling.kind = RopeScaling::Kind::Yarn;
        if (scaling.original_context < 1) {
            scaling.original_context =
                TRY(settings.size("context_length", limits::context, std::int64_t{32768}));
        }
        scaling.beta_fast = TRY(settings.number("rope.scaling.yarn_beta_fast", 32.0));
        scaling.beta_slow = TRY(settings.number("rope.scaling.yarn_beta_slow", 1.0));
        const double yarn_attention =
            TRY(settings.number("rope.scaling.yarn_attn_factor", attention));
        scaling.attention_factor = yarn_magnitude(scaling.factor, 1.0) * yarn_attention;
        const double extrapolation = TRY(settings.number("rope.scaling.yarn_ext_factor", 1.0));
        if (extrapolation != 1.0 && extrapolation != -1.0) {
            return refused(fmt::format("{}: rope.scaling.yarn_ext_factor: expected 1, found {}",
                                       settings.where(), extrapolation));
        }
    } else if (type == "linear") {
        scaling.kind = RopeScaling::Kind::Linear;
    } else if (type == "none" || type.empty()) {
        scaling.kind = scaling.factor != 1.0 ? RopeScaling::Kind::Linear : RopeScaling::Kind::None;
    } else {
        return refused(fmt::format("{}: rope.scaling.type: expected \"none\", \"linear\" or "
                                   "\"yarn\", found \"{}\"",
                                   settings.where(), type));
    }
    settings.ignore({"rope.scaling.finetuned"});
    return spec;
}

Result<SoftmaxSpec> read_gguf_softmax(Settings& settings, const Frame& frame) {
    SoftmaxSpec spec;
    spec.query_heads = frame.query_heads;
    std::vector<std::int64_t> kv_heads{frame.query_heads};
    if (settings.has("attention.head_count_kv")) {
        kv_heads = TRY(settings.per_layer("attention.head_count_kv", frame.layers, limits::heads));
    }
    spec.kv_heads = *std::max_element(kv_heads.begin(), kv_heads.end());
    if (spec.kv_heads < 1 || spec.query_heads % spec.kv_heads != 0) {
        return unsound(fmt::format("{}: attention.head_count {} is no multiple of "
                                   "attention.head_count_kv {}",
                                   settings.where(), spec.query_heads, spec.kv_heads));
    }
    for (const std::int64_t h : kv_heads) {
        if (h != 0 && h != spec.kv_heads) {
            return refused(settings.where() +
                           ": attention.head_count_kv: expected one number for all layers "
                           "with full attention");
        }
    }
    const std::int64_t usual = std::max<std::int64_t>(1, frame.spec.hidden / frame.query_heads);
    spec.head_dim = TRY(settings.size("attention.key_length", limits::head_dim, usual));
    spec.value_head_dim =
        TRY(settings.size("attention.value_length", limits::head_dim, spec.head_dim));
    if (spec.query_heads * std::max(spec.head_dim, spec.value_head_dim) > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} are more than {} values", settings.where(),
                                   spec.query_heads, spec.head_dim, limits::head_values));
    }
    const double scale = TRY(settings.number("attention.scale", 0.0));
    spec.scale = scale != 0.0 ? scale : 1.0 / std::sqrt(static_cast<double>(spec.head_dim));
    return spec;
}

bool has_layer_tensor(const Checkpoint& checkpoint, std::int64_t layer, std::string_view suffix) {
    return checkpoint.find(fmt::format("blk.{}.{}", layer, suffix)) != nullptr;
}

Result<MoeSpec> read_gguf_moe(const Checkpoint& checkpoint, Settings& settings,
                              std::int64_t absent_gating) {
    MoeSpec spec;
    spec.experts = TRY(settings.size("expert_count", limits::experts));
    spec.top_k = TRY(settings.size("expert_used_count", spec.experts));
    if (settings.has("expert_feed_forward_length")) {
        spec.intermediate = TRY(settings.size("expert_feed_forward_length", limits::intermediate));
    } else if (const TensorInfo* up = checkpoint.find("blk.0.ffn_up_exps.weight");
               up != nullptr && up->shape.size() == 3) {
        spec.intermediate = up->shape[1]; // older files leave the key out
    } else {
        spec.intermediate = TRY(settings.size("feed_forward_length", limits::intermediate));
    }
    // The shared experts' width all together, or their number, each as wide as the others.
    const std::int64_t shared = TRY(settings.count("expert_shared_count", limits::experts, 0));
    spec.shared_intermediate =
        TRY(settings.count("expert_shared_feed_forward_length", limits::intermediate,
                           std::min(shared * spec.intermediate, limits::intermediate)));
    spec.shared_gate = any_tensor_contains(checkpoint, ".ffn_gate_inp_shexp.");
    spec.choice_bias = any_tensor_contains(checkpoint, ".exp_probs_b.");
    spec.router_bias = any_tensor_contains(checkpoint, ".ffn_gate_inp.bias");
    spec.expert_bias = any_tensor_contains(checkpoint, ".ffn_down_exps.bias");
    spec.normalise_top_k = TRY(settings.flag("expert_weights_norm", true));
    const double scale = TRY(settings.number("expert_weights_scale", 1.0));
    spec.weight_scale = scale == 0.0 ? 1.0 : scale;
    switch (TRY(settings.count("expert_gating_func", 16, absent_gating))) {
    case 0:
    case 1:
        spec.score = MoeSpec::Score::Softmax;
        break;
    case 2:
        spec.score = MoeSpec::Score::Sigmoid;
        break;
    case 3:
        spec.score = MoeSpec::Score::SoftmaxOfChosen;
        break;
    default:
        return refused(settings.where() + ": expert_gating_func: expected 1 (softmax), 2 (sigmoid) "
                                          "or 3 (softmax of the chosen)");
    }
    spec.groups =
        std::max<std::int64_t>(1, TRY(settings.count("expert_group_count", spec.experts, 1)));
    spec.groups_kept = std::max<std::int64_t>(
        1, TRY(settings.count("expert_group_used_count", spec.groups, spec.groups)));
    settings.ignore({"moe_every_n_layers", "interleave_moe_layer_step"});
    return spec;
}

void add_gguf_softmax_names(TensorNames& names) {
    struct Pair {
        const char* spec;
        const char* file;
    };
    constexpr std::array<Pair, 4> parts{
        {{"q", "attn_q"}, {"k", "attn_k"}, {"v", "attn_v"}, {"o", "attn_output"}}};
    for (const Pair& part : parts) {
        const std::string base = std::string("blk.{L}.") + part.file;
        names.add(std::string("layers.#.mixer.") + part.spec, base + ".weight");
        names.add(std::string("layers.#.mixer.") + part.spec + "_bias", base + ".bias");
    }
    names.add("layers.#.mixer.q_norm", "blk.{L}.attn_q_norm.weight");
    names.add("layers.#.mixer.k_norm", "blk.{L}.attn_k_norm.weight");
}

void add_gguf_dense_names(TensorNames& names) {
    for (const char* part : {"gate", "up", "down"}) {
        names.add(std::string("layers.#.channel.") + part,
                  std::string("blk.{L}.ffn_") + part + ".weight");
        names.add(std::string("layers.#.channel.") + part + "_bias",
                  std::string("blk.{L}.ffn_") + part + ".bias");
    }
}

void add_gguf_moe_names(TensorNames& names, const Checkpoint& checkpoint, const MoeSpec& moe) {
    names.add("layers.#.channel.router", "blk.{L}.ffn_gate_inp.weight");
    names.add("layers.#.channel.router_bias", "blk.{L}.ffn_gate_inp.bias");
    names.add("layers.#.channel.choice_bias", "blk.{L}.exp_probs_b.bias");
    for (const char* part : {"gate", "up", "down"}) {
        names.add_stacked(fmt::format("layers.#.channel.experts.#.{}_bias", part),
                          fmt::format("blk.{{L}}.ffn_{}_exps.bias", part));
    }
    if (any_tensor_contains(checkpoint, ".ffn_gate_up_exps.weight")) {
        names.add_stacked("layers.#.channel.experts.#.gate", "blk.{L}.ffn_gate_up_exps.weight",
                          {{0, moe.intermediate}}, 2 * moe.intermediate);
        names.add_stacked("layers.#.channel.experts.#.up", "blk.{L}.ffn_gate_up_exps.weight",
                          {{moe.intermediate, moe.intermediate}}, 2 * moe.intermediate);
    } else {
        names.add_stacked("layers.#.channel.experts.#.gate", "blk.{L}.ffn_gate_exps.weight");
        names.add_stacked("layers.#.channel.experts.#.up", "blk.{L}.ffn_up_exps.weight");
    }
    names.add_stacked("layers.#.channel.experts.#.down", "blk.{L}.ffn_down_exps.weight");
    for (const char* part : {"gate", "up", "down"}) {
        names.add(std::string("layers.#.channel.shared.") + part,
                  std::string("blk.{L}.ffn_") + part + "_shexp.weight");
    }
    names.add("layers.#.channel.shared_gate", "blk.{L}.ffn_gate_inp_shexp.weight");
}

bool is_behind_trunk(std::string_view tensor, std::int64_t trunk) {
    if (!tensor.starts_with("blk.")) {
        return false;
    }
    std::int64_t block = 0;
    std::size_t at = 4;
    for (; at < tensor.size() && tensor[at] >= '0' && tensor[at] <= '9' && at < 12; ++at) {
        block = 10 * block + (tensor[at] - '0');
    }
    return at > 4 && at < tensor.size() && tensor[at] == '.' && block >= trunk;
}

const char* known_extra(std::string_view tensor) {
    if (tensor.starts_with("mtp.") || tensor.find(".nextn.") != std::string_view::npos) {
        return "multi-token prediction";
    }
    if (tensor.starts_with("model.visual.") || tensor.starts_with("visual.") ||
        tensor.starts_with("vision_tower.") || tensor.starts_with("model.vision_tower.") ||
        tensor.starts_with("v.") || tensor.starts_with("mm.")) {
        return "vision";
    }
    if (tensor.ends_with("rotary_emb.inv_freq") || tensor == "rope_freqs.weight") {
        return "rotation table";
    }
    if (tensor == "lm_head.weight") {
        return "the output matrix is the embedding";
    }
    return nullptr;
}

} // namespace hs
