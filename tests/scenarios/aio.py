"""Asynchronous writes as databases make them (io_submit): no event tells of them while the file stays open."""
import ctypes
import mmap
import os
import platform
import struct

SETUP, DESTROY, GETEVENTS, SUBMIT = (206, 207, 208, 209) if platform.machine() == "x86_64" else (0, 1, 4, 2)
libc = ctypes.CDLL(None, use_errno=True)
PWRITE = 1


def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Writes:
    """submit() returns as soon as the kernel has taken the write; finish() waits for all of them."""

    def __init__(self):
        self.context = ctypes.c_ulong(0)
        call(SETUP, 64, ctypes.byref(self.context))
        self.kept, self.count = [], 0

    def submit(self, fd, data, offset):
        memory = mmap.mmap(-1, len(data))  # at a page, as O_DIRECT wants it
        memory[:] = data
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        block = ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", 0, 0, 0, PWRITE, 0, fd, address, len(data), offset, 0, 0, 0))
        blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
        call(SUBMIT, self.context, ctypes.c_long(1), blocks)
        self.kept.append((memory, block))
        self.count += 1

    def finish(self):
        events = ctypes.create_string_buffer(32 * 64)
        while self.count > 0:
            self.count -= call(GETEVENTS, self.context, ctypes.c_long(1), ctypes.c_long(64), events, None)
