#include "engine/text/chat_template.h"

#include "engine/core/memory.h"
#include "engine/files/checkpoint.h"
#include "engine/text/jinja/evaluate.h"
#include "engine/text/jinja/parser.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>
#include <utility>

namespace hs {

struct ChatTemplate::Program {
    std::string source;
    jinja::Body body;
    ChatTemplateTraits traits;
    bool asks_thinking = false;                // reads "thinking" and not "enable_thinking"
    std::unique_ptr<const Program> with_tools; // the template named "tool_use", if there is one
};

namespace {

using jinja::Origin;

// Larger ones are no chat templates; the longest published one has some 20 KB.
constexpr std::size_t kLongestSource = std::size_t{2} << 20;

constexpr std::string_view kChatml =
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

// Roles are not a person's words: templates put them inside of markup ("<|" + role + "|>").
bool is_known_role(const Json& role) {
    static constexpr std::array<std::string_view, 12> kRoles = {
        "system",  "developer", "user",  "assistant",     "tool",        "function",
        "ipython", "model",     "human", "tool_response", "observation", "latest_reminder"};
    return role.is_string() && std::find(kRoles.begin(), kRoles.end(),
                                         role.get_ref<const std::string&>()) != kRoles.end();
}

bool is_token_name(std::string_view name) {
    constexpr std::string_view kEnd = "_token";
    return name.size() >= kEnd.size() && name.substr(name.size() - kEnd.size()) == kEnd;
}

Result<jinja::Value> message_list(const Json& messages, jinja::Heap& heap) {
    const jinja::Value value = TRY(jinja::from_json(messages, Origin::Input, heap));
    if (!value.list()) {
        return value;
    }
    for (std::size_t i = 0; i < messages.size(); ++i) {
        jinja::Dict* message = value.list()->items[i].dict();
        const Json* role = messages[i].is_object() ? json_member(messages[i], "role") : nullptr;
        if (message && role && is_known_role(*role)) {
            const jinja::Value key = TRY(heap.string("role", Origin::Input));
            message->set(key, TRY(jinja::from_json(*role, Origin::Template, heap)));
        }
    }
    return value;
}

std::vector<TextSpan> spans_of(const jinja::Text& text) {
    std::vector<TextSpan> spans;
    std::size_t begin = 0;
    for (const jinja::Text::Run& run : text.runs()) {
        spans.push_back({text.bytes().substr(begin, run.end - begin),
                         run.origin == Origin::Input ? Specials::Plain : Specials::Match});
        begin = run.end;
    }
    return spans;
}

Result<std::vector<TextSpan>> render_body(const jinja::Body& body, const Json& variables,
                                          const TemplateLimits& limits) {
    jinja::Evaluator evaluator(limits);
    for (const auto& [name, value] : variables.items()) {
        const Origin origin = is_token_name(name) ? Origin::Template : Origin::Input;
        evaluator.set_variable(name, name == "messages"
                                         ? TRY(message_list(value, evaluator.heap()))
                                         : TRY(jinja::from_json(value, origin, evaluator.heap())));
    }
    return spans_of(TRY(evaluator.run(body)));
}

std::string joined(const std::vector<TextSpan>& spans) {
    std::string text;
    for (const TextSpan& span : spans) {
        text += span.text;
    }
    return text;
}

// The output for one dry run, empty when the template refuses.
std::string dry_run(const jinja::Body& body, Json variables) {
    variables["bos_token"] = "";
    variables["eos_token"] = "";
    TemplateLimits limits;
    limits.steps = 50'000;
    limits.output_bytes = std::size_t{1} << 20;
    limits.seconds = 0.25;
    const auto spans = render_body(body, variables, limits);
    return spans ? joined(*spans) : std::string();
}

ChatTemplateTraits find_traits(const jinja::Body& body) {
    const Json user = {{"role", "user"}, {"content", "hs-probe-user"}};
    const Json system = {{"role", "system"}, {"content", "hs-probe-system"}};
    const auto prompt = [&](Json extra, Json messages) {
        extra["messages"] = std::move(messages);
        extra["add_generation_prompt"] = true;
        return dry_run(body, std::move(extra));
    };
    ChatTemplateTraits traits;
    const Json empty = Json::object();
    traits.system_role =
        prompt(empty, Json::array({system, user})).find("hs-probe-system") != std::string::npos;
    const auto with = [&](bool thinking) {
        return prompt({{"enable_thinking", thinking}, {"thinking", thinking}}, Json::array({user}));
    };
    const std::string on = with(true);
    traits.thinking_switch = on != with(false);
    // Inside when the last tag after the person's words opens and nothing closes it.
    const std::size_t words = on.rfind("hs-probe-user");
    const std::string_view tail =
        std::string_view(on).substr(words == std::string::npos ? on.size() : words);
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kTags = {
        {{"<think>", "</think>"}, {"<mm:think>", "</mm:think>"}, {"[THINK]", "[/THINK]"}}};
    for (const auto& [open, close] : kTags) {
        const std::size_t opened = tail.rfind(open);
        const std::size_t closed = tail.rfind(close);
        traits.opens_thinking =
            traits.opens_thinking || (opened != std::string_view::npos &&
                                      (closed == std::string_view::npos || closed < opened));
    }
    return traits;
}

// Whether a name stands in the source as a word of its own.
bool names(std::string_view source, std::string_view name) {
    const auto part_of_word = [&](std::size_t at) {
        return at < source.size() && (jinja::is_word(static_cast<unsigned char>(source[at])));
    };
    for (std::size_t at = source.find(name); at != std::string_view::npos;
         at = source.find(name, at + 1)) {
        if ((at == 0 || !part_of_word(at - 1)) && !part_of_word(at + name.size())) {
            return true;
        }
    }
    return false;
}

// The template called `name` in what tokenizer_config.json or chat_template.json say: a string is
// the default one, a list holds {name, template}.
const Json* named_template(const Json& config, std::string_view name) {
    const Json* written = config.is_object() ? json_member(config, "chat_template") : nullptr;
    if (!written) {
        return nullptr;
    }
    if (written->is_string()) {
        return name == "default" ? written : nullptr;
    }
    if (written->is_object()) { // {name: template}, as chat_template.json may have it
        const Json* found = json_member(*written, name);
        return found && found->is_string() ? found : nullptr;
    }
    for (const Json& entry : *written) {
        const Json* called = entry.is_object() ? json_member(entry, "name") : nullptr;
        const Json* source = entry.is_object() ? json_member(entry, "template") : nullptr;
        if (called && source && source->is_string() && *called == name) {
            return source;
        }
    }
    return nullptr;
}

struct Sources {
    std::optional<std::string> standard;
    std::optional<std::string> tool_use;
};

std::optional<std::string> text_of(const Json* json) {
    return json && json->is_string() ? std::optional(json->get<std::string>()) : std::nullopt;
}

Sources sources_of_gguf(const Json& metadata) {
    Sources sources;
    sources.standard = text_of(json_member(metadata, "tokenizer.chat_template"));
    if (!sources.standard) {
        sources.standard = text_of(json_member(metadata, "tokenizer.chat_template.default"));
    }
    sources.tool_use = text_of(json_member(metadata, "tokenizer.chat_template.tool_use"));
    return sources;
}

// A side file that may be absent; other errors are passed on.
Result<std::optional<std::string>> side_file(const Checkpoint& checkpoint, std::string_view name) {
    Result<std::string> file = checkpoint.read_side_file(name);
    if (!file && file.error().code == ErrorCode::NotFound) {
        return std::optional<std::string>();
    }
    return std::optional(TRY(std::move(file).with_context(name)));
}

// The named template beside chat_template.jinja, if there is a readable one.
std::optional<std::string> additional_template(const Checkpoint& checkpoint) {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::is_directory(checkpoint.path(), error)
                                             ? checkpoint.path()
                                             : checkpoint.path().parent_path();
    const std::filesystem::path path = folder / "additional_chat_templates" / "tool_use.jinja";
    if (!std::filesystem::is_regular_file(path, error)) {
        return std::nullopt;
    }
    const Result<MappedFile> file = MappedFile::open(path);
    if (!file || file->bytes().size() > kLongestSource) {
        return std::nullopt;
    }
    return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

Result<Sources> sources_of_folder(const Checkpoint& checkpoint) {
    Sources sources;
    sources.standard = TRY(side_file(checkpoint, "chat_template.jinja"));
    if (sources.standard) {
        sources.tool_use = additional_template(checkpoint);
        return sources;
    }
    for (const std::string_view name : {"tokenizer_config.json", "chat_template.json"}) {
        const std::optional<std::string> file = TRY(side_file(checkpoint, name));
        if (!file) {
            continue;
        }
        const Json config = TRY(parse_json(*file).with_context(name));
        sources.standard = text_of(named_template(config, "default"));
        sources.tool_use = text_of(named_template(config, "tool_use"));
        if (sources.standard || sources.tool_use) {
            break;
        }
    }
    return sources;
}

} // namespace

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program)
    : m_program(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::compile(std::string_view source) {
    if (source.size() > kLongestSource) {
        return Error{ErrorCode::Corrupt, "the chat template is larger than 2 MiB", {}};
    }
    if (!jinja::is_valid_utf8(source)) {
        return Error{ErrorCode::Corrupt, "the chat template is no UTF-8 text", {}};
    }
    auto program = std::make_unique<Program>();
    program->source = source;
    program->body = TRY(jinja::parse(source));
    program->traits = find_traits(program->body);
    program->asks_thinking = names(source, "thinking") && !names(source, "enable_thinking");
    return ChatTemplate(std::move(program));
}

Result<ChatTemplate> ChatTemplate::open(const Checkpoint& checkpoint) {
    Sources sources;
    if (checkpoint.container() == Container::Gguf) {
        sources = sources_of_gguf(checkpoint.metadata());
    } else {
        sources = TRY(sources_of_folder(checkpoint));
    }
    if (!sources.standard && !sources.tool_use) {
        return Error{ErrorCode::NotFound, "the checkpoint has no chat template", {}};
    }
    ChatTemplate opened = TRY(compile(sources.standard ? *sources.standard : *sources.tool_use)
                                  .with_context("chat template"));
    if (sources.standard && sources.tool_use) {
        ChatTemplate tools = TRY(compile(*sources.tool_use).with_context("chat template tool_use"));
        auto program = std::make_unique<Program>();
        program->source = opened.m_program->source;
        program->traits = opened.m_program->traits;
        program->asks_thinking = opened.m_program->asks_thinking;
        program->body = TRY(jinja::parse(program->source));
        program->with_tools = std::move(tools.m_program);
        return ChatTemplate(std::move(program));
    }
    return opened;
}

ChatTemplate ChatTemplate::chatml() {
    Result<ChatTemplate> built_in = compile(kChatml);
    HS_ASSERT(built_in.ok());
    return std::move(built_in).value();
}

Result<std::vector<TextSpan>> ChatTemplate::render(const Json& variables,
                                                   const TemplateLimits& limits) const {
    if (!variables.is_object()) {
        return Error{ErrorCode::InvalidArgument, "the template's variables are no JSON object", {}};
    }
    const Json* tools = json_member(variables, "tools");
    const bool use_tools = m_program->with_tools && tools && !tools->empty();
    return render_body(use_tools ? m_program->with_tools->body : m_program->body, variables,
                       limits);
}

Result<std::vector<TextSpan>> ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                                   const Options& options) const {
    Json variables = options.extra.is_object() ? options.extra : Json::object();
    Json& list = variables["messages"] = Json::array();
    for (const ChatMessage& message : messages) {
        Json entry = {{"role", message.role}, {"content", message.content}};
        if (message.role == "assistant" && !message.reasoning.empty()) {
            entry["reasoning_content"] = message.reasoning;
        }
        list.push_back(std::move(entry));
    }
    variables["add_generation_prompt"] = options.add_generation_prompt;
    variables["enable_thinking"] = options.enable_thinking;
    if (m_program->asks_thinking) {
        variables["thinking"] = options.enable_thinking;
    }
    variables["bos_token"] = options.bos_token;
    variables["eos_token"] = options.eos_token;
    return render(variables);
}

const std::string& ChatTemplate::source() const {
    return m_program->source;
}

const ChatTemplateTraits& ChatTemplate::traits() const {
    return m_program->traits;
}

} // namespace hs
