#!/bin/bash
# run.sh BUILD SECONDS: every libFuzzer target for so many seconds, starting from its corpus of fixtures. New inputs stay in
# BUILD/corpus; a crash leaves its input there too and fails the run.
set -u
build=$(cd "$1" && pwd) seconds=$2 failed=0 passed=0
here=$(cd "$(dirname "$0")" && pwd)
export ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
targets=$(find "$build/tests/fuzz" -maxdepth 1 -type f -perm -u+x -name '*fuzz*' ! -name '*.*' | sort)
[ -n "$targets" ] || { echo "no fuzz targets in $build/tests/fuzz" >&2 && exit 1; }
for target in $targets; do
    name=${target##*/}
    short=${name#fuzz_} short=${short%_fuzz}
    work=$build/corpus/$short
    mkdir -p "$work/new"
    seeds=()
    for dir in "$here/../fixtures/corpus/$short" "$here/corpus/$short"; do [ -d "$dir" ] && seeds+=("$dir"); done
    echo "== $name: ${seconds} s from ${seeds[*]:-nothing}"
    if "$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$work/" "$work/new" ${seeds[@]+"${seeds[@]}"} >"$work/log" 2>&1; then
        grep -E 'stat::(number_of_executed_units|peak_rss_mb)|cov: ' "$work/log" | tail -n 3
        passed=$((passed + 1))
    else
        tail -n 40 "$work/log"
        echo "FAILED  $name  (input in $work)"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
