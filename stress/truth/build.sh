#!/usr/bin/env bash
# stress/truth/build.sh NAME STAMP ARCHIVE: builds the driver for one interpreter into build/stress/NAME/truth.
# Run by ninja (target truth). Writes STAMP, and STAMP.d with everything that the result was made from.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'stress/truth/build.sh: %s\n' "$*" >&2; exit 1; }

[ $# -eq 3 ] || die "run by ninja; build the drivers with: ninja truth-drivers"
name=$1 stamp=$2 archive=$3
folder=build/stress/$name/truth
sources=(stress/truth/driver.c stress/truth/tally.c stress/truth/wall.c stress/truth/storm.c
    core/python/native/names.c)

read -ra compiler <<<"${CC:-cc}"
read -ra extra <<<"${CFLAGS:-}"

python=$(ci/python --existing "$name")
{ read -r headers; read -r suffix; } < <("$python" -I -c '
import sysconfig
print(sysconfig.get_path("include"))
print(sysconfig.get_config_var("EXT_SUFFIX"))')

mkdir -p "$folder"
objects=()
for source in "${sources[@]}"; do
    object=$folder/$(basename "$source" .c).o
    "${compiler[@]}" -std=gnu11 -O2 -g -fPIC -Wall -Wextra -Werror -isystem "$headers" -Icore -Icore/include \
        "${extra[@]}" -MD -MF "$object.d" -c "$source" -o "$object"
    objects+=("$object")
done
# Whole or not at all, because a process may have the old one mapped.
"${compiler[@]}" -shared -Wl,-z,now -Wl,-z,nodelete \
    -Wl,--wrap=clock_getres,--wrap=pthread_cond_timedwait -Wl,--version-script=ci/extension.map "${extra[@]}" \
    -o "$folder/driver.new" "${objects[@]}" -Wl,--whole-archive "$archive" -Wl,--no-whole-archive -lpthread -ldl -lrt
mv "$folder/driver.new" "$folder/truth_driver$suffix"
{
    printf '%s:' "$stamp"
    cat "$folder"/*.o.d | sed -e 's/^[^:]*://' -e 's/\\$//' | tr -s ' ' '\n' | sed '/^$/d' | sort -u |
        tr '\n' ' ' | sed 's/^/ /'
    printf '\n'
} >"$stamp.d"
printf '%s\n' "$python" >"$stamp"
