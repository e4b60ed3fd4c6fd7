#pragma once
// Configurations as published, read as a folder with nothing but a config.json is.

#include "engine/core/json.h"
#include "engine/spec/families.h"

#include <QTemporaryDir>

#include <filesystem>
#include <fstream>
#include <utility>

namespace hs::test {

inline Result<SpecAndTensors> read_config(const Json& config) {
    QTemporaryDir folder;
    const std::filesystem::path path =
        std::filesystem::path(folder.path().toStdString()) / "config.json";
    std::ofstream(path, std::ios::binary) << config.dump();
    auto file = Checkpoint::open(path, Need::HeaderOnly);
    if (!file.ok()) {
        return std::move(file).error();
    }
    return read_model(*file);
}

inline Json parse(const char* text) {
    auto json = parse_json(text);
    if (!json.ok()) {
        qFatal("%s", json.error().text().c_str());
    }
    return std::move(*json);
}

} // namespace hs::test
