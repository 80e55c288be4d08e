"""Where CPython 3.13.15, 3.14.7 and 3.15.0rc2 keep what a walk reads, on x86-64: a plain table, in bytes.

`t` is the free-threaded build: its object header is 16 bytes longer. A `size` is where the next object may begin. What
a build does not have is None.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    # The thread state.
    state_size: int
    current_frame: int
    base_frame: int | None  # pointer to the sentinel that every chain ends at, from 3.15
    native_thread_id: int
    datastack_chunk: int
    status: int
    # A frame.
    frame_size: int
    owner: int
    tlbc_index: int | None
    # A code object, and the length of its header.
    code_size: int
    object_type: int
    units: int
    first_line: int
    filename: int
    qualname: int
    bytecode: int
    tlbc: int | None  # pointer to the array of thread-local bytecodes
    # Bits of a frame's executable that are no part of the address.
    tag: int

    # The same everywhere.
    executable: int = 0
    previous: int = 8
    instr_ptr: int = 56
    bound: int = 1 << 1  # bits of the status: is of an OS thread,
    unbound: int = 1 << 2  # is of none any more,
    active: int = 1 << 4  # is that thread's current state
    chunk_previous: int = 0
    chunk_size: int = 8
    chunk_data: int = 24  # where frames may begin
    array_size: int = 0
    array_entries: int = 8


_THREAD_13 = {
    "state_size": 312, "current_frame": 72, "base_frame": None, "native_thread_id": 160, "datastack_chunk": 232,
    "status": 32,
}  # fmt: skip
_THREAD_14 = {**_THREAD_13, "state_size": 832}
_THREAD_15 = {
    "state_size": 888, "current_frame": 72, "base_frame": 80, "native_thread_id": 184, "datastack_chunk": 256,
    "status": 32,
}  # fmt: skip
_FRAME_13 = {"frame_size": 80, "owner": 70, "tlbc_index": None}
_FRAME_14 = {"frame_size": 88, "owner": 74, "tlbc_index": None}
_FRAME_14T = {"frame_size": 88, "owner": 78, "tlbc_index": 72}
_CODE_13 = {
    "code_size": 208, "object_type": 8, "units": 16, "first_line": 68, "filename": 112, "qualname": 128,
    "bytecode": 200, "tlbc": None,
}  # fmt: skip
_CODE_14 = {**_CODE_13, "code_size": 216, "bytecode": 208}
_CODE_13T = {
    "code_size": 224, "object_type": 24, "units": 32, "first_line": 84, "filename": 128, "qualname": 144,
    "bytecode": 216, "tlbc": None,
}  # fmt: skip
_CODE_14T = {**_CODE_13T, "code_size": 240, "bytecode": 232, "tlbc": 224}

LAYOUTS = {
    "3.13": Layout(**_THREAD_13, **_FRAME_13, **_CODE_13, tag=0),
    "3.13t": Layout(**_THREAD_13, **_FRAME_13, **_CODE_13T, tag=0),
    "3.14": Layout(**_THREAD_14, **_FRAME_14, **_CODE_14, tag=3),
    "3.14t": Layout(**_THREAD_14, **_FRAME_14T, **_CODE_14T, tag=3),
    "3.15": Layout(**_THREAD_15, **_FRAME_14, **_CODE_14, tag=3),
    "3.15t": Layout(**_THREAD_15, **_FRAME_14T, **_CODE_14T, tag=3),
}
