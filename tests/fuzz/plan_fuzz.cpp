// Plans of experiments and stored figures of replies: JSON that a person or a damaged session file
// hands over. A plan that is read says the same when it is written and read again.

#include "engine/lab/experiment.h"
#include "engine/store/sessions.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const hs::Result<hs::Json> json = hs::parse_json(text, {.bytes = 1 << 16, .depth = 32});
    if (json.ok()) {
        const hs::Result<hs::Experiment> plan = hs::experiment_from_json(*json);
        if (plan.ok()) {
            const hs::Result<hs::Experiment> again = hs::experiment_from_json(hs::to_json(*plan));
            HS_ASSERT(again.ok() && *again == *plan);
        } else {
            HS_ASSERT(!plan.error().what.empty());
        }
    }
    const hs::Result<hs::Metrics> metrics = hs::parse_metrics(text);
    HS_ASSERT(metrics.ok() || !metrics.error().what.empty());
    return 0;
}
