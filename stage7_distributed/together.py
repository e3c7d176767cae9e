"""The processes of a demo: they begin with the same flags and data, and end together."""

import sys
import time
import traceback
import zlib
from contextlib import contextmanager, suppress

import numpy as np

from .distributed import abort, agree, all_reduce, get_rank, get_world_size, init_process_group, is_initialized


def begin_together(parser, flags):
    """Join the other ranks, with the same flags; the first one speaks and writes for all."""
    if "timeout" not in flags:
        parser.error("this demo is one process's: start it without mpiexec")
    if vars(flags).get("capture") or vars(flags).get("image"):
        parser.error("--capture and --image are one process's: leave them out, or start it without mpiexec")
    try:
        if not is_initialized():
            init_process_group(timeout=flags.timeout)
        same = {name: value for name, value in vars(flags).items() if isinstance(value, int | float | str)}
        agree("the flags", same)
    except (ImportError, RuntimeError) as error:
        sys.exit(f"{parser.prog}: {error}")
    if get_rank():
        flags.save = flags.plot = flags.log = None


@contextmanager
def ended_together():
    """What ends one rank ends all, which would wait for it; it is said with the number of the rank."""
    try:
        yield
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) else 1
        if status and not is_initialized():
            with suppress(ImportError):
                init_process_group()  # the others wait for this one, also if it alone finds fault with a flag
        if get_world_size() == 1:
            raise
        text = "".join(traceback.format_exception(error)) if status == 1 and type(error) is not SystemExit else status
        time.sleep(0.5 if get_rank() else 0)  # of what ends all ranks alike, the first one tells
        if isinstance(text, str):
            print(f"rank {get_rank()}: {text}", file=sys.stderr)
        if status:
            abort(status if isinstance(status, int) else 1)


def same_data(*contents, **known):
    """End the program with a sentence unless all ranks have these texts or arrays; it names what is `known` of them."""
    if get_world_size() > 1:
        checksum = 0
        for x in contents:
            checksum = zlib.crc32(x.encode() if isinstance(x, str) else x.tobytes(), checksum)
        try:
            agree("the data", {**known, "checksum": checksum})
        except RuntimeError as error:
            sys.exit(str(error))


def ranks():
    """What the first line says of many processes."""
    return f", {get_world_size()} ranks" if get_world_size() > 1 else ""


def totals(*numbers):
    """The sum of each number over all ranks."""
    sums = np.array(numbers, float)
    all_reduce(sums)
    return sums.tolist()
