"""The control file's records, as native/emulator/common/hs_shared.h has them. Both sides check each other's sizes."""

from __future__ import annotations

import ctypes

MAGIC = 0x45544145534F5448
VERSION = 3
GRANULE = 2 << 20
MAX_DEVICES = 16
MAX_SLOTS = 512
MAX_FAULTS = 32
MAX_SHARES = 1024
MAX_LATE = 16
KEEP_PAGES = 1
CUSTOM_STORAGE = 2
LIVE_BYTE = (1 << 40) + 0x1000
SHARE_BYTE = (1 << 40) + 0x4000
SHARE_BIT = 0x8000


class Late(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint64), ("until_ns", ctypes.c_uint64))


class DeviceRecord(ctypes.Structure):
    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("name", ctypes.c_char * 96),
        ("bytes", ctypes.c_uint64),
        ("granules", ctypes.c_uint32),
        ("owners", ctypes.c_uint32),
        ("places", ctypes.c_uint64),
        ("late", Late * MAX_LATE),
    )


class Box(ctypes.Structure):
    _fields_ = (
        ("status", ctypes.c_uint32),
        ("op", ctypes.c_uint32),
        ("timeout_ms", ctypes.c_uint32),
        ("result", ctypes.c_int32),
        ("pairs", ctypes.c_uint32),
        ("value", ctypes.c_uint32),
        ("devices", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("pair", ctypes.c_uint8 * 32 * MAX_DEVICES),
    )


class Slot(ctypes.Structure):
    _fields_ = (
        ("used", ctypes.c_uint32),
        ("pid", ctypes.c_int32),
        ("pid_ns", ctypes.c_uint64),
        ("start", ctypes.c_uint64),
        ("restore_tid", ctypes.c_int32),
        ("handler_tid", ctypes.c_int32),
        ("state", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("comm_id", ctypes.c_uint64),
        ("comm_ranks", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
        ("lent", ctypes.c_uint64 * MAX_DEVICES),
        ("box", Box),
    )


class FaultRecord(ctypes.Structure):
    _fields_ = (
        ("armed", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("pid_ns", ctypes.c_uint64),
        ("pid", ctypes.c_int32),
        ("skip", ctypes.c_int32),
        ("left", ctypes.c_int32),
        ("fired", ctypes.c_uint32),
        ("value", ctypes.c_int64),
        ("op", ctypes.c_char * 48),
    )


class Share(ctypes.Structure):
    _fields_ = (
        ("used", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("granules", ctypes.c_uint32),
        ("holder", ctypes.c_uint32),
    )


class Shared(ctypes.Structure):
    _fields_ = (
        ("magic", ctypes.c_uint64),
        ("version", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("file_bytes", ctypes.c_uint64),
        ("device_count", ctypes.c_uint32),
        ("device_size", ctypes.c_uint32),
        ("slot_size", ctypes.c_uint32),
        ("fault_size", ctypes.c_uint32),
        ("share_size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("context_bytes", ctypes.c_uint64),
        ("device", DeviceRecord * MAX_DEVICES),
        ("fault", FaultRecord * MAX_FAULTS),
        ("share", Share * MAX_SHARES),
        ("slot", Slot * MAX_SLOTS),
    )
