"""The build: what it makes, what it exports, what it rebuilds and what it installs."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import support

HEADER = support.ROOT / "core" / "include" / "spprof.h"


def output(*command, **environment):
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True, cwd=support.ROOT
    ).stdout


def declared():
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    return set(re.findall(r"^(?!typedef\b).*?\b(spprof_\w+)\(", text, flags=re.MULTILINE))


def exported(shared):
    lines = output("nm", "-D", "--defined-only", str(shared)).splitlines()
    return {line.split()[2].split("@")[0] for line in lines if line.split()[1] in "TWDBRVi"}


def test_the_library_exports_what_the_header_declares(library):
    assert declared()
    assert exported(library / "libspprof.so") == declared()


def test_the_harness_exports_the_core_too(library):
    assert exported(library / "libspprof-harness.so") > declared()


@pytest.mark.parametrize("name", ["libspprof.so", "libspprof-harness.so"])
def test_nothing_is_bound_inside_a_handler_and_nothing_is_unloaded(library, name):
    flags = output("readelf", "-d", str(library / name))
    assert re.search(r"FLAGS_1.*NOW", flags)
    assert re.search(r"FLAGS_1.*NODELETE", flags)


def test_the_library_has_the_name_that_programs_load_it_by(library):
    assert "[libspprof.so.0]" in output("readelf", "-d", str(library / "libspprof.so"))
    assert (library / "libspprof.so.0").resolve() == (library / "libspprof.so").resolve()


def test_each_source_of_the_core_is_built(library):
    sources = {path.name for folder in ("core", "core/ordinary") for path in (support.ROOT / folder).glob("*.c")}
    built = {f"{path.stem}.c" for folder in ("handler", "ordinary") for path in (library / folder).glob("*.o")}
    assert sources <= built


def test_pip_builds_from_the_same_sources():
    project = tomllib.loads((support.ROOT / "pyproject.toml").read_text())
    (module,) = project["tool"]["setuptools"]["ext-modules"]
    ninja = set(re.findall(r": compile (\S+\.c)", (support.ROOT / "build.ninja").read_text()))
    native = {str(path.relative_to(support.ROOT)) for path in (support.ROOT / "core/python/native").glob("*.c")}
    assert set(module["sources"]) == ninja | native


def test_target_with_the_name_of_a_folder_is_never_up_to_date():
    made = re.findall(r"^build (\w+): (.*)", (support.ROOT / "build.ninja").read_text(), re.MULTILINE)
    folders = {name: inputs for name, inputs in made if (support.ROOT / name).is_dir()}
    assert {"fuzz", "stress", "model"} <= folders.keys()
    assert all(inputs.endswith("| build/always") for inputs in folders.values())


def test_nothing_is_compiled_twice(library):
    assert " -c " not in output("ninja", "-v", "library")


def test_a_change_of_the_header_rebuilds(library):
    dependencies = output("ninja", "-t", "deps", "build/handler/reasons.o")
    assert "core/include/spprof.h" in dependencies


def test_other_flags_rebuild(tmp_path):
    build_file = (support.ROOT / "build.ninja").read_text().replace("builddir = build", f"builddir = {tmp_path}")
    build_file = build_file.replace("build build/", f"build {tmp_path}/").replace(" build/", f" {tmp_path}/")
    (tmp_path / "build.ninja").write_text(build_file)
    ninja = ("ninja", "-f", str(tmp_path / "build.ninja"), "-v", str(tmp_path / "handler" / "reasons.o"))
    assert " -c " in output(*ninja, CFLAGS="")
    assert " -c " not in output(*ninja, CFLAGS="")
    assert " -c " in output(*ninja, CFLAGS="-DOTHER")
    assert " -c " in output(*ninja, CFLAGS="-DOTHER", CC="gcc")


def install(destination, prefix, **environment):
    settings = {**os.environ, "DESTDIR": str(destination), "PREFIX": prefix, **environment}
    return subprocess.run([support.ROOT / "ci" / "install"], env=settings, capture_output=True, text=True)


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def version():
    return re.search(r'SPPROF_VERSION "(.*)"', HEADER.read_text()).group(1)


def test_install_puts_everything_in_place_twice(library, tmp_path):
    for _ in range(2):  # the second replaces the first
        run = install(tmp_path, "/opt/somewhere")
        assert run.returncode == 0, run.stderr
    root = tmp_path / "opt" / "somewhere"
    assert files_below(tmp_path) == {
        f"opt/somewhere/{name}"
        for name in (
            "include/spprof.h",
            "lib/libspprof.a",
            "lib/libspprof.so",
            "lib/libspprof.so.0",
            f"lib/libspprof.so.{version()}",
            "lib/pkgconfig/spprof.pc",
        )
    }
    assert (root / "lib" / "libspprof.so").resolve().name == f"libspprof.so.{version()}"


def test_installed_library_is_found_and_runs(library, tmp_path):
    assert install("", str(tmp_path)).returncode == 0
    search = {"PKG_CONFIG_PATH": str(tmp_path / "lib" / "pkgconfig")}
    assert output("pkg-config", "--modversion", "spprof", **search).strip() == version()
    flags = output("pkg-config", "--cflags", "--libs", "spprof", **search).split()
    assert f"-I{tmp_path}/include" in flags
    source = tmp_path / "program.c"
    source.write_text("#include <spprof.h>\n#include <stdio.h>\nint main(void) { puts(spprof_reason_name(0)); }\n")
    program = str(tmp_path / "program")
    output("cc", "-Wall", "-Wextra", "-Werror", str(source), *flags, "-o", program)
    assert output(program, LD_LIBRARY_PATH=str(tmp_path / "lib")) == "captured\n"


@pytest.mark.parametrize("blocked", ["include", "lib/pkgconfig"])
def test_install_that_fails_installs_nothing(library, tmp_path, blocked):
    obstacle = tmp_path / "usr" / blocked
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where a folder has to be")
    run = install(tmp_path, "/usr")
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1] == (
        f"ci/install: nothing was installed; mend what the line above names, then: "
        f"PREFIX=/usr DESTDIR={tmp_path} ninja install"
    )
    assert files_below(tmp_path) == {f"usr/{blocked}"}


def test_install_wants_an_absolute_prefix():
    run = install("", "relative")
    assert run.returncode == 1
    assert run.stderr == (
        "ci/install: PREFIX is 'relative', which is no absolute path; "
        "set it to one, for instance: PREFIX=/usr/local ninja install\n"
    )


def test_extension_exports_its_entry_alone(freethreaded):
    modules = list((freethreaded.packages / "spprof").glob("_native.*.so"))
    assert len(modules) == 1
    assert exported(modules[0]) == {"PyInit__native"}


def test_package_is_linked_not_copied(freethreaded):
    linked = {
        path.relative_to(freethreaded.packages / "spprof"): path.resolve()
        for path in (freethreaded.packages / "spprof").rglob("*.py")
    }
    source = support.ROOT / "core" / "python" / "spprof"
    assert linked == {path.relative_to(source): path for path in source.rglob("*.py")}
    assert Path("__init__.py") in linked
