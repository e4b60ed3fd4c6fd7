#include "app/bridge/event_buffer.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace hs {

void EventBuffer::wake_once(std::unique_lock<std::mutex>& lock) {
    if (m_woken) {
        return;
    }
    m_woken = true;
    lock.unlock();
    m_wake();
}

ReplyProgress& EventBuffer::reply(RequestId request, std::int64_t message) {
    if (m_replies.empty() || m_replies.back().request != request) {
        m_replies.push_back({.request = request,
                             .message = message,
                             .new_text = {},
                             .new_thinking = {},
                             .tokens = {},
                             .prefill = {},
                             .prefilling = false,
                             .state = {}});
    }
    return m_replies.back();
}

ExperimentFrame& EventBuffer::experiment(RequestId request) {
    std::vector<ExperimentFrame>& latest = m_pieces.back();
    if (latest.empty() || latest.back().request != request) {
        if (m_last.request != request) {
            m_last = {.request = request, .progress = {}, .news = {}};
        }
        latest.push_back(m_last);
    }
    return latest.back();
}

ExperimentFrame::ArmNews& EventBuffer::news(RequestId request, int arm) {
    const auto run = std::find_if(m_runs.begin(), m_runs.end(), [&](const Run& r) {
        return r.request == request && r.arm == arm;
    });
    const int repeat = run == m_runs.end() ? 0 : run->repeat;
    const bool warm_up = run != m_runs.end() && run->warm_up;
    ExperimentFrame& frame = experiment(request);
    if (frame.news.empty() || frame.news.back().arm != arm || frame.news.back().repeat != repeat ||
        frame.news.back().warm_up != warm_up) {
        frame.news.push_back({arm, repeat, warm_up, {}, {}});
    }
    return frame.news.back();
}

void EventBuffer::add(RequestId request, std::int64_t message, const TokenEvent& token) {
    std::unique_lock lock(m_mutex);
    ReplyProgress& progress = reply(request, message);
    progress.prefilling = false;
    (token.thinking ? progress.new_thinking : progress.new_text) += token.text;
    progress.tokens.push_back(token);
    wake_once(lock);
}

void EventBuffer::add(RequestId request, std::int64_t message, const PrefillEvent& prefill) {
    std::unique_lock lock(m_mutex);
    ReplyProgress& progress = reply(request, message);
    progress.prefill = prefill;
    progress.prefilling = prefill.done_tokens < prefill.total_tokens;
    wake_once(lock);
}

void EventBuffer::add(RequestId request, std::int64_t message, const StateEvent& state) {
    std::unique_lock lock(m_mutex);
    reply(request, message).state = state;
    wake_once(lock);
}

void EventBuffer::add(RequestId request, const ExperimentProgress& progress) {
    std::unique_lock lock(m_mutex);
    experiment(request).progress = progress;
    m_last.progress = progress;
    wake_once(lock);
}

void EventBuffer::begin_run(RequestId request, int arm, int repeat, bool warm_up) {
    std::unique_lock lock(m_mutex);
    std::erase_if(m_runs, [&](const Run& run) { return run.request != request || run.arm == arm; });
    m_runs.push_back({request, arm, repeat, warm_up});
    news(request, arm); // an empty piece of news tells the window that a run began
    wake_once(lock);
}

void EventBuffer::add(RequestId request, int arm, const TokenEvent& token) {
    std::unique_lock lock(m_mutex);
    news(request, arm).new_text += token.text;
    wake_once(lock);
}

void EventBuffer::add(RequestId request, int arm, const Sample& sample) {
    std::unique_lock lock(m_mutex);
    news(request, arm).samples.push_back(sample);
    wake_once(lock);
}

void EventBuffer::announced() {
    const std::lock_guard lock(m_mutex);
    m_woken = false;
}

std::vector<ReplyProgress> EventBuffer::take_replies() {
    const std::lock_guard lock(m_mutex);
    return std::exchange(m_replies, {});
}

void EventBuffer::end_run() {
    const std::lock_guard lock(m_mutex);
    m_pieces.emplace_back();
}

void EventBuffer::run_end_told() {
    std::unique_lock lock(m_mutex);
    if (m_pieces.size() < 2) {
        return;
    }
    // What nobody took goes first.
    std::vector<ExperimentFrame> left = std::move(m_pieces.front());
    m_pieces.pop_front();
    std::vector<ExperimentFrame>& next = m_pieces.front();
    next.insert(next.begin(), std::make_move_iterator(left.begin()),
                std::make_move_iterator(left.end()));
    if (!next.empty()) {
        wake_once(lock);
    }
}

std::vector<ExperimentFrame> EventBuffer::take_experiments() {
    const std::lock_guard lock(m_mutex);
    return std::exchange(m_pieces.front(), {});
}

} // namespace hs
