#include "daemon/policy/presets.h"

namespace backup {

const Presets& shipped_presets() {
    static const Presets shipped = [] {
        Presets all = {
            {"caches",
             {"what programs make anew: caches, thumbnails, the waste bin",
              {"/home/*/.cache/", "/root/.cache/", "/home/*/.thumbnails/",
               "/home/*/.var/app/*/cache/", "/home/*/.local/share/Trash/",
               "/root/.local/share/Trash/", ".Trash-[0-9]*/", "lost+found/", "/var/cache/",
               "/var/tmp/"},
              ""}},
            {"system",
             {"what exists only while the machine runs, or is a device",
              {"/dev/", "/proc/", "/sys/", "/run/", "/tmp/", "/var/run/", "/var/lock/", "/swapfile",
               "/swap.img"},
              ""}},
            {"builds",
             {"what is built or fetched anew from sources",
              {"node_modules/", "__pycache__/", "*.pyc", ".tox/", ".venv/", ".gradle/", ".ccache/"},
              ""}},
        };
        for (auto& [name, preset] : all) preset.origin = "preset " + name;
        return all;
    }();
    return shipped;
}

}  // namespace backup
