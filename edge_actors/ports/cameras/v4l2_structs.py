"""The few structures and calls of Video4Linux2 (linux/videodev2.h) that taking pictures needs.

Written with ctypes for this machine's word size. The one maintained Python library for this, linuxpy, is under the
GPL, which would bind everybody who ships a device with it; this is all of it that a camera needs.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_int32, c_long, c_uint8, c_uint32, c_ulong, c_void_p

VIDEO_CAPTURE, MMAP = 1, 1  # the type of buffers, and where they are
CAN_CAPTURE, CAN_STREAM, HAS_DEVICE_CAPS = 0x1, 0x04000000, 0x80000000
BUFFER_ERROR = 0x40
TIMESTAMP, TIMESTAMP_MONOTONIC = 0xE000, 0x2000
COLOURS_OF_JPEG, FULL_RANGE = 7, 1
DISCRETE = 1


def fourcc(name: str) -> int:
    return int.from_bytes(name.encode().ljust(4)[:4], "little")


def name_of(fourcc: int) -> str:
    return fourcc.to_bytes(4, "little").decode(errors="replace").rstrip()


class Capability(ctypes.Structure):
    _fields_ = (
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus_info", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_char * 32),
        ("pixelformat", c_uint32),
        ("mbus_code", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class FrameSize(ctypes.Structure):
    _fields_ = (
        ("index", c_uint32),
        ("pixelformat", c_uint32),
        ("type", c_uint32),
        ("numbers", c_uint32 * 6),  # discrete: width, height
        ("reserved", c_uint32 * 2),
    )


class PixelFormat(ctypes.Structure):
    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("bytesperline", c_uint32),
        ("sizeimage", c_uint32),
        ("colorspace", c_uint32),
        ("priv", c_uint32),
        ("flags", c_uint32),
        ("ycbcr_enc", c_uint32),
        ("quantization", c_uint32),
        ("xfer_func", c_uint32),
    )


class _FormatUnion(ctypes.Union):
    _fields_ = (("pix", PixelFormat), ("aligned", c_void_p), ("raw", c_uint8 * 200))


class Format(ctypes.Structure):
    _fields_ = (("type", c_uint32), ("fmt", _FormatUnion))


class RequestBuffers(ctypes.Structure):
    _fields_ = (
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("reserved", c_uint32),
    )


class _Where(ctypes.Union):
    _fields_ = (("offset", c_uint32), ("userptr", c_ulong), ("planes", c_void_p), ("fd", c_int32))


class Buffer(ctypes.Structure):
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytesused", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("seconds", c_long),
        ("microseconds", c_long),
        ("timecode", c_uint32 * 4),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("where", _Where),
        ("length", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class StreamParameters(ctypes.Structure):
    _fields_ = (
        ("type", c_uint32),
        ("capability", c_uint32),
        ("capturemode", c_uint32),
        ("numerator", c_uint32),
        ("denominator", c_uint32),
        ("rest", c_uint8 * 184),
    )


def _call(direction: int, number: int, structure: type[ctypes.Structure] | type[c_int32]) -> int:
    """The number of an ioctl of V4L2, as linux/ioctl.h makes it: 1 writes to the driver, 2 reads from it."""
    return direction << 30 | ctypes.sizeof(structure) << 16 | ord("V") << 8 | number


QUERYCAP = _call(2, 0, Capability)
ENUM_FMT = _call(3, 2, FormatDescription)
S_FMT = _call(3, 5, Format)
REQBUFS = _call(3, 8, RequestBuffers)
QUERYBUF = _call(3, 9, Buffer)
QBUF = _call(3, 15, Buffer)
DQBUF = _call(3, 17, Buffer)
STREAMON = _call(1, 18, c_int32)
STREAMOFF = _call(1, 19, c_int32)
S_PARM = _call(3, 22, StreamParameters)
ENUM_FRAMESIZES = _call(3, 74, FrameSize)
