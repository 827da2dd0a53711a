"""The calls themselves: results of wrong ones, entry points, attributes."""

import ctypes as C

import conformance_actors as actors
from conformance_actors import Actor
from conformance_registry import check

MIB = 1 << 20


class Api(actors.Target):
    """Calls that need pointers of their own."""

    def proc(self, name, version):
        """(result, status, is there a pointer)."""
        pointer, status = C.c_void_p(), C.c_int(-1)
        result = self.lib.cuGetProcAddress_v2(name, C.byref(pointer), version, C.c_uint64(0), C.byref(status))
        return result, status.value, bool(pointer.value)

    def proc_without_status(self, name, version):
        pointer = C.c_void_p()
        return self.lib.cuGetProcAddress_v2(name, C.byref(pointer), version, C.c_uint64(0), None), bool(pointer.value)

    def text(self, function, value):
        text = C.c_char_p()
        result = getattr(self.lib, function)(value, C.byref(text))
        return result, (text.value or b"").decode()

    def attribute(self, number):
        value = C.c_int(-1)
        return self.lib.cuDeviceGetAttribute(C.byref(value), number, 0), value.value

    def function(self, name):
        module, function = C.c_void_p(), C.c_void_p()
        image = actors.driver.PTX.read_bytes() + b"\0"
        return [
            self.lib.cuModuleLoadData(C.byref(module), image),
            self.lib.cuModuleGetFunction(C.byref(function), module, name),
        ]

    def range(self, address):
        base, size = C.c_uint64(), C.c_size_t()
        result = self.lib.cuMemGetAddressRange_v2(C.byref(base), C.byref(size), C.c_uint64(address))
        return result, base.value, size.value

    def without_context(self):
        self.lib.cuCtxSetCurrent(None)
        return [self.alloc(4096)[0], self.info()[0], self.raw("cuCtxSynchronize")]

    def map_only(self, address, size, handle):
        zero = C.c_uint64(0)
        return self.lib.cuMemMap(C.c_uint64(address), C.c_size_t(size), zero, C.c_uint64(handle), zero)

    def address_free(self, address, size):
        return self.lib.cuMemAddressFree(C.c_uint64(address), C.c_size_t(size))

    def granularity(self):
        size = C.c_size_t()
        result = self.lib.cuMemGetAllocationGranularity(C.byref(size), C.byref(actors.driver.prop()), 0)
        return result, size.value

    def name(self):
        name = C.create_string_buffer(100)
        return self.lib.cuDeviceGetName(name, 100, 0), len(name.value) > 0

    def device(self, ordinal):
        device = C.c_int()
        return self.lib.cuDeviceGet(C.byref(device), ordinal)

    def set32(self, address, value, count):
        return self.lib.cuMemsetD32_v2(C.c_uint64(address), C.c_uint(value), C.c_size_t(count))

    def read(self, address, size):
        data = C.create_string_buffer(size)
        return self.lib.cuMemcpyDtoH_v2(data, C.c_uint64(address), C.c_size_t(size)), data.raw

    def copy(self, dst, src, size):
        return self.lib.cuMemcpyDtoD_v2(C.c_uint64(dst), C.c_uint64(src), C.c_size_t(size))


def api():
    return Actor(Api)


@check([[0, 0, True], [0, 0, True], [0, 1, False], [0, 0, True]], source="run")
def entry_points_by_name():
    app = api()
    names = ((b"cuMemAlloc", 12000), (b"cuCtxCreate", 13000), (b"cuNoSuchThing", 12000), (b"cuInit", 2000))
    return [app.proc(name, version) for name, version in names]


@check([[0, 2, False], [0, 1, False], [0, False]], source="run")
def entry_points_refused():
    app = api()
    out = [app.proc(b"cuMemCreate", 9000), app.proc(b"cuMemAlloc_v2", 12000)]
    return [*out, app.proc_without_status(b"cuNoSuchThing", 12000)]


@check([0, 0, True], source="run")
def checkpoint_entry_point():
    return api().proc(b"cuCheckpointProcessLock", 13000)


@check([[0, "CUDA_ERROR_OUT_OF_MEMORY"], [0, "out of memory"], [1, ""]], source="header")
def error_names():
    app = api()
    return [app.text("cuGetErrorName", 2), app.text("cuGetErrorString", 2), app.text("cuGetErrorName", 12345)]


@check([201, 201, 201], source="header")
def calls_without_a_context():
    return api().without_context()


@check([1, 1, 1, 0, 0, 1], source="run")
def wrong_frees():
    app = api()
    _, address = app.alloc(4 * MIB)
    out = [app.cuMemFree_v2(0x1234), app.cuMemFree_v2(address + 4096), app.alloc(0)[0], app.cuMemFree_v2(0)]
    return [*out, app.cuMemFree_v2(address), app.cuMemFree_v2(address)]


@check([1, 0, 1], source="run")
def wrong_copies():
    app = api()
    _, address = app.alloc(4 * MIB)
    out = [app.write(0x1000, b"x" * 16), app.write(address, b"x" * 16)]
    app.cuMemFree_v2(address)
    return [*out, app.write(address, b"x" * 16)]


@check([0, True, True], source="header")
def set_and_copy_on_the_device():
    app = api()
    one, two = app.alloc(MIB)[1], app.alloc(MIB)[1]
    result = app.set32(one, 0x01020304, MIB // 4) or app.copy(two, one, MIB)
    return [result, app.read(two, 8) == (0, b"\4\3\2\1" * 2), app.crc(one, MIB) == app.crc(two, MIB)]


@check([[0, True, 5 * MIB], [0, True, 700]], source="run")
def address_ranges():
    app = api()
    out = []
    for size in (5 * MIB, 700):
        _, address = app.alloc(size)
        result, base, found = app.range(address + 100)
        out.append([result, base == address, found])
    return out


@check([0, 2 * MIB], source="run")
def granularity_of_virtual_memory():
    return api().granularity()


@check([1, 1, 0], source="run")
def wrong_virtual_memory():
    app = api()
    result_small = app.create(4096)[0]
    _, address = app.reserve(4 * MIB)
    _, handle = app.create(2 * MIB)
    return [result_small, app.map(address + (64 << 30), 2 * MIB, handle), app.unmap(address, 2 * MIB)]


@check([0, 0, 0, 1, 1, 1], source="run")
def access_to_virtual_memory():
    """Written with access, then unmapped; written without access; freed while mapped."""
    app = api()
    _, address = app.reserve(4 * MIB)
    _, handle = app.create(2 * MIB)
    out = [app.map(address, 2 * MIB, handle), app.write(address, b"x" * 16), app.unmap(address, 2 * MIB)]
    out.append(app.write(address, b"x" * 16))
    app.map_only(address, 2 * MIB, handle)
    return [*out, app.write(address, b"x" * 16), app.address_free(address, 4 * MIB)]


@check(2)
def more_than_the_device_has():
    app = api()
    return app.alloc(app.info()[2] * 2)[0]


@check([0, 500], source="header")
def unknown_kernel():
    return api().function(b"hotseat_no_such_kernel")


@check([[0, 1], [0, 1], [0, 1]], source="header")
def virtual_memory_is_supported():
    """Virtual memory management, handles as file descriptors, unified addressing."""
    app = api()
    return [app.attribute(number) for number in (102, 103, 41)]


@check([0, 101, 101], source="header")
def device_ordinals():
    app = api()
    return [app.device(0), app.device(-1), app.device(999)]


@check([0, True], source="header")
def device_has_a_name():
    return api().name()
