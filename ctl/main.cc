#include <clocale>
#include <string>
#include <vector>

#include "ctl/app.h"

int main(int argc, char** argv) {
    std::setlocale(LC_CTYPE, "");
    return backup::run_backupctl(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
