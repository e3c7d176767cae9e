"""Dividing the work of a kernel among threads: Numba's, which wait for work between kernels.

Numba's own loop in parallel, `prange`, would have what it calls compiled a second time, as a part of the loop, which
takes as long again. Here a kernel is called through its address, and what is compiled for it is only that call.
"""

import ctypes
import os
from functools import cache, partial, wraps
from types import FunctionType

import numba
from llvmlite import ir
from llvmlite.binding import address_of_symbol
from numba import config, int64
from numba.core import cgutils, types
from numba.core.callconv import RETCODE_NONE, RETCODE_OK
from numba.extending import intrinsic
from threadpoolctl import threadpool_limits

from .jit import jit

# BLAS gets one thread: two thread pools that spin at the same time slow each other down severely.

threadpool_limits(1, user_api="blas")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # GNU's threads would spin for so long that others starve
if "NUMBA_NUM_THREADS" not in os.environ and os.environ.get("OMP_NUM_THREADS", "").isdecimal():
    numba.set_num_threads(max(1, min(int(os.environ["OMP_NUM_THREADS"]), config.NUMBA_NUM_THREADS)))

_launched, _forked = False, False
ENOUGH = 16384  # numbers, above which several threads are faster than one


def thread_count(size):
    """The number of threads for an array of this size."""
    return _number_of_threads()() if size > ENOUGH and not _forked else 1


@cache
def _number_of_threads():
    """What `numba.get_num_threads` asks, after two locks each time, and what is compiled asks directly."""
    numba.get_num_threads()  # starts the threads
    return ctypes.PYFUNCTYPE(ctypes.c_int)(address_of_symbol("get_num_threads"))


def _after_fork():
    """In the child of a fork: the threads exist only in the parent."""
    global _forked
    _forked = _launched


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def parallel(work, **options):
    """The kernel `kernel(threads, …)` of a function `work(t, threads, …)`, which does the work of thread t."""
    one = jit(work, **options)
    names = {"__name__": work.__module__, "on_threads": _on_threads}
    copy = FunctionType(_launch.__code__, names, work.__name__)  # a closure is never found in the cache
    copy.__qualname__ = f"{work.__module__}.{work.__qualname__}_parallel"  # the key in Numba's cache
    launch = jit(copy)

    @wraps(work)
    def kernel(threads, *arguments):
        if threads == 1:
            one(0, 1, *arguments)
            return
        global _launched
        if not _launched:
            numba.get_num_threads()  # starts the threads
            _launched = True
        left = launch(threads, *arguments)
        if left > 1:  # the first time in this process
            found = one.get_compile_result(types.none(int64, int64, *map(numba.typeof, arguments)))
            address = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
            ctypes.c_void_p.from_address(left).value = address
            left = launch(threads, *arguments)
        if left:  # an error, as of bounds checks, which is raised here
            for t in range(threads):
                one(t, threads, *arguments)

    return kernel


allocating = partial(parallel, _nrt=True)  # for work that makes arrays of its own


def _launch(threads, *arguments):
    return on_threads(threads, arguments)  # noqa: F821 - a global of each copy


INT, BYTES = ir.IntType(64), ir.IntType(8).as_pointer()


@intrinsic
def _on_threads(context, threads, arguments):
    """Call the function at an address with (t, threads, *arguments), for t from 0 to threads − 1, on Numba's threads.

    Gives 0; or, where no address is set yet, the place for it; or 1 if the function has raised an error.
    """

    def generate(context, builder, signature, values):
        kinds = (types.int64, types.int64, *signature.args[1].types)
        function = context.call_conv.get_function_type(types.none, kinds).as_pointer()
        place = cgutils.add_global_variable(builder.module, function, "address")
        place.linkage, place.initializer = "internal", ir.Constant(function, None)
        work, left = builder.load(place), cgutils.alloca_once_value(builder, builder.ptrtoint(place, INT))
        with cgutils.if_likely(builder, cgutils.is_not_null(builder, work)):
            shared = cgutils.pack_struct(builder, [work, values[0], INT(0), values[1]])
            shared = cgutils.alloca_once_value(builder, shared)
            task = _task(context, builder.module, kinds, shared.type)
            # Numba divides an array among the threads: here one of bytes from address 0 on, whose addresses are each t.
            array, count, step = (cgutils.alloca_once_value(builder, x) for x in (BYTES(None), values[0], INT(1)))
            given = [builder.bitcast(x, BYTES) for x in (task, array, count, step, shared)]
            for_all = ir.FunctionType(ir.VoidType(), [BYTES] * 5 + [INT] * 3)
            for_all = cgutils.get_or_insert_function(builder.module, for_all, "numba_parallel_for")
            there = cgutils.get_or_insert_function(builder.module, ir.FunctionType(INT, []), "get_num_threads")
            builder.call(for_all, [*given, INT(0), INT(1), builder.call(there, [])])  # no inner dims, one array
            builder.store(builder.load(cgutils.gep_inbounds(builder, shared, 0, 2)), left)
        return builder.load(left)

    return types.int64(threads, arguments), generate


def _task(context, module, kinds, shared):
    """What a thread calls, with a part of the array, as if it were one of NumPy's generalized ufuncs."""
    task = ir.FunctionType(ir.VoidType(), [BYTES.as_pointer(), INT.as_pointer(), INT.as_pointer(), BYTES])
    task = ir.Function(module, task, module.get_unique_name("task"))
    task.linkage = "internal"
    builder = ir.IRBuilder(task.append_basic_block())
    arrays, counts, _, given = task.args
    given = builder.bitcast(given, shared)
    work, threads, _, arguments = cgutils.unpack_tuple(builder, builder.load(given))
    first = builder.ptrtoint(builder.load(arrays), INT)
    with cgutils.for_range(builder, builder.load(counts)) as loop:
        values = [builder.add(first, loop.index), threads, *cgutils.unpack_tuple(builder, arguments)]
        values = context.get_arg_packer(kinds).as_arguments(builder, values)
        result, error = (cgutils.alloca_once(builder, kind.pointee) for kind in work.type.pointee.args[:2])
        code = builder.call(work, [result, error, *values])
        wrong = [builder.icmp_signed("!=", code, right) for right in (RETCODE_OK, RETCODE_NONE)]
        with cgutils.if_unlikely(builder, builder.and_(*wrong)):
            builder.store(INT(1), cgutils.gep_inbounds(builder, given, 0, 2))
    builder.ret_void()
    return task
