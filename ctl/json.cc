#include "ctl/json.h"

#include <nlohmann/json.hpp>

#include "common/bytes.h"
#include "common/path.h"

namespace backup {

namespace {
std::string dump(const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}
}  // namespace

JsonObject& JsonObject::raw(std::string_view key, std::string_view json) {
    if (!body_.empty()) body_ += ',';
    body_ += '"';
    body_ += key;
    body_ += "\":";
    body_ += json;
    return *this;
}

JsonObject& JsonObject::add(std::string_view key, std::string_view text) {
    return raw(key, dump(nlohmann::json(std::string(text))));
}
JsonObject& JsonObject::add(std::string_view key, bool value) {
    return raw(key, value ? "true" : "false");
}
JsonObject& JsonObject::add(std::string_view key, int value) {
    return raw(key, std::to_string(value));
}
JsonObject& JsonObject::add(std::string_view key, std::uint64_t value) {
    return raw(key, std::to_string(value));
}
JsonObject& JsonObject::add(std::string_view key, std::int64_t value) {
    return raw(key, std::to_string(value));
}
JsonObject& JsonObject::add(std::string_view key, double value) {
    return raw(key, dump(nlohmann::json(value)));
}
JsonObject& JsonObject::add(std::string_view key, const JsonObject& value) {
    return raw(key, value.text());
}
JsonObject& JsonObject::add(std::string_view key, const std::vector<JsonObject>& values) {
    std::string list = "[";
    for (const auto& value : values) {
        if (list.size() > 1) list += ',';
        list += value.text();
    }
    return raw(key, list + "]");
}
JsonObject& JsonObject::add(std::string_view key, const std::vector<std::string>& texts) {
    return raw(key, dump(nlohmann::json(texts)));
}
JsonObject& JsonObject::add_null(std::string_view key) {
    return raw(key, "null");
}
JsonObject& JsonObject::add_bytes(std::string_view key, std::string_view bytes) {
    if (is_utf8(bytes)) return add(key, bytes);
    return add(std::string(key) + "_b64", to_base64(as_bytes(bytes)));
}

struct Record::Data {
    nlohmann::json json;
    const nlohmann::json* find(std::string_view key) const {
        auto it = json.find(key);
        return it == json.end() ? nullptr : &*it;
    }
};

Result<Record> Record::parse(std::string_view line) {
    auto json = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
    if (!json.is_object())
        return Error(ErrorKind::corrupt, "not a JSON object: " + printable(line.substr(0, 80)));
    Record record;
    auto data = std::make_shared<Data>();
    data->json = std::move(json);
    record.data_ = std::move(data);
    return record;
}

bool Record::has(std::string_view key) const {
    return data_->find(key) != nullptr;
}
std::string Record::text(std::string_view key) const {
    const auto* value = data_->find(key);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}
std::uint64_t Record::number(std::string_view key) const {
    const auto* value = data_->find(key);
    if (value == nullptr || !value->is_number()) return 0;
    if (value->is_number_unsigned()) return value->get<std::uint64_t>();
    if (value->is_number_integer()) return 0;  // negative
    double real = value->get<double>();
    return real > 0 && real < 1.8e19 ? static_cast<std::uint64_t>(real) : 0;
}
std::int64_t Record::integer(std::string_view key) const {
    const auto* value = data_->find(key);
    return value != nullptr && value->is_number_integer() ? value->get<std::int64_t>() : 0;
}
bool Record::flag(std::string_view key) const {
    const auto* value = data_->find(key);
    return value != nullptr && value->is_boolean() && value->get<bool>();
}
std::string Record::bytes(std::string_view key) const {
    if (has(key)) return text(key);
    auto bytes = from_base64(text(std::string(key) + "_b64"));
    return bytes ? std::string(as_text(*bytes)) : std::string();
}
std::vector<std::pair<std::string, std::uint64_t>> Record::numbers(std::string_view key) const {
    std::vector<std::pair<std::string, std::uint64_t>> list;
    const auto* object = data_->find(key);
    if (object == nullptr || !object->is_object()) return list;
    for (const auto& [name, value] : object->items())
        if (value.is_number_unsigned()) list.emplace_back(name, value.get<std::uint64_t>());
    return list;
}

}  // namespace backup
