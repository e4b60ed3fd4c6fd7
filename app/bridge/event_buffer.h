#pragma once
// Collects what the worker says until the window's next frame takes it. How much came never decides
// how often the window paints.

#include "app/bridge/chat_engine.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

namespace hs {

using RequestId = std::uint64_t;

struct ReplyProgress {
    RequestId request = 0;
    std::int64_t message = 0; // the reply's row
    std::string new_text;     // since the last frame, thinking apart
    std::string new_thinking;
    std::vector<TokenEvent> tokens;
    PrefillEvent prefill;
    bool prefilling = false;
    StateEvent state; // latest; entries empty when nothing new
};

struct ExperimentFrame {
    RequestId request = 0;
    ExperimentProgress progress;
    struct ArmNews {
        int arm = 0;
        int repeat = 0;
        bool warm_up = false;
        std::string new_text;
        std::vector<Sample> samples;
    };
    std::vector<ArmNews> news; // in order of arrival
};

class EventBuffer {
public:
    // wake is called, on the worker's thread, for the first event after a frame was announced.
    explicit EventBuffer(std::function<void()> wake)
        : m_wake(std::move(wake)) {}

    // The worker's side.
    void add(RequestId request, std::int64_t message, const TokenEvent& token);
    void add(RequestId request, std::int64_t message, const PrefillEvent& prefill);
    void add(RequestId request, std::int64_t message, const StateEvent& state);
    void add(RequestId request, const ExperimentProgress& progress);
    void begin_run(RequestId request, int arm, int repeat, bool warm_up);
    void add(RequestId request, int arm, const TokenEvent& token);
    void add(RequestId request, int arm, const Sample& sample);
    // What comes after a run's end is kept back until the window has been told of that end: the
    // worker is ahead, and its next run may be of the same arm.
    void end_run();

    // The window's side. announced() is called right before a frame is shown to listeners.
    void announced();
    void run_end_told(); // once for each end_run(), in order
    std::vector<ReplyProgress> take_replies();
    std::vector<ExperimentFrame> take_experiments();

private:
    ReplyProgress& reply(RequestId request, std::int64_t message);
    ExperimentFrame& experiment(RequestId request);
    ExperimentFrame::ArmNews& news(RequestId request, int arm);
    void wake_once(std::unique_lock<std::mutex>& lock);

    struct Run {
        RequestId request = 0;
        int arm = 0;
        int repeat = 0;
        bool warm_up = false;
    };

    std::function<void()> m_wake;
    std::mutex m_mutex;
    bool m_woken = false;
    std::vector<ReplyProgress> m_replies;
    // Experiments' frames, cut at run ends; the window takes from the first piece alone.
    std::deque<std::vector<ExperimentFrame>> m_pieces{1};
    std::vector<Run> m_runs; // the latest of each arm
    ExperimentFrame m_last;  // request and progress, repeated in frames that bring samples alone
};

} // namespace hs
