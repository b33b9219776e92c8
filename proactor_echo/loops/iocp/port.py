"""The completion port: CPython's IocpProactor with completions taken in batches, which never frees memory too early.

Everything asyncio itself does with a proactor (``sock_*``, pipes, subprocesses, ``sendfile``) works unchanged. What
differs is the poll. ``GetQueuedCompletionStatusEx`` takes up to :data:`BATCH` completions in one call; CPython takes
one at a time, and makes one more call to learn that there is none. And our operations are completed without a future:
the proactor finds the operation by the address of its OVERLAPPED, and the loop calls its ``done``.

Receives are submitted at the end of the iteration. A peer that got an answer in this iteration has often replied by
then, so the receive succeeds within its call. The sockets of our transports are in the mode in which that posts no
packet (skip on success): the operation goes directly to the completed ones.

Lifetimes, the one rule: *cancelling never frees; only the completion frees.* An operation is in the registry, under the
address of its OVERLAPPED, from before it is submitted to the kernel until it has completed, which is the success of the
call itself or else the packet taken from the port (:mod:`proactor_echo.loops.iocp.lifetimes`). The registry keeps the
OVERLAPPED and the buffer alive, so no address is used twice meanwhile.

Sources: "I/O Completion Ports" and "GetQueuedCompletionStatusEx function" of the Windows API reference; CPython's
``Lib/asyncio/windows_events.py`` in 3.11 to 3.13.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.port is for Windows only")

import _winapi
import ctypes
import errno
import logging
import math
import socket
import struct
import time
import weakref
from collections import deque
from ctypes import wintypes
from typing import TYPE_CHECKING, Any, Final, Protocol

from proactor_echo.loops.iocp import winapi
from proactor_echo.loops.iocp.lifetimes import Operation
from proactor_echo.loops.iocp.private import IocpProactor, overlapped

if TYPE_CHECKING:
    import asyncio

logger: logging.Logger = logging.getLogger("asyncio")

#: Completions taken in one call, at most: 8 KiB of entries. The others wait for the next iteration, after timers.
BATCH: Final = 256

#: Seconds `close` waits for operations that were cancelled. Drivers answer in milliseconds; a broken one never does.
CLOSE_LIMIT: Final = 5.0

_ENTRY_SIZE: Final = struct.calcsize(winapi.ENTRY_FORMAT)
#: What WinError 87 means here. The association is the socket's, in whichever process it is, and lasts as long as it.
BELONGS_TO_ANOTHER: Final = (
    "this socket already belongs to another completion port: a listening socket can be served by one process and one "
    "loop only; accept in the parent and hand accepted sockets over with socket.share()"
)

_INVALID_PARAMETER: Final = 87
_WAIT_TIMEOUT: Final = 258
_WAKE_ADDRESS: Final = 0

#: Operations that were still outstanding when their port was closed. The kernel may write to them: kept for ever.
_never_completed: list[Any] = []


class Submittable(Protocol):
    """A receive that is due."""

    def submit(self) -> None:
        """Submit it to the kernel, if it is still wanted."""

    def discard(self) -> None:
        """Drop what it holds: the loop is closed."""


class BatchProactor(IocpProactor):
    """An IocpProactor that takes completions by the hundred, and keeps operations of ours beside asyncio's."""

    def __init__(self) -> None:
        self._operations: dict[int, Operation] = {}
        self._completed: deque[tuple[Operation, int]] = deque()
        self._due: deque[Submittable] = deque()
        self._packets: deque[tuple[int, int, int, int]] = deque()
        self._can_skip_on_success: dict[int, bool] = {}
        self._skips_on_success: weakref.WeakSet[Any] = weakref.WeakSet()
        self._woken = False
        self._entries = bytearray(_ENTRY_SIZE * BATCH)
        self._entries_view = memoryview(self._entries)
        self._entries_pin = ctypes.c_char.from_buffer(self._entries)
        self._entries_address = ctypes.addressof(self._entries_pin)
        self._taken = wintypes.ULONG()
        self._taken_address = ctypes.addressof(self._taken)
        super().__init__()

    def __repr__(self) -> str:
        port = "closed" if self._iocp is None else f"{len(self._operations)} + {len(self._cache)} pending"
        return f"<{type(self).__name__} {port}>"

    # -- operations ----------------------------------------------------------------------------------------------

    def watch(self, sock: Any) -> None:
        """Have the completions of this socket posted to our port; to be called before the first operation on it."""
        self._register_with_iocp(sock)

    def watch_skipping_on_success(self, sock: Any) -> bool:
        """Do the same with FILE_SKIP_COMPLETION_PORT_ON_SUCCESS; False where the system refuses that.

        Then an operation that succeeds within its call posts no completion packet.
        """
        self._register_with_iocp(sock)
        if sock in self._skips_on_success:
            return True
        family = sock.family
        if family not in self._can_skip_on_success:
            self._can_skip_on_success[family] = _is_file_handle(sock)
        if self._can_skip_on_success[family] and winapi.SetFileCompletionNotificationModes(
            sock.fileno(), winapi.FILE_SKIP_COMPLETION_PORT_ON_SUCCESS
        ):
            self._skips_on_success.add(sock)
            return True
        return False

    def _register_with_iocp(self, obj: Any) -> None:
        try:
            super()._register_with_iocp(obj)
        except OSError as exc:
            self._registered.discard(obj)  # CPython has noted it already, and would wait for ever at the next try
            if exc.winerror == _INVALID_PARAMETER and isinstance(obj, socket.socket):
                raise OSError(errno.EINVAL, BELONGS_TO_ANOTHER, None, exc.winerror) from exc
            raise

    def submit_soon(self, receive: Submittable) -> None:
        """Call its ``submit`` from :meth:`submit_due`, at the end of this iteration."""
        self._due.append(receive)

    def submit_due(self) -> None:
        """Submit what became due in this iteration; to be called before the loop computes how long it may wait."""
        due = self._due
        for _ in range(len(due)):
            receive = due.popleft()
            try:
                receive.submit()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._loop._callback_owner_failed(receive, exc)

    def keep(self, address: int, operation: Operation) -> None:
        """Register an operation, before or right after it is submitted to the kernel but within the same iteration.

        Lifetime: the registry holds ``operation`` (and it its OVERLAPPED and buffer) until its packet has been taken,
        or until :meth:`drop` or :meth:`complete`, for one that posts no packet.
        """
        self._operations[address] = operation

    def drop(self, address: int) -> None:
        """Remove an operation that the kernel refused to begin."""
        del self._operations[address]

    def complete(self, address: int, count: int) -> None:
        """Remove an operation that succeeded within its call and posts no packet; ``done`` comes in the next iteration.

        To be called only for sockets that skip completions on success.
        """
        self._completed.append((self._operations.pop(address), count))

    @property
    def pending(self) -> int:
        """How many of our operations are outstanding."""
        return len(self._operations)

    # -- polling -------------------------------------------------------------------------------------------------

    def select(self, timeout: float | None = None) -> deque[tuple[Operation, int]]:
        """Wait up to ``timeout`` seconds (None: for ever) and return what is done, oldest first."""
        self._poll(0 if self._completed else timeout)
        completed, self._completed = self._completed, deque()
        return completed

    def put_back(self, completed: deque[tuple[Operation, int]]) -> None:
        """Return these again from the next :meth:`select`, first."""
        completed.extend(self._completed)
        self._completed = completed

    def _poll(self, timeout: float | None = None) -> None:
        if timeout is None:
            milliseconds = winapi.INFINITE
        else:
            if timeout < 0:
                raise ValueError("negative timeout")
            milliseconds = math.ceil(timeout * 1e3)  # the port counts milliseconds: wait at least `timeout`
            if milliseconds >= winapi.INFINITE:
                raise ValueError("timeout too big")
        if self._taken.value or self._packets:
            pass  # a KeyboardInterrupt came in the last poll: its packets are still here
        elif not winapi.GetQueuedCompletionStatusEx(
            self._iocp, self._entries_address, BATCH, self._taken_address, milliseconds, False
        ):
            self._taken.value = 0
            error = winapi.get_last_error()
            if error != _WAIT_TIMEOUT:
                raise ctypes.WinError(error)
        self._sort()
        if self._unregistered:
            for done in self._unregistered:
                self._cache.pop(done.address, None)
            self._unregistered.clear()

    def _sort(self) -> None:
        """Match packets with operations; a KeyboardInterrupt in between leaves the rest for the next poll."""
        packets, take, complete = self._packets, self._operations.pop, self._completed.append
        if self._taken.value:
            packets.extend(
                struct.iter_unpack(winapi.ENTRY_FORMAT, self._entries_view[: self._taken.value * _ENTRY_SIZE])
            )
            self._taken.value = 0
        while packets:
            key, address, _, count = packets.popleft()
            operation = take(address, None)
            if operation is not None:
                complete((operation, count))
            else:
                self._complete_stock(key, address, count)

    def _complete_stock(self, key: int, address: int, count: int) -> None:
        """Complete an operation of asyncio's own, as IocpProactor._poll does."""
        entry = self._cache.pop(address, None)
        if entry is None:
            if address == _WAKE_ADDRESS:
                self._woken = False
            else:
                # Somebody posted to our port, or an operation was given up. The memory at that address may be
                # anything, so it is not read. Nor is the key closed as a handle, as CPython does: everything that is
                # registered here has the key 0.
                logger.warning("%r: ignored a completion that nobody waits for (key %#x)", self, key)
            return
        future, operation, owner, callback = entry
        if owner in self._stopped_serving:
            future.cancel()
        elif not future.done():  # _register may have read the result already, or somebody cancelled
            try:
                value = callback(count, key, operation)
            except Exception as exc:
                future.set_exception(exc)
                del entry, future  # or they are garbage in a cycle: the traceback of `exc` holds this frame
            else:
                future.set_result(value)

    def wake(self) -> None:
        """End a wait in :meth:`select`, from any thread. Many calls before the wait ends cost one packet."""
        if not self._woken:
            self._woken = True
            try:
                overlapped.PostQueuedCompletionStatus(self._iocp, 0, 0, _WAKE_ADDRESS)
            except BaseException:
                self._woken = False
                raise

    def _register(self, ov: Any, obj: Any, callback: Any) -> asyncio.Future[Any]:
        # By the result of the call itself, which reading the operation's result overwrites: an operation that was
        # pending posts a packet also if it is done by now, and its memory must live until that comes.
        skipped = obj in self._skips_on_success and not ov.error
        future = super()._register(ov, obj, callback)
        if skipped:
            del self._cache[ov.address]  # TransmitFile on a transport's socket, done: no packet will come
        return future

    def _unregister(self, ov: Any) -> None:
        # CPython forgets (before 3.13: even a pending) receive on the self-pipe here and lets its memory go. Its packet
        # is still to come, and would complete whatever stands at that address by then. Only a wait for a handle, which
        # has no owner in the cache, may never post one.
        entry = self._cache.get(ov.address)
        if entry is None or entry[2] == 0:
            super()._unregister(ov)

    # -- closing -------------------------------------------------------------------------------------------------

    def close(self, limit: float = CLOSE_LIMIT) -> None:
        """Cancel every operation, wait until none is outstanding, and close the port.

        Bounded (gh-111604: CPython's waits for ever): after ``limit`` seconds, operations that are still outstanding
        are logged, and their memory is kept for ever.
        """
        if self._iocp is None:
            return
        for operation in list(self._operations.values()):
            operation.cancel()
        self._cancel_stock()
        deadline = time.monotonic() + limit
        while self._operations or self._cache:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                logger.error("%r: closed with operations the kernel has not given back after %g s", self, limit)
                _never_completed.append((self._operations, self._cache))
                self._operations, self._cache = {}, {}
                break
            self._poll(min(remaining, 1.0))
        while self._completed:
            self._completed.popleft()[0].discard()
        while self._due:
            self._due.popleft().discard()
        _winapi.CloseHandle(self._iocp)
        self._iocp = None

    def _cancel_stock(self) -> None:
        for future, _, _, _ in list(self._cache.values()):
            # The wait for an unregistered wait's event must not be cancelled, and says so by raising RuntimeError.
            if not future.cancelled() and type(future).__name__ != "_WaitCancelFuture":
                try:
                    future.cancel()
                except OSError as exc:
                    if self._loop is not None:
                        self._loop.call_exception_handler(
                            {"message": "Cancelling a future failed", "exception": exc, "future": future}
                        )

    def __del__(self) -> None:
        if getattr(self, "_iocp", None) is not None:
            self.close()


def _is_file_handle(sock: Any) -> bool:
    """Whether the socket's provider has real file handles; a layered provider that has not must not skip packets.

    "SetFileCompletionNotificationModes function", remarks; "WSAPROTOCOL_INFOW structure", XP1_IFS_HANDLES.
    """
    try:
        info = sock.getsockopt(socket.SOL_SOCKET, winapi.SO_PROTOCOL_INFOW, winapi.PROTOCOL_INFO_SIZE)
    except Exception:
        return False
    return bool(int.from_bytes(info[:4], sys.byteorder) & winapi.XP1_IFS_HANDLES)
