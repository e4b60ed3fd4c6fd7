#include "engine/store/samples.h"

#include <chrono>
#include <fmt/format.h>

namespace hs {

Result<std::int64_t> SampleStore::add_experiment(const ExperimentRow& row) {
    using namespace std::chrono;
    const std::int64_t created =
        row.created_ms != 0
            ? row.created_ms
            : duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
    Statement statement =
        TRY(m_db->prepare("INSERT INTO experiments(session, plan, machine, state, created_ms) "
                          "VALUES (?, ?, ?, ?, ?)"));
    TRY(statement.bind(1, row.session)
            .bind(2, std::string_view(row.plan))
            .bind(3, std::string_view(row.machine))
            .bind(4, std::string_view(row.state))
            .bind(5, created)
            .run()
            .with_context("adding an experiment"));
    return m_db->last_insert_id();
}

Result<void> SampleStore::finish_experiment(std::int64_t experiment, std::string_view state) {
    Statement statement = TRY(m_db->prepare("UPDATE experiments SET state = ? WHERE id = ?"));
    TRY(statement.bind(1, state).bind(2, experiment).run());
    if (m_db->changes() == 0) {
        return Error{ErrorCode::NotFound, fmt::format("there is no experiment {}", experiment), {}};
    }
    return {};
}

Result<std::int64_t> SampleStore::add_arm(const ArmRow& row) {
    Statement statement =
        TRY(m_db->prepare("INSERT INTO arms(experiment, position, label, model, schedule, layers, "
                          "weight_bytes, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
    TRY(statement.bind(1, row.experiment)
            .bind(2, static_cast<std::int64_t>(row.position))
            .bind(3, std::string_view(row.label))
            .bind(4, std::string_view(row.model))
            .bind(5, std::string_view(row.schedule))
            .bind(6, std::string_view(row.layers))
            .bind(7, row.weight_bytes)
            .bind(8, std::string_view(row.details))
            .run()
            .with_context("adding an arm"));
    return m_db->last_insert_id();
}

Result<void> SampleStore::set_arm(const ArmRow& row) {
    Statement statement = TRY(m_db->prepare(
        "UPDATE arms SET schedule = ?, layers = ?, weight_bytes = ?, details = ? WHERE id = ?"));
    TRY(statement.bind(1, std::string_view(row.schedule))
            .bind(2, std::string_view(row.layers))
            .bind(3, row.weight_bytes)
            .bind(4, std::string_view(row.details))
            .bind(5, row.id)
            .run());
    if (m_db->changes() == 0) {
        return Error{ErrorCode::NotFound, fmt::format("there is no arm {}", row.id), {}};
    }
    return {};
}

Result<std::int64_t> SampleStore::add_run(const RunRow& row) {
    Statement statement = TRY(
        m_db->prepare("INSERT INTO runs(arm, repeat, depth, warm_up, text, metrics, state) VALUES "
                      "(?, ?, ?, ?, ?, ?, ?)"));
    TRY(statement.bind(1, row.arm)
            .bind(2, static_cast<std::int64_t>(row.repeat))
            .bind(3, row.depth)
            .bind(4, static_cast<std::int64_t>(row.warm_up ? 1 : 0))
            .bind(5, std::string_view(row.text))
            .bind(6, std::string_view(row.metrics))
            .bind(7, std::string_view(row.state))
            .run()
            .with_context("adding a run"));
    return m_db->last_insert_id();
}

Result<void> SampleStore::finish_run(std::int64_t run, std::string_view text,
                                     std::string_view metrics, std::string_view state) {
    Statement statement =
        TRY(m_db->prepare("UPDATE runs SET text = ?, metrics = ?, state = ? WHERE id = ?"));
    TRY(statement.bind(1, text).bind(2, metrics).bind(3, state).bind(4, run).run());
    if (m_db->changes() == 0) {
        return Error{ErrorCode::NotFound, fmt::format("there is no run {}", run), {}};
    }
    return {};
}

Result<void> SampleStore::add_samples(std::span<const SampleRow> rows) {
    if (rows.empty()) {
        return {};
    }
    Database::Transaction transaction = TRY(m_db->begin());
    Statement statement =
        TRY(m_db->prepare("INSERT INTO samples(run, kind, time_ms, context_tokens, layer, "
                          "state_kind, count, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
    for (const SampleRow& row : rows) {
        TRY(statement.bind(1, row.run)
                .bind(2, std::string_view(row.kind))
                .bind(3, row.time_ms)
                .bind(4, row.context_tokens)
                .bind(5, static_cast<std::int64_t>(row.layer))
                .bind(6, std::string_view(row.state_kind))
                .bind(7, row.count)
                .bind(8, row.value)
                .run()
                .with_context("adding samples"));
    }
    return transaction.commit();
}

Result<std::vector<ExperimentRow>> SampleStore::experiments(std::int64_t session) {
    Statement statement =
        TRY(m_db->prepare("SELECT id, session, plan, machine, state, created_ms FROM experiments "
                          "WHERE session = ? ORDER BY id"));
    statement.bind(1, session);
    std::vector<ExperimentRow> rows;
    while (TRY(statement.step())) {
        rows.push_back({.id = statement.integer(0),
                        .session = statement.integer(1),
                        .plan = statement.text(2),
                        .machine = statement.text(3),
                        .state = statement.text(4),
                        .created_ms = statement.integer(5)});
    }
    return rows;
}

Result<std::vector<ArmRow>> SampleStore::arms(std::int64_t experiment) {
    Statement statement =
        TRY(m_db->prepare("SELECT id, experiment, position, label, model, schedule, layers, "
                          "weight_bytes, details FROM arms WHERE experiment = ? "
                          "ORDER BY position, id"));
    statement.bind(1, experiment);
    std::vector<ArmRow> rows;
    while (TRY(statement.step())) {
        rows.push_back({.id = statement.integer(0),
                        .experiment = statement.integer(1),
                        .position = static_cast<int>(statement.integer(2)),
                        .label = statement.text(3),
                        .model = statement.text(4),
                        .schedule = statement.text(5),
                        .layers = statement.text(6),
                        .weight_bytes = statement.integer(7),
                        .details = statement.text(8)});
    }
    return rows;
}

Result<std::vector<RunRow>> SampleStore::runs(std::int64_t experiment) {
    Statement statement =
        TRY(m_db->prepare("SELECT r.id, r.arm, r.repeat, r.depth, r.warm_up, r.text, r.metrics, "
                          "r.state FROM runs r JOIN arms a ON a.id = r.arm WHERE a.experiment = ? "
                          "ORDER BY r.id"));
    statement.bind(1, experiment);
    std::vector<RunRow> rows;
    while (TRY(statement.step())) {
        rows.push_back({.id = statement.integer(0),
                        .arm = statement.integer(1),
                        .repeat = static_cast<int>(statement.integer(2)),
                        .depth = statement.integer(3),
                        .warm_up = statement.integer(4) != 0,
                        .text = statement.text(5),
                        .metrics = statement.text(6),
                        .state = statement.text(7)});
    }
    return rows;
}

Result<std::vector<SampleRow>> SampleStore::samples(std::int64_t experiment,
                                                    std::string_view kind) {
    Statement statement = TRY(m_db->prepare(
        "SELECT p.run, p.kind, p.time_ms, p.context_tokens, p.layer, p.state_kind, p.count, "
        "p.value FROM samples p JOIN runs r ON r.id = p.run JOIN arms a ON a.id = r.arm "
        "WHERE a.experiment = ?1 AND (?2 = '' OR p.kind = ?2) ORDER BY p.run, p.rowid"));
    statement.bind(1, experiment).bind(2, kind);
    std::vector<SampleRow> rows;
    while (TRY(statement.step())) {
        rows.push_back({.run = statement.integer(0),
                        .kind = statement.text(1),
                        .time_ms = statement.real(2),
                        .context_tokens = statement.integer(3),
                        .layer = static_cast<int>(statement.integer(4)),
                        .state_kind = statement.text(5),
                        .count = statement.integer(6),
                        .value = statement.real(7)});
    }
    return rows;
}

} // namespace hs
