// Decodes one node of a tree in any JSON encoding. Slower than the scanner's own reading of the
// usual encoding, and the measure of it. Pure; any thread.
#pragma once

#include <optional>
#include <string_view>

#include "common/result.h"
#include "daemon/repository/json_reader.h"
#include "daemon/repository/tree.h"

namespace backup {

NodeType node_type_of(std::string_view text);  // unknown for others

// Reads the next value of `json`. False after an error of the JSON itself, which `json` then keeps.
// Fields that are no readable node (a bad time, id, name ...) are in `problem` (empty: none); the
// value has been read to its end all the same.
bool read_node(JsonReader& json, Node& node, std::string_view& problem);

// Empty, or why no reader should use this node.
std::string_view node_problem(const Node& node);

// One whole node; `corrupt` for all of the above.
Result<Node> decode_node(std::string_view json);

}  // namespace backup
