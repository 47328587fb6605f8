#include <string>

#include "daemon/repository/go_json.h"
#include "daemon/repository/json_reader.h"
#include "tests/fuzz/fuzz.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ByteView input{data, size};
    JsonReader any(input);
    if (any.skip()) require(any.ok(), "success means no error");
    std::string text;
    JsonReader string(input);
    if (string.read(text)) {
        std::string encoded = go_json_string(text), again;
        JsonReader back{std::string_view(encoded)};
        require(back.read(again) && back.finish(), "an encoded string can be read");
        require(again == text, "and is the same");
    }
    // Whatever the bytes, encoding them gives a string that reads.
    std::string encoded = go_json_string(as_text(input)), ignored;
    JsonReader back{std::string_view(encoded)};
    require(back.read(ignored) && back.finish(), "any bytes can be encoded");
    return 0;
}
