// What the client puts into messages of the bus and reads out of them: a{sv} and lists as plain
// values, errors as our own. Plain functions; the message belongs to the caller.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <systemd/sd-bus.h>

#include "backupd_config.h"
#include "common/result.h"
#include "common/unique_fd.h"
#include "ctl/value.h"

namespace backup {

constexpr const char* kName = BACKUPD_BUS_NAME;

struct BusDeleter {
    void operator()(sd_bus* bus) const { sd_bus_flush_close_unref(bus); }
};
struct MessageDeleter {
    void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using Bus = std::unique_ptr<sd_bus, BusDeleter>;
using Message = std::unique_ptr<sd_bus_message, MessageDeleter>;

struct BusError {
    sd_bus_error error = SD_BUS_ERROR_NULL;
    ~BusError() { sd_bus_error_free(&error); }
};

Error from_bus_error(const sd_bus_error& error, int result);
// An answer that does not match the interface.
Error garbled();

// False: it cannot be sent (text that is not UTF-8).
bool append_names(sd_bus_message* m, const std::vector<std::string>& names);
bool append_texts(sd_bus_message* m, const std::vector<std::string>& texts);
bool append_dict(sd_bus_message* m, const Dict& dict);

// A value that is itself a{sv} (Details) comes back through `nested`, if somebody asks.
bool read_dict(sd_bus_message* m, Dict& dict, std::map<std::string, Dict>* nested = nullptr);
Result<std::string> read_text(const Message& m);
Result<UniqueFd> read_fd(const Message& m);
Result<Dict> read_whole_dict(const Message& m);
Result<std::vector<Dict>> read_dicts(const Message& m);

}  // namespace backup
