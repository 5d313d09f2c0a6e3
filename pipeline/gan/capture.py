"""A training step as a CUDA graph: at 64 px a GPU waits for Python to launch kernels, and a graph launches all at once.

A graph is trusted only after it has been seen to do what the plain step does, from the same state, on this
very GPU; where it does not, or cannot be captured, the plain step goes on.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable

import torch

WARM_UP = 3  # plain steps before anything is captured: kernels are chosen, optimisers make their state
DIFFERENCE = 0.1  # that is allowed between the two updates, over the size of the update

Step = Callable[[tuple[str, ...], torch.Tensor, torch.Tensor], None]


def capture(
    one_step: Step, generator: torch.Generator, state: Callable[[], list[torch.Tensor]], *, enabled: bool
) -> Step:
    """The step, as a graph where `enabled`.

    Args:
        one_step: Called with the penalties due, the images and their labels; changes only what `state` lists.
        generator: What it draws from.
        state: Every tensor that it changes, and that the next step needs.
        enabled: On a GPU, in one process.
    """
    return CapturedStep(one_step, generator, state) if enabled else one_step


class CapturedStep:
    """One graph for each combination of penalties."""

    def __init__(self, one_step: Step, generator: torch.Generator, state: Callable[[], list[torch.Tensor]]):
        self.one_step, self.generator, self.state = one_step, generator, state
        self.graphs: dict[tuple[str, ...], torch.cuda.CUDAGraph] = {}
        self.inputs: tuple[torch.Tensor, torch.Tensor] | None = None  # what the graphs read
        self.seen: Counter[tuple[str, ...]] = Counter()
        self.plain = False

    def __call__(self, due: tuple[str, ...], images: torch.Tensor, labels: torch.Tensor) -> None:
        self.seen[due] += 1
        if self.plain:
            self.one_step(due, images, labels)
        elif due in self.graphs:
            self._fill(images, labels)
            self.graphs[due].replay()
        elif self.seen.total() <= WARM_UP or self.seen[due] == 1:
            beside = torch.cuda.Stream()  # as torch asks of what comes before a capture
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                self.one_step(due, images, labels)
            torch.cuda.current_stream().wait_stream(beside)
        else:
            self._capture(due, images, labels)

    def _fill(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        if self.inputs is None:
            self.inputs = (images.clone(), labels.clone())
        for held, new in zip(self.inputs, (images, labels), strict=True):
            held.copy_(new)

    def _capture(self, due: tuple[str, ...], images: torch.Tensor, labels: torch.Tensor) -> None:
        """Capture, compare with the plain step from the same state, and keep what the step should have done."""
        self._fill(images, labels)
        stream = self.generator.get_state()
        before = [tensor.detach().clone() for tensor in self.state()]
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        try:
            with torch.cuda.graph(graph):  # runs nothing
                self.one_step(due, *self.inputs)
        except RuntimeError as error:
            return self._go_on_plainly(before, stream, due, f"cannot be captured ({str(error).splitlines()[0]})")
        self._restore(before, stream)
        self.one_step(due, images, labels)
        wanted = [tensor.detach().clone() for tensor in self.state()]
        self._restore(before, stream)
        graph.replay()
        if difference(before, wanted, self.state()) > DIFFERENCE:
            return self._go_on_plainly(before, stream, due, "does something else than the plain step")
        self.graphs[due] = graph

    def _restore(self, tensors: list[torch.Tensor], stream: torch.Tensor) -> None:
        with torch.no_grad():
            for tensor, value in zip(self.state(), tensors, strict=True):
                tensor.copy_(value)
        self.generator.set_state(stream)

    def _go_on_plainly(
        self, before: list[torch.Tensor], stream: torch.Tensor, due: tuple[str, ...], reason: str
    ) -> None:
        warnings.warn(f"The training step {reason} as a CUDA graph here; training goes on without.", stacklevel=3)
        self.plain = True
        self.graphs.clear()
        self._restore(before, stream)
        self.one_step(due, *self.inputs)


def difference(before: list[torch.Tensor], wanted: list[torch.Tensor], got: list[torch.Tensor]) -> float:
    """Distance between two updates over the size of the first.

    Args:
        before: The state that both started from.
        wanted: After the one.
        got: After the other.
    """
    apart = sum(float((w.double() - g.double()).square().sum()) for w, g in zip(wanted, got, strict=True))
    size = sum(float((w.double() - b.double()).square().sum()) for w, b in zip(wanted, before, strict=True))
    return (apart / max(size, 1e-30)) ** 0.5
