# Sourced by ./check, ./quickstart and the scripts beside this file. Plain bash: on a fresh machine nothing else is there yet.
# Sets `top`; offers say, die, cores, packages_of, need_packages, configure.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' red='' plain=''
fi

say() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }
die() {
    printf '%s%s: %s%s\n' "$red" "${0##*/}" "$*" "$plain" >&2
    exit 1
}

cores() { nproc 2>/dev/null || echo 2; }

# packages_of GROUP...: the names listed under these groups, each once.
packages_of() {
    local group package seen=' ' wanted=" $* "
    while read -r group package _; do
        case $group in '' | '#'*) continue ;; esac
        case $wanted in *" $group "*) ;; *) continue ;; esac
        case $seen in *" $package "*) continue ;; esac
        seen+="$package "
        echo "$package"
    done <"$top/.ci/packages"
}

# need_packages GROUP...: installs what is missing, after saying so. Silent when all is there.
need_packages() {
    command -v dpkg-query >/dev/null || {
        echo "This is not Debian or a relative of it: see .ci/packages for what has to be installed." >&2
        return 0
    }
    local package missing=() as_root=()
    for package in $(packages_of "$@"); do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "these packages are missing, and there is no sudo to install them with: ${missing[*]}"
        as_root=(sudo)
    fi
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
    say "Installing ${#missing[@]} missing packages with apt-get${as_root:+ (${as_root[0]/env/as root})}: ${missing[*]}"
    "${as_root[@]}" update </dev/null || die "apt-get update failed"
    "${as_root[@]}" install --no-install-recommends "${missing[@]}" </dev/null || die "apt-get could not install: ${missing[*]}"
}

# configure DIR [MESON OPTION...]: sets a build directory up once; later calls leave it as it is.
# The options are remembered beside it: when they change, the directory is set up anew.
configure() {
    local dir=$1 wanted
    shift
    wanted="$* CXX=${CXX:-}"
    if [ -f "$dir/build.ninja" ]; then
        [ ! -f "$dir/.options" ] || [ "$(cat "$dir/.options")" = "$wanted" ] && return 0
        meson setup --wipe "$dir" "$top" "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; die "meson setup failed"; }
    else
        rm -rf "$dir"
        meson setup "$dir" "$top" "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; die "meson setup failed"; }
    fi
    rm -f "$dir.log"
    echo "$wanted" >"$dir/.options"
}
