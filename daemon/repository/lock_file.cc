#include "daemon/repository/lock_file.h"

#include <string_view>

#include "daemon/repository/go_json.h"
#include "daemon/repository/json_reader.h"

namespace backup {

std::string encode_lock(const LockFile& lock) {
    std::string json = R"({"time":")" + format_rfc3339(lock.time) + R"(","exclusive":)";
    json += lock.exclusive ? "true" : "false";
    json += R"(,"hostname":)";
    append_go_json_string(json, lock.hostname, GoRules::go122);
    json += R"(,"username":)";
    append_go_json_string(json, lock.username, GoRules::go122);
    json += R"(,"pid":)" + std::to_string(lock.pid);
    if (lock.uid != 0) json += R"(,"uid":)" + std::to_string(lock.uid);
    if (lock.gid != 0) json += R"(,"gid":)" + std::to_string(lock.gid);
    if (!lock.program.empty()) {
        json += R"(,"program":)";
        append_go_json_string(json, lock.program, GoRules::go122);
    }
    if (!lock.purpose.empty()) {
        json += R"(,"purpose":)";
        append_go_json_string(json, lock.purpose, GoRules::go122);
    }
    if (lock.begin) json += R"(,"begin":")" + format_rfc3339(*lock.begin) + '"';
    return json + "}";
}

Result<LockFile> decode_lock(ByteView text) {
    LockFile lock;
    std::string time, begin;
    JsonReader json(text);
    json.begin_object();
    for (std::string_view key; json.next_key(key);) {
        if (key == "time")
            json.read(time);
        else if (key == "exclusive")
            json.read(lock.exclusive);
        else if (key == "hostname")
            json.read(lock.hostname);
        else if (key == "username")
            json.read(lock.username);
        else if (key == "pid")
            json.read(lock.pid);
        else if (key == "uid")
            json.read(lock.uid);
        else if (key == "gid")
            json.read(lock.gid);
        else if (key == "program")
            json.read(lock.program);
        else if (key == "purpose")
            json.read(lock.purpose);
        else if (key == "begin")
            json.read(begin);
        else
            json.skip();
    }
    if (!json.finish()) return json.error("lock");
    auto parsed = parse_rfc3339(time);
    if (!parsed.ok()) return Error(ErrorKind::corrupt, "lock: bad time");
    lock.time = parsed.value();
    if (auto began = parse_rfc3339(begin); !begin.empty() && began.ok()) lock.begin = *began;
    return lock;
}

}  // namespace backup
