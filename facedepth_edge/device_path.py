# SPDX-License-Identifier: Apache-2.0
"""The way of frames on a GPU: part of the frame up, one kernel, the network, the answers down, one wait.

DevicePath is the way for every backend whose ``memory`` is "cuda". Each thread has a Lane. After warm-up the kernel and
the network of a single face replay as one CUDA graph; the copies stay outside, because their size varies. A backend
that must not be captured (``why_no_capture``) has the kernel launched before it instead. Nothing is allocated for a
frame that is no larger than those before it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from facedepth_edge.backends.base import DeviceBackend
from facedepth_edge.box import Box
from facedepth_edge.cuda import keep_for_ever
from facedepth_edge.cuda_driver import CudaError, cuda_error
from facedepth_edge.device_frame import DeviceFrame
from facedepth_edge.device_lane import Lane
from facedepth_edge.errors import FaceDepthError
from facedepth_edge.frame_path import NetworkOutput, closed_error
from facedepth_edge.spec import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Hold:
    """Keeps a thread's lane; when the thread ends or the path is forgotten, the lane is closed.

    PyCUDA itself frees nothing outside the thread that made the context.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        weakref.finalize(self, _close_lane, lane)


def _close_lane(lane: Lane) -> None:
    if lane.backend.session.is_of_another_process():  # where nothing of it can be let go
        return
    with lane.lock:
        if not lane.closed:
            lane.close()


class DevicePath:
    """Take frames through a backend on a GPU; each thread has its own context and buffers, made at its first frame.

    Args:
        backend: one whose memory is "cuda"; the path closes it, also where the path cannot be made.
        spec: the model's.

    Raises:
        BackendUnavailable: the crop's kernel cannot be compiled or loaded here.
    """

    crop = "cuda"

    def __init__(self, backend: DeviceBackend, spec: ModelSpec) -> None:
        self._spec = spec
        self._guard = threading.Lock()
        self._recovered = False
        self._lost: CudaError | None = None  # what every later frame gets: all is closed, nothing made anew
        self._generation = 0  # how often everything on the GPU was made
        self._session = backend.session
        self._session.join(self)
        try:
            self._begin(backend)
        except BaseException:
            backend.close()
            self._session.leave(self)
            raise

    def _begin(self, backend: DeviceBackend) -> None:
        lane = Lane(backend, self._spec)
        self._local = threading.local()
        self._local.hold = _Hold(lane)
        self._lanes: weakref.WeakSet[Lane] = weakref.WeakSet([lane])
        self._root: DeviceBackend | None = backend  # the other threads get its forks; None after close()
        self._generation += 1

    def _begin_anew(self, root: DeviceBackend) -> None:
        backend = root.reopen()
        try:
            self._begin(backend)
        except BaseException:
            backend.close()
            raise

    @property
    def max_batch(self) -> int:
        """The most faces that one run() takes."""
        root = self._root
        if root is None:
            raise closed_error()
        return root.max_batch

    @property
    def why_no_graph(self) -> str:
        """Why some thread's frames do not replay as one CUDA graph; empty where nothing speaks against it."""
        with self._guard:
            return next((lane.why_no_graph for lane in self._lanes if lane.why_no_graph), "")

    def _lane(self) -> Lane:
        hold: _Hold | None = getattr(self._local, "hold", None)
        if hold is not None and not hold.lane.closed:
            return hold.lane
        with self._guard:  # also waits for a recovery that goes on in another thread
            if self._root is None:
                raise closed_error()
            if self._lost is not None:
                again = CudaError(str(self._lost))
                again.sticky = True
                raise again from self._lost
            fork = self._root.fork()
            try:
                lane = Lane(fork, self._spec)
            except BaseException:
                fork.release()
                raise
            self._local.hold = _Hold(lane)
            self._lanes.add(lane)
        return lane

    def run(
        self, frame: NDArray[Any] | DeviceFrame, boxes: Sequence[Box], max_value: float | None
    ) -> tuple[list[NetworkOutput], float, float]:
        """As FramePath.run(); the milliseconds are those to stage the frame, and until the answers were here.

        After an error that loses the context, everything on the GPU is made anew and the frame is tried once more; that
        happens once in this path's life.

        Raises:
            As FramePath.run(); CudaError where a call of CUDA failed.
        """
        while True:
            generation = self._generation  # before the lane, which may be of a later one
            try:
                lane = self._lane()  # a thread's first frame may be the one that finds the context lost
                with lane.lock:
                    if self._root is None:
                        raise closed_error()
                    if not lane.closed:
                        return lane.run(frame, boxes, max_value)
            except CudaError as error:
                if not error.sticky:
                    raise
                self._recover(generation, error)

    def _recover(self, generation: int, error: CudaError) -> None:
        """Make everything anew in a new context, unless another thread has done so since that generation.

        Nothing is closed while the session would not give a new context. If anything fails after that, every later
        frame of every thread gets the error.

        Raises:
            CudaError: there is no new context, or not everything could be made in it.
        """
        with self._guard:
            if self._lost is not None:
                raise error
            if self._generation != generation:
                return
            lanes = list(self._lanes)
            for each in lanes:
                each.keep_network()
            if self._recovered or self._root is None:
                raise error
            root, session = self._root, self._session
            ours = [self, root, *(each.backend for each in lanes)]
            session.require_sole_user(ours, error)
            self._recovered, self._lost = True, error
            keep_for_ever(dict(vars(root)))  # its lane may be gone with its thread
            try:
                for each in lanes:
                    _close_lane(each)
                session.recover(ours, error)
                self._begin_anew(root)
            except FaceDepthError as failure:
                self._lost = cuda_error("CUDA", f"{error} Nothing could be made anew: {failure}", sticky=True)
                raise self._lost from failure
            self._lost = None

    def close(self) -> None:
        """Wait for the frames on their way, then let every thread's buffers and the network go; again does nothing."""
        with self._guard:
            root, self._root = self._root, None
            lanes = list(self._lanes)
        if self._session.is_of_another_process():  # nothing of it can be let go here
            return
        for lane in lanes:
            _close_lane(lane)
            lane.backend.close()
        if root is not None:
            root.close()
            self._session.leave(self)
