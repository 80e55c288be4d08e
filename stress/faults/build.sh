#!/usr/bin/env bash
# stress/faults/build.sh PROGRAM ARCHIVE: builds the fault injector with the core's own objects, in which every call that
# calls.def lists is renamed to the function of shim.c that may fail in its place. Run by ninja (target faults).
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'stress/faults/build.sh: %s\n' "$*" >&2; exit 1; }

[ $# -eq 2 ] || die "run by ninja; build the fault injector with: ninja build/stress/faults/driver"
program=$1 archive=$2
folder=$(dirname "$program")
mkdir -p "$folder"

# What the shim stands in for; the last four cannot fail, but are watched.
{
    sed -n 's/^FAULT(\([a-z_]*\),.*/\1/p' stress/faults/calls.def
    printf '%s\n' syscall free pthread_join pthread_cond_timedwait pthread_cond_signal
} | sed 's/.*/& fault_&/' > "$folder/renames"
objcopy --redefine-syms="$folder/renames" "$archive" "$folder/libspprof-faults.a"

read -ra compiler <<<"${CC:-cc}"
read -ra extra <<<"${CFLAGS:-}"
objects=()
for source in stress/faults/{driver,faults,shim,kernel,interpreter}.c; do
    object=$folder/$(basename "$source" .c).o
    "${compiler[@]}" -std=gnu11 -O2 -g -Wall -Wextra -Werror -Icore -Icore/include "${extra[@]}" -MD -MF "$object.d" \
        -MT "$program" -c "$source" -o "$object"
    objects+=("$object")
done
# rdynamic: the core looks the interpreter up by name.
"${compiler[@]}" "${extra[@]}" -rdynamic -o "$program" "${objects[@]}" "$folder/libspprof-faults.a" -lpthread -ldl -lrt
cat "$folder"/*.o.d > "$program.d"
