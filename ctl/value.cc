#include "ctl/value.h"

namespace backup {

const Value* Dict::find(std::string_view key) const {
    auto it = values_.find(key);
    return it == values_.end() ? nullptr : &it->second;
}

std::string Dict::text(std::string_view key) const {
    const Value* value = find(key);
    if (value == nullptr) return {};
    if (const auto* text = std::get_if<std::string>(value)) return *text;
    if (const auto* name = std::get_if<FileName>(value)) return name->bytes;
    return {};
}

std::uint64_t Dict::number(std::string_view key) const {
    const Value* value = find(key);
    if (value == nullptr) return 0;
    if (const auto* number = std::get_if<std::uint64_t>(value)) return *number;
    if (const auto* number = std::get_if<std::uint32_t>(value)) return *number;
    if (const auto* number = std::get_if<std::int64_t>(value))
        return *number < 0 ? 0 : static_cast<std::uint64_t>(*number);
    if (const auto* number = std::get_if<bool>(value)) return *number ? 1 : 0;
    return 0;
}

double Dict::real(std::string_view key) const {
    const Value* value = find(key);
    if (value == nullptr) return 0;
    if (const auto* number = std::get_if<double>(value)) return *number;
    return static_cast<double>(number(key));
}

bool Dict::flag(std::string_view key) const {
    const Value* value = find(key);
    const auto* flag = value == nullptr ? nullptr : std::get_if<bool>(value);
    return flag != nullptr && *flag;
}

std::vector<std::string> Dict::texts(std::string_view key) const {
    const Value* value = find(key);
    const auto* list = value == nullptr ? nullptr : std::get_if<std::vector<std::string>>(value);
    return list == nullptr ? std::vector<std::string>{} : *list;
}

std::vector<std::string> Dict::file_names(std::string_view key) const {
    const Value* value = find(key);
    const auto* list = value == nullptr ? nullptr : std::get_if<std::vector<FileName>>(value);
    if (list == nullptr) return texts(key);
    std::vector<std::string> names;
    names.reserve(list->size());
    for (const auto& name : *list) names.push_back(name.bytes);
    return names;
}

}  // namespace backup
