#!/usr/bin/env bash
# stress/faults/package.sh NAME STAMP ARCHIVE: the Python package for one interpreter with the calls of its extension and
# of the core renamed to those of shim.c, in build/stress/faults/NAME. Run by ninja (target faults).
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { printf 'stress/faults/package.sh: %s\n' "$*" >&2; exit 1; }

[ $# -eq 3 ] || die "run by ninja; build it with: ninja faults-built"
name=$1 stamp=$2 archive=$3 # the archive with its calls renamed, and its list of renames beside it
folder=$(dirname "$stamp")
package=$folder/spprof
mkdir -p "$package"
read -ra compiler <<<"${CC:-cc}"
read -ra extra <<<"${CFLAGS:-}"

objects=()
for source in core/python/native/*.c; do
    object=build/python/$name/$(basename "$source" .c).o
    objcopy --redefine-syms="$(dirname "$archive")/renames" "$object" "$folder/$(basename "$object")"
    objects+=("$folder/$(basename "$object")")
done
for source in faults shim kernel_free; do
    "${compiler[@]}" -std=gnu11 -O2 -g -fPIC -Wall -Wextra -Werror "${extra[@]}" -MD -MF "$folder/$source.o.d" \
        -MT "$stamp" -c "stress/faults/$source.c" -o "$folder/$source.o"
    objects+=("$folder/$source.o")
done
module=$(basename build/python/"$name"/spprof/_native*.so)
"${compiler[@]}" -shared -Wl,-z,now -Wl,-z,nodelete "${extra[@]}" -o "$folder/module.new" "${objects[@]}" \
    -Wl,--whole-archive "$archive" -Wl,--no-whole-archive -lpthread -ldl -lrt
mv "$folder/module.new" "$package/$module"
find "$package" -type l -delete
(cd core/python/spprof && find . -name '*.py' -printf '%P\n') | while read -r file; do
    mkdir -p "$package/$(dirname "$file")"
    ln -sr "core/python/spprof/$file" "$package/$file"
done
cat "$folder"/*.o.d > "$stamp.d"
: > "$stamp"
