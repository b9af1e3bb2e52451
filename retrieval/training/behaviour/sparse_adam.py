"""Adam for tables of which each batch reads a few rows: a step costs what was read, not what there is."""

from collections.abc import Callable
from typing import Any

import torch


class RowAdam(torch.optim.Adam):
    """Adam that steps only the rows with a gradient, where the gradient of a parameter is sparse.

    The mean of squares fades with every step, also those at which a row is not read, as in Adam; so a row that is read
    seldom moves as far each time as it does there. The mean of gradients is left out for such rows: it spreads each
    gradient over later steps, and would have to be added to rows that nobody reads. All other parameters learn by Adam
    as it is.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # noqa: ANN401 - as Adam
        """Take one step."""
        for group in self.param_groups:
            for table in group["params"]:
                gradient = table.grad
                if gradient is not None and gradient.is_sparse:
                    self._step_rows(table, gradient.coalesce(), group)
                    table.grad = None  # so that Adam passes over it
        return super().step(closure)

    def _step_rows(self, table: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        fading, rows, values = group["betas"][1], gradient.indices()[0], gradient.values()
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros(())
            state["squares"], state["last"] = torch.zeros_like(table), torch.zeros(len(table), 1)
        state["step"] += 1
        passed = state["step"] - state["last"][rows]
        squares = fading**passed * state["squares"][rows] + (1 - fading) * values**2
        state["squares"][rows], state["last"][rows] = squares, state["step"]
        spread = (squares / (1 - fading ** state["step"])).sqrt() + group["eps"]
        table.index_add_(0, rows, values / spread, alpha=-group["lr"])
