// Context is what a verb works with: its arguments, the daemon, and where output goes.
// Main thread only. Text goes to stdout, notes and progress to stderr; with --json stdout carries
// JSON only.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/json.h"
#include "ctl/render.h"

namespace backup {

enum class WaitMode { by_verb, wait, no_wait };

class Context {
  public:
    Context(const Arguments& arguments, const Clock& clock);

    const Arguments& args() const { return args_; }
    // Connects at the first call.
    Result<Client*> client();
    Timestamp now() const { return clock_.now(); }

    bool json() const { return args_.flag("--json"); }
    bool quiet() const { return args_.flag("--quiet"); }
    bool verbose() const { return args_.flag("--verbose"); }
    bool yes() const { return args_.flag("--yes"); }
    bool dry_run() const { return args_.flag("--dry-run"); }
    bool null_terminated() const { return args_.flag("--null"); }
    WaitMode wait_mode() const { return wait_mode_; }
    std::optional<std::uint64_t> wait_seconds() const { return wait_seconds_; }
    // Questions can be asked: stdin and stderr are a terminal, and nobody reads JSON.
    bool interactive() const;
    // Somebody watches: stdout or stderr is a terminal.
    bool watched() const;
    // Off a terminal: refused without --yes (exit 7). On one: asks.
    Result<> confirm(std::string_view question);

    const Looks& looks() const { return looks_; }            // of stdout
    const Looks& note_looks() const { return note_looks_; }  // of stderr

    void line(std::string_view text);  // stdout
    void raw(std::string_view bytes);  // stdout, as they are
    void table(const Table& table);
    void note(std::string_view text);  // stderr; silent with --quiet
    // A note that is broken at spaces to fit the terminal.
    void sentence(std::string_view text);
    void warn(std::string_view text);                // stderr, always
    JsonObject object(std::string_view type) const;  // schema, type, time
    void print(const JsonObject& object);
    // Flushes; an error when something could not be written (a full disk, say).
    Result<> flush();

    // RFC 3339, null for 0.
    void add_time(JsonObject& object, std::string_view key, std::uint64_t usec) const;
    std::string json_time(Timestamp time) const;

    Result<> check_globals();

  private:
    const Arguments& args_;
    const Clock& clock_;
    std::unique_ptr<Client> client_;
    Looks looks_, note_looks_;
    WaitMode wait_mode_ = WaitMode::by_verb;
    std::optional<std::uint64_t> wait_seconds_;
    bool write_failed_ = false;
};

}  // namespace backup
