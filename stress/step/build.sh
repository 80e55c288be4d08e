#!/usr/bin/env bash
# stress/step/build.sh NAME: builds step_driver for that interpreter, and the oracle alone as a shared library, into
# build/stress/NAME. The interpreter has to be there (ci/python NAME) and so has build/libspprof.a (ninja library).
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'stress/step/build.sh: %s\n' "$*" >&2; exit 1; }

[ $# -eq 1 ] || die "which interpreter? Give its name, for instance: stress/step/build.sh 3.14t"
[ "$(uname -m)" = x86_64 ] || die "stepping needs the trap flag of x86-64; this machine is $(uname -m)"
name=$1 folder=build/stress/$1
archive=build/libspprof.a
[ -f $archive ] || die "there is no $archive; build it with: ninja library"
python=$(ci/python --existing "$name")
read -ra compiler <<<"${CC:-cc}"
read -ra extra <<<"${CFLAGS:-}"
flags=(-std=gnu11 -O2 -g -fPIC -Wall -Wextra -Werror -Icore -Icore/include)

{ read -r headers; read -r suffix; } < <("$python" -I -c '
import sysconfig
print(sysconfig.get_path("include"))
print(sysconfig.get_config_var("EXT_SUFFIX"))')

link() { # link RESULT ARGUMENT...: whole or not at all, because a process may have the old one mapped
    local result=$folder/$1
    shift
    "${compiler[@]}" "${flags[@]}" -shared -Wl,-z,now -Wl,-z,nodelete "${extra[@]}" -o "$result.$$" "$@"
    mv "$result.$$" "$result"
}

mkdir -p "$folder"
trap 'rm -f "$folder"/*.$$' EXIT
link "step_driver$suffix" -isystem "$headers" stress/step/driver.c stress/step/continuity.c $archive -lpthread -ldl -lrt
link continuity.so stress/step/continuity.c
