// Where models lie that a person names without a path.

#include "engine/core/paths.h"
#include "engine/lab/runner.h"

#include <algorithm>
#include <fmt/format.h>
#include <mutex>

namespace hs {

namespace {

struct AddedFolders {
    std::mutex mutex;
    std::vector<std::filesystem::path> folders;
};

AddedFolders& added() {
    static AddedFolders folders;
    return folders;
}

// In order of precedence. The built-in ones lie beside the program: an installed tree, then a
// build tree (build/bin beside resources). Architectures lie in a folder beside that of the models.
std::vector<std::filesystem::path> folders() {
    std::vector<std::filesystem::path> all;
    {
        AddedFolders& mine = added();
        const std::lock_guard lock(mine.mutex);
        all = mine.folders;
    }
    if (const auto folder = environment("HYBRIDSCOPE_MODELS")) {
        all.push_back(path_from_utf8(*folder));
    }
    if (const std::filesystem::path program = program_folder(); !program.empty()) {
        all.push_back(program / ".." / "share" / "hybridscope" / "models");
        all.push_back(program / ".." / ".." / "resources" / "models");
    }
    return all;
}

} // namespace

void add_model_folder(const std::filesystem::path& folder) {
    AddedFolders& mine = added();
    const std::lock_guard lock(mine.mutex);
    if (std::find(mine.folders.begin(), mine.folders.end(), folder) == mine.folders.end()) {
        mine.folders.insert(mine.folders.begin(), folder);
    }
}

namespace {

std::vector<NamedModel> files_in(const std::vector<std::filesystem::path>& where,
                                 const char* extension) {
    std::vector<NamedModel> models;
    for (const std::filesystem::path& folder : where) {
        std::error_code failed;
        for (std::filesystem::directory_iterator entry(folder, failed), end;
             !failed && entry != end; entry.increment(failed)) {
            std::error_code unreadable;
            const std::filesystem::path& path = entry->path();
            if (path.extension() != extension || !entry->is_regular_file(unreadable)) {
                continue;
            }
            const std::string name = utf8_from_path(path.stem());
            const bool known =
                std::any_of(models.begin(), models.end(),
                            [&](const NamedModel& model) { return model.name == name; });
            if (!known) {
                models.push_back({name, path.lexically_normal()});
            }
        }
    }
    return models;
}

} // namespace

std::vector<NamedModel> published_architectures() {
    std::vector<std::filesystem::path> where;
    for (const std::filesystem::path& models : folders()) {
        where.push_back(models / ".." / "architectures");
    }
    std::vector<NamedModel> found = files_in(where, ".json");
    std::sort(found.begin(), found.end(),
              [](const NamedModel& a, const NamedModel& b) { return a.name < b.name; });
    return found;
}

std::vector<NamedModel> bundled_models() {
    std::vector<NamedModel> models = files_in(folders(), ".gguf");
    // By name, with full attention first: it is what the others are compared with.
    std::sort(models.begin(), models.end(), [](const NamedModel& a, const NamedModel& b) {
        const bool a_full = a.name.ends_with("-full");
        const bool b_full = b.name.ends_with("-full");
        return a_full != b_full ? a_full : a.name < b.name;
    });
    return models;
}

Result<std::filesystem::path> resolve_model(const std::string& model) {
    if (model.empty()) {
        return Error{ErrorCode::InvalidArgument, "no model is named", {}};
    }
    std::error_code failed;
    const std::filesystem::path path = path_from_utf8(model);
    if (std::filesystem::exists(path, failed)) {
        return path;
    }
    std::string names;
    for (const NamedModel& bundled : bundled_models()) {
        if (bundled.name == model) {
            return bundled.path;
        }
        names += (names.empty() ? "" : ", ") + bundled.name;
    }
    for (const NamedModel& published : published_architectures()) {
        if (published.name == model) {
            return published.path;
        }
    }
    return Error{ErrorCode::NotFound, fmt::format("there is no model \"{}\"", model),
                 "Give a GGUF file, a folder with config.json" +
                     (names.empty() ? "."
                                    : ", or a bundled model: " + names +
                                          "; `models` lists published architectures too.")};
}

} // namespace hs
