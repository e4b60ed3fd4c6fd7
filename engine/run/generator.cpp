#include "engine/run/generator.h"

#include "engine/run/sampler.h"
#include "engine/run/thinking.h"
#include "engine/text/detokenizer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fmt/format.h>
#include <new>
#include <optional>

namespace hs {

namespace {

using Clock = std::chrono::steady_clock;

// A pass of a prompt is cut to about this long, so that progress moves. Shorter ones cost speed: a
// weight that is read once serves all tokens of a pass.
constexpr double kPassMs = 1000.0;
constexpr std::int64_t kFirstPass = 32;
constexpr std::int64_t kMostPass = 512;
// Longest work that a stop waits for. A longer pass is broken off between layers, which sends
// recurrent layers back to a saved state; a shorter one is finished, and nothing is lost.
constexpr double kStopMs = 100.0;
constexpr double kStateEveryMs = 100.0;
// Saved states closer together than this are not worth their memory.
constexpr std::int64_t kNearTokens = 16;

double ms_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

Error no_tokenizer() {
    return {ErrorCode::Unsupported, "the checkpoint has no tokenizer that can be used",
            "Add tokenizer.json to its folder, or use another file"};
}

// Templates that know no system role get its words at the head of the first question.
std::vector<ChatMessage> for_template(const ChatTemplate& chat_template,
                                      std::vector<ChatMessage> messages) {
    if (chat_template.traits().system_role || messages.size() < 2 ||
        messages.front().role != "system" || messages[1].role != "user") {
        return messages;
    }
    messages[1].content = messages.front().content + "\n\n" + messages[1].content;
    messages.erase(messages.begin());
    return messages;
}

Result<std::vector<TokenId>> templated_ids(const LoadedModel& loaded,
                                           const std::vector<ChatMessage>& messages,
                                           bool enable_thinking, bool generation_prompt) {
    const Tokenizer& tokenizer = *loaded.tokenizer;
    ChatTemplate::Options options;
    options.add_generation_prompt = generation_prompt;
    options.enable_thinking = enable_thinking;
    if (tokenizer.bos()) {
        options.bos_token = tokenizer.bytes_of(*tokenizer.bos());
    }
    if (tokenizer.eos()) {
        options.eos_token = tokenizer.bytes_of(*tokenizer.eos());
    }
    const std::vector<TextSpan> spans =
        TRY(loaded.chat_template->render(for_template(*loaded.chat_template, messages), options));
    std::vector<TokenId> ids = tokenizer.encode(spans);
    // Many templates print the BOS token themselves; twice is a common fault.
    if (tokenizer.adds_bos() && tokenizer.bos() && (ids.empty() || ids[0] != *tokenizer.bos())) {
        ids.insert(ids.begin(), *tokenizer.bos());
    }
    return ids;
}

// Positions of a prompt where a later one may part from it: before the last question, and before
// the header of the reply.
std::vector<std::int64_t> turning_points(const LoadedModel& loaded, const GenerateRequest& request,
                                         const std::vector<TokenId>& prompt) {
    std::vector<std::int64_t> points;
    const auto last = static_cast<std::int64_t>(prompt.size()) - 1;
    if (request.raw) {
        points.push_back(last);
        return points;
    }
    std::vector<ChatMessage> messages = request.messages;
    for (int turn = 0; turn < 2 && !messages.empty(); ++turn) {
        const auto shorter = templated_ids(loaded, messages, request.enable_thinking, false);
        if (shorter.ok()) { // a template may refuse a talk that ends otherwise
            const auto [mine, theirs] =
                std::mismatch(prompt.begin(), prompt.end(), shorter->begin(), shorter->end());
            points.push_back(mine - prompt.begin());
        }
        messages.pop_back();
    }
    // To write a reply once more, the prompt's last token must be read again at least.
    if (points.empty() || points.front() + kNearTokens < last) {
        points.push_back(last);
    }
    return points;
}

// Replies that lie in a text the sequence has, put into a prompt with their own ids: the tokenizer
// might cut their words otherwise.
std::vector<TokenId> with_replies_of(const LoadedModel& loaded, const Sequence::Text& text,
                                     std::vector<TokenId> prompt) {
    for (const HeldReply& reply : text.replies) {
        const auto first = static_cast<std::size_t>(reply.first);
        if (prompt.size() <= first ||
            !std::equal(text.ids.begin(), text.ids.begin() + reply.first, prompt.begin())) {
            break; // parted before it
        }
        const std::vector<TokenId> cut = loaded.tokenizer->encode(reply.text, Specials::Plain);
        const auto from = prompt.begin() + reply.first;
        if (static_cast<std::size_t>(prompt.end() - from) < cut.size() ||
            !std::equal(cut.begin(), cut.end(), from)) {
            continue;
        }
        const auto rest = prompt.erase(from, from + static_cast<std::ptrdiff_t>(cut.size()));
        prompt.insert(rest, reply.ids.begin(), reply.ids.end());
    }
    return prompt;
}

// The prompt as it agrees longest with what the sequence holds or has set aside.
std::vector<TokenId> with_held_replies(const LoadedModel& loaded, const Sequence& sequence,
                                       const std::vector<TokenId>& prompt) {
    std::vector<TokenId> best = prompt;
    std::ptrdiff_t most = -1;
    std::vector<TokenId> own = prompt; // with the replies before any fork
    for (const Sequence::Text& text : sequence.texts()) {
        const bool held = most < 0; // the first
        std::vector<TokenId> tried = with_replies_of(loaded, text, held ? prompt : own);
        const auto same =
            std::mismatch(text.ids.begin(), text.ids.end(), tried.begin(), tried.end()).first -
            text.ids.begin();
        if (held) {
            own = tried;
        }
        if (same > most) {
            most = same;
            best = std::move(tried);
        }
    }
    return best;
}

// Whether guessing ahead pays: a few tokens are decoded without, then guesses go on for as long as
// they bring more tokens in their time.
class DraftPace {
public:
    bool guesses() const { return m_plain_steps >= kPlainSteps && !m_loses; }
    void plain_step(double ms) {
        m_plain_ms += ms;
        ++m_plain_steps;
    }
    void guess_step(double ms) { m_guess_ms += ms; }
    void settle(bool came) {
        ++m_guesses;
        m_came += came ? 1 : 0;
        m_loses = m_guesses >= kTrial && gain() < 1.0;
    }
    std::int64_t guesses_made() const { return m_guesses; }
    std::int64_t guesses_that_came() const { return m_came; }
    double gain() const {
        if (m_guesses == 0 || m_plain_steps == 0 || m_guess_ms <= 0) {
            return 0;
        }
        const auto tokens = static_cast<double>(m_guesses + m_came);
        return tokens * (m_plain_ms / static_cast<double>(m_plain_steps)) / m_guess_ms;
    }

private:
    static constexpr std::int64_t kPlainSteps = 4; // to know what a step takes
    static constexpr std::int64_t kTrial = 12;     // guesses before it may be given up
    double m_plain_ms = 0, m_guess_ms = 0;
    std::int64_t m_plain_steps = 0, m_guesses = 0, m_came = 0;
    bool m_loses = false;
};

// Prefills a prompt and decodes a reply; the parts share what they fill.
class Reply {
public:
    Reply(const LoadedModel& loaded, Sequence& sequence, const GenerateRequest& request,
          const GenerateSink& sink, std::stop_token stop)
        : m_loaded(loaded)
        , m_sequence(sequence)
        , m_request(request)
        , m_sink(sink)
        , m_stop(std::move(stop))
        , m_sampler(request.sampling, loaded.model->spec().never_sampled)
        , m_logits(static_cast<std::size_t>(loaded.model->spec().vocab)) {}

    GenerateResult run() {
        m_result.seed = m_sampler.seed();
        try {
            if (auto made = make(); !made.ok()) {
                m_result.reason = FinishReason::Failed;
                m_result.error = made.error().text();
            }
        } catch (const std::bad_alloc&) {
            m_result.reason = FinishReason::Failed;
            m_result.error = "there is not enough memory for this reply";
        }
        m_result.timings.generated_tokens = static_cast<std::int64_t>(m_result.ids.size());
        m_result.state = m_sequence.state();
        if (m_sink.state) {
            m_sink.state(m_result.state);
        }
        return std::move(m_result);
    }

private:
    Result<void> make() {
        if (m_loaded.tokenizer == nullptr) {
            return no_tokenizer();
        }
        std::vector<TokenId> prompt = TRY(prompt_ids(m_loaded, m_request));
        std::vector<std::int64_t> points = turning_points(m_loaded, m_request, prompt);
        if (!m_request.raw) {
            const auto before = static_cast<std::int64_t>(prompt.size());
            prompt = with_held_replies(m_loaded, m_sequence, prompt);
            for (std::int64_t& point : points) { // all replies lie before them
                point += static_cast<std::int64_t>(prompt.size()) - before;
            }
        }
        m_result.timings.tokenise_ms = ms_since(m_begin);
        m_result.timings.prompt_tokens = static_cast<std::int64_t>(prompt.size());
        m_result.prompt_ids = prompt;
        if (prompt.empty()) {
            return Error{ErrorCode::InvalidArgument, "the prompt is empty", "Write something"};
        }
        if (static_cast<std::int64_t>(prompt.size()) >= m_sequence.context_limit()) {
            return Error{ErrorCode::InvalidArgument,
                         fmt::format("the prompt has {} tokens, the context holds {}",
                                     prompt.size(), m_sequence.context_limit()),
                         "Shorten it, start a new chat, or open the model with a longer context"};
        }
        TRY(reuse(prompt));
        if (!TRY(prefill(prompt, points))) {
            m_result.reason = FinishReason::Stopped;
            return {};
        }
        for (const TokenId id : prompt) {
            m_sampler.read(id);
        }
        return decode(opens_thinking(prompt));
    }

    // Keeps what the sequence holds of the prompt, and says why more was not kept.
    Result<void> reuse(const std::vector<TokenId>& prompt) {
        const auto begin = Clock::now();
        const auto held_tokens = m_sequence.position();
        // The last token is always read: its logits begin the reply.
        const auto most = static_cast<std::int64_t>(prompt.size()) - 1;
        std::int64_t same = 0;
        for (const Sequence::Text& text : m_sequence.texts()) {
            const auto [mine, theirs] =
                std::mismatch(text.ids.begin(), text.ids.end(), prompt.begin(), prompt.end());
            same = std::max(same, std::min<std::int64_t>(most, mine - text.ids.begin()));
        }
        const std::int64_t kept = TRY(m_sequence.keep_common_prefix(prompt, most));
        if (same < held_tokens && same + kNearTokens < static_cast<std::int64_t>(prompt.size())) {
            m_result.reuse_note = fmt::format(
                "from token {} on the text is not what was held: it was edited, or the template "
                "leaves earlier thinking out",
                same);
        }
        if (kept < same) {
            m_result.reuse_note += fmt::format(
                "{}{} tokens that had not changed were read again: linear layers can only go back "
                "to a saved state, and the nearest was at token {}",
                m_result.reuse_note.empty() ? "" : "; ", same - kept, kept);
        }
        m_result.timings.reused_tokens = kept;
        m_result.timings.restore_ms = ms_since(begin);
        return {};
    }

    // False when stopped.
    Result<bool> prefill(const std::vector<TokenId>& prompt, std::vector<std::int64_t> points) {
        const auto begin = Clock::now();
        const auto total = static_cast<std::int64_t>(prompt.size());
        const std::int64_t first = m_sequence.position();
        m_sequence.snapshot(); // where this prompt parts from what was there
        const std::int64_t header = points.empty() ? 0 : points.front();
        std::erase_if(points, [&](std::int64_t point) {
            return point != header && point > first && point <= first + kNearTokens;
        });
        std::int64_t pass = kFirstPass;
        double ms_per_token = 0; // not known yet
        while (m_sequence.position() < total) {
            const std::int64_t at = m_sequence.position();
            std::int64_t end = std::min(total, at + pass);
            for (const std::int64_t point : points) {
                if (point > at && point < end) {
                    end = point;
                }
            }
            const bool interruptible = ms_per_token * static_cast<double>(end - at) > kStopMs;
            if (interruptible) {
                m_sequence.snapshot_in_passing();
            }
            const auto wanted = end == total ? Model::Logits::Last : Model::Logits::None;
            const auto pass_begin = Clock::now();
            TRY(m_loaded.model->forward(
                m_sequence,
                std::span(prompt).subspan(static_cast<std::size_t>(at),
                                          static_cast<std::size_t>(end - at)),
                wanted, View<float, 2>(m_logits.data(), {1, vocab()}), nullptr,
                interruptible || m_sequence.can_cut() ? m_stop : std::stop_token()));
            m_result.timings.prefilled_tokens =
                std::max<std::int64_t>(0, m_sequence.position() - first);
            m_result.timings.prefill_ms = ms_since(begin);
            if (m_stop.stop_requested()) {
                return false;
            }
            ms_per_token = std::max(ms_since(pass_begin), 0.01) / static_cast<double>(end - at);
            pass = std::clamp(static_cast<std::int64_t>(kPassMs / ms_per_token), kFirstPass / 8,
                              kMostPass);
            if (std::find(points.begin(), points.end(), end) != points.end()) {
                m_sequence.snapshot();
            }
            if (m_sink.prefill) {
                m_sink.prefill({end - first, total - first, ms_since(m_begin)});
            }
            tell_state();
        }
        m_sequence.forget_snapshot_in_passing();
        return true;
    }

    // Whether the prompt ends inside a thinking block, as the header of some templates does.
    bool opens_thinking(std::span<const TokenId> prompt) const {
        const auto tail = prompt.last(std::min<std::size_t>(prompt.size(), 16));
        std::string text;
        for (const TokenId id : tail) {
            text += m_loaded.tokenizer->bytes_of(id);
        }
        text.erase(text.find_last_not_of(" \r\n\t") + 1);
        return text.ends_with("<think>");
    }

    // A tag that is a special token has no text of its own in a reply.
    std::string text_of_tag(TokenId id) const {
        for (const char* tag : {"<think>", "</think>"}) {
            if (m_loaded.tokenizer->is_special(id) && m_loaded.tokenizer->find(tag) == id) {
                return tag;
            }
        }
        return {};
    }

    Result<void> decode(bool thinking) {
        Detokenizer detokenizer(*m_loaded.tokenizer, m_request.stop_strings);
        ThinkingSplitter splitter(thinking);
        m_reply_begin = m_sequence.position();
        double step_ms = 0;
        const std::int64_t limit = m_request.max_tokens;
        while (true) {
            const std::int32_t id = m_sampler.sample(m_logits);
            m_sampler.accept(id);
            m_result.ids.push_back(id);
            if (m_result.ids.size() == 1) {
                m_result.timings.ttft_ms = ms_since(m_begin);
                m_decode_begin = Clock::now();
            }
            const bool read_already = TRY(settle_guess(id));
            const bool ends = m_loaded.tokenizer->ends_reply(id);
            const bool last = limit > 0 && static_cast<std::int64_t>(m_result.ids.size()) >= limit;
            const bool full = last_position() >= m_sequence.context_limit();
            std::string text = ends ? std::string() : detokenizer.push(id) + text_of_tag(id);
            const bool over = ends || detokenizer.stopped() || last || full;
            if (over) {
                text += detokenizer.flush();
            }
            tell_token(id, splitter.push(text), splitter.thinking());
            if (over) {
                m_result.reason = ends                    ? FinishReason::EndToken
                                  : detokenizer.stopped() ? FinishReason::StopString
                                  : last                  ? FinishReason::TokenLimit
                                                          : FinishReason::ContextFull;
                break;
            }
            if (m_stop.stop_requested()) {
                m_result.reason = FinishReason::Stopped;
                break;
            }
            const auto step_begin = Clock::now();
            if (read_already) {
                std::copy_n(m_pair.begin() + vocab(), vocab(), m_logits.begin());
            } else if (may_guess(step_ms)) {
                TRY(step_with_guess(id));
                m_pace.guess_step(ms_since(step_begin));
            } else {
                TRY(m_loaded.model->forward(
                    m_sequence, {&id, 1}, Model::Logits::Last,
                    View<float, 2>(m_logits.data(), {1, vocab()}), nullptr,
                    step_ms > kStopMs || m_sequence.can_cut() ? m_stop : std::stop_token()));
                step_ms = ms_since(step_begin);
                m_pace.plain_step(step_ms);
            }
            if (m_stop.stop_requested()) {
                m_result.reason = FinishReason::Stopped;
                break;
            }
            m_result.timings.decode_ms = ms_since(m_decode_begin);
            tell_state();
        }
        if (m_guess) { // stopped before it was settled
            TRY(m_sequence.take_back(1));
        }
        const ThinkingSplitter::Piece rest = splitter.flush();
        if (!rest.text.empty() || !rest.thinking.empty()) {
            tell_token(m_result.ids.back(), rest, splitter.thinking());
        }
        Timings& timings = m_result.timings;
        timings.decode_ms = ms_since(m_decode_begin);
        timings.drafted_tokens = m_pace.guesses_made();
        timings.accepted_tokens = m_pace.guesses_that_came();
        timings.draft_gain = m_pace.gain();
        note_reply(m_reply_begin);
        return {};
    }

    // --- guessing ahead ---

    std::int64_t last_position() const { // of the last id, read or not
        return m_reply_begin + static_cast<std::int64_t>(m_result.ids.size()) - 1;
    }

    bool may_guess(double step_ms) const {
        const std::int64_t limit = m_request.max_tokens;
        const bool more = limit <= 0 || static_cast<std::int64_t>(m_result.ids.size()) + 1 < limit;
        // Two tokens are read without a look at the stop button.
        return m_request.draft && more && m_pace.guesses() && m_sequence.drafts() &&
               step_ms < kStopMs / 2 && m_sequence.position() + 2 <= m_sequence.context_limit();
    }

    // Reads a token and the head's guess of the next one; both rows of logits stay in m_pair.
    Result<void> step_with_guess(std::int32_t id) {
        m_pair.resize(static_cast<std::size_t>(2 * vocab()));
        TRY(m_loaded.model->draft(m_sequence, id, View<float, 2>(m_pair.data(), {1, vocab()})));
        const auto best = std::max_element(m_pair.begin(), m_pair.begin() + vocab());
        const std::array<std::int32_t, 2> ids{id, static_cast<std::int32_t>(best - m_pair.begin())};
        TRY(m_loaded.model->forward(m_sequence, ids, Model::Logits::All,
                                    View<float, 2>(m_pair.data(), {2, vocab()}), nullptr, {}, 1));
        m_guess = ids[1];
        std::copy_n(m_pair.begin(), vocab(), m_logits.begin());
        return {};
    }

    // True when the guess was right, so that the sequence has read `id` already.
    Result<bool> settle_guess(std::int32_t id) {
        if (!m_guess) {
            return false;
        }
        const bool came = *m_guess == id;
        m_guess.reset();
        const auto begin = Clock::now();
        if (!came) {
            TRY(m_sequence.take_back(1));
        }
        m_pace.guess_step(ms_since(begin));
        m_pace.settle(came);
        return came;
    }

    // What a template will show of thinking is its own affair, and a stop string is no part of the
    // text: such replies are read again from their text.
    void note_reply(std::int64_t begin) {
        std::vector<std::int32_t> ids = m_result.ids;
        if (m_result.reason == FinishReason::EndToken) {
            ids.pop_back();
        }
        const std::int64_t end = begin + static_cast<std::int64_t>(ids.size());
        if (!ids.empty() && m_result.reason != FinishReason::StopString &&
            m_result.thinking.empty() && end <= m_sequence.position() + 1) {
            m_sequence.note_reply({begin, std::move(ids), m_result.text});
        }
    }

    void tell_token(std::int32_t id, const ThinkingSplitter::Piece& piece, bool thinking) {
        m_result.text += piece.text;
        m_result.thinking += piece.thinking;
        if (!m_sink.token) {
            return;
        }
        const double elapsed = ms_since(m_begin);
        const std::int64_t position = last_position();
        if (!piece.thinking.empty()) {
            m_sink.token({position, id, piece.thinking, true, elapsed});
        }
        // One event per token, even where it gave no text yet.
        if (!piece.text.empty() || piece.thinking.empty()) {
            m_sink.token({position, id, piece.text, piece.text.empty() && thinking, elapsed});
        }
    }

    void tell_state() {
        if (m_sink.state && ms_since(m_state_told) >= kStateEveryMs) {
            m_state_told = Clock::now();
            m_sink.state(m_sequence.state());
        }
    }

    std::int64_t vocab() const { return m_loaded.model->spec().vocab; }

    const LoadedModel& m_loaded;
    Sequence& m_sequence;
    const GenerateRequest& m_request;
    const GenerateSink& m_sink;
    std::stop_token m_stop;
    Sampler m_sampler;
    std::vector<float> m_logits; // (vocab)
    std::vector<float> m_pair;   // (2, vocab): after a token and after the guess that follows it
    std::optional<std::int32_t> m_guess;
    DraftPace m_pace;
    std::int64_t m_reply_begin = 0;
    GenerateResult m_result;
    Clock::time_point m_begin = Clock::now();
    Clock::time_point m_decode_begin = m_begin;
    Clock::time_point m_state_told = m_begin;
};

} // namespace

const char* to_string(FinishReason reason) {
    switch (reason) {
    case FinishReason::EndToken:
        return "end token";
    case FinishReason::StopString:
        return "stop string";
    case FinishReason::TokenLimit:
        return "token limit";
    case FinishReason::ContextFull:
        return "context full";
    case FinishReason::Stopped:
        return "stopped";
    case FinishReason::Failed:
        return "failed";
    }
    return "unknown";
}

Result<std::vector<TokenId>> prompt_ids(const LoadedModel& loaded, const GenerateRequest& request) {
    if (loaded.tokenizer == nullptr) {
        return no_tokenizer();
    }
    if (request.raw) {
        return loaded.tokenizer->encode(request.raw_prompt, Specials::Match, true);
    }
    return templated_ids(loaded, request.messages, request.enable_thinking, true);
}

GenerateResult generate(const LoadedModel& loaded, Sequence& sequence,
                        const GenerateRequest& request, const GenerateSink& sink,
                        std::stop_token stop) {
    return Reply(loaded, sequence, request, sink, std::move(stop)).run();
}

} // namespace hs
