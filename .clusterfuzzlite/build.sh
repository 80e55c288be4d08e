#!/bin/bash -eu
# Builds every target for the engine and the sanitizer that ClusterFuzzLite has chosen: $CC, $CXX, $CFLAGS,
# $LIB_FUZZING_ENGINE and $OUT are its own. Beside each: its seeds, and its dictionary where it has one.
while read -r target harness core flags; do
    objects=()
    # shellcheck disable=SC2086 # flags and harness are lists of words
    for source in fuzz/driver.c "fuzz/targets/$target.c" ${harness//,/ }; do
        object=$(mktemp --suffix=.o)
        $CC $CFLAGS -std=gnu11 -DFUZZ_LIBFUZZER -Icore -Icore/include -Ifuzz -c "$source" -o "$object"
        objects+=("$object")
    done
    # shellcheck disable=SC2086
    for source in ${core//,/ }; do
        object=$(mktemp --suffix=.o)
        $CC $CFLAGS -std=gnu11 -Icore -Icore/include -Ifuzz $flags -c "$source" -o "$object"
        objects+=("$object")
    done
    # shellcheck disable=SC2086
    $CXX $CFLAGS "${objects[@]}" $LIB_FUZZING_ENGINE -o "$OUT/$target" -lpthread -ldl -lrt
    zip -qj "$OUT/${target}_seed_corpus.zip" "fuzz/corpus/$target"/*
    if [ -e "fuzz/$target.dict" ]; then cp "fuzz/$target.dict" "$OUT/"; fi
    # The core's own handler of SIGSEGV must get the faults of its guarded loads.
    printf '[asan]\nhandle_segv=1\nallow_user_segv_handler=1\n' >"$OUT/$target.options"
done < <(python3 fuzz/build.py --list)
