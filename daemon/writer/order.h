// What a writer process is told and what it tells: the order it begins with, and its answers, as
// payloads of frames. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/access/caller.h"
#include "daemon/restore/restore.h"
#include "daemon/restore/restore_source.h"
#include "daemon/writer/frames.h"

namespace backup::writer {

// Frames of the conversation that is no blobs. First comes the person, and nothing else is read
// before the writer has no other rights than his; then the order, with the target's descriptor and
// those of the blob channels. Whatever asks for an answer is sent by one thread at a time.
enum class Word : std::uint8_t {
    person,
    order,
    stop,    // the daemon wants it over
    answer,  // to protect, sync, spares
    progress,
    exception,
    protect,
    will_create,
    will_change_entries,
    will_alter,
    left,
    sync,
    spares,
    done,
};

// Whose rights it writes with: everything that he does not have is given up.
struct Person {
    Caller caller;
    std::uint32_t primary_gid = 0;
};
std::string pack_person(const Person& person);
Result<Person> unpack_person(std::string_view payload);

struct Order {
    NamedCaller named;       // for rule R
    bool sees_all = false;   // which does not bind him for once
    RestoreRequest request;  // the values of it; no descriptor, no functions
    bool has_spares = false, has_protect = false, has_change_log = false;
    Snapshot snapshot;  // its time and paths
    std::vector<Selected> selected;
};
Result<std::string> pack_order(const Order& order);
Result<Order> unpack_order(std::string_view payload);

std::string pack_touched(const std::vector<TouchedObject>& touched);
Result<std::vector<TouchedObject>> unpack_touched(std::string_view payload);

// The answer to protect.
using Unsettled = std::unordered_set<std::string>;
std::string pack_unsettled(const Result<Unsettled>& unsettled);
Result<Unsettled> unpack_unsettled(std::string_view payload);

std::string pack_result(const Result<RestoreResult>& result);
Result<RestoreResult> unpack_result(std::string_view payload);

std::string pack_progress(const Progress& progress);
// All but the count of exceptions, which come one by one.
Result<> unpack_progress(std::string_view payload, Progress& into);

}  // namespace backup::writer
