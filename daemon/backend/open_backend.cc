#include <array>
#include <cstdlib>
#include <string_view>

#include "daemon/backend/backend.h"
#include "daemon/backend/local_backend.h"
#include "daemon/backend/slow_backend.h"

namespace backup {

namespace {

constexpr std::array<std::string_view, 9> kRemoteSchemes{"sftp",  "s3", "rest",  "rclone", "b2",
                                                         "azure", "gs", "swift", "http"};

// "%20" and the like, as file URLs have them.
Result<std::string> percent_decoded(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '%') {
            out += text[at];
            continue;
        }
        std::string digits(text.substr(at + 1, 2));
        for (char& digit : digits)
            if (digit >= 'A' && digit <= 'F') digit = static_cast<char>(digit - 'A' + 'a');
        std::uint8_t byte = 0;
        if (!from_hex(digits, MutableByteView(&byte, 1)))
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "bad %-escape in the URL");
        out += static_cast<char>(byte);
        at += 2;
    }
    return out;
}

Result<OpenedBackend> open_local(std::string_view path) {
    Path root = TRY_DURING(Path::parse(path), "repository URL");
    if (root.is_root())
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "a repository cannot be at /");
    auto backend = std::make_unique<LocalBackend>(std::move(root));
    OpenedBackend opened;
    opened.deleting = backend.get();
    opened.backend = std::move(backend);
    if (const char* of_test = std::getenv("BACKUPD_SLOW_STORAGE")) {
        SlowLine line = TRY(SlowLine::parse(of_test));
        opened.backend = std::make_unique<SlowBackend>(std::move(opened.backend), std::move(line));
    }
    return opened;
}

}  // namespace

Result<OpenedBackend> open_backend(const std::string& url) {
    std::string_view text = url;
    if (text.starts_with('/')) return open_local(text);
    if (text.starts_with("file://")) {
        text.remove_prefix(7);
        if (text.starts_with("localhost/")) text.remove_prefix(9);
        std::string path = TRY(percent_decoded(text));
        return open_local(path);
    }
    if (text.starts_with("local:")) return open_local(text.substr(6));
    std::string_view scheme = text.substr(0, text.find(':'));
    if (scheme.size() < text.size()) {
        for (std::string_view remote : kRemoteSchemes)
            if (scheme == remote || (remote == "http" && scheme == "https"))
                return Error(ErrorKind::invalid, ErrorCode::unsupported,
                             "storage \"" + std::string(scheme) +
                                 ":\" is not supported yet; use a local directory");
        // The URL may hold a password: only its scheme is repeated.
        return Error(ErrorKind::invalid, ErrorCode::unsupported,
                     "unknown storage \"" + printable(scheme) +
                         ":\"; use /path, local:/path or file:///path");
    }
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "the repository must be an absolute path, not \"" + printable(text) + "\"");
}

}  // namespace backup
