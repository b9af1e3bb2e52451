"""Adam by rows against Adam over the whole table."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from retrieval.training.behaviour.next_items import RowAdam

BATCHES = [[0, 3, 3], [3], [1, 2], [0], [4, 4, 0], [3, 1]]


def table() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)).requires_grad_()


def train(optimizer: torch.optim.Optimizer, part: torch.Tensor, *, sparse: bool) -> None:
    for number, rows in enumerate(BATCHES):
        optimizer.zero_grad()
        read = F.embedding(torch.tensor(rows), part, sparse=sparse)
        ((read - number) ** 2).sum().backward()
        optimizer.step()


def test_rows_that_are_read_move_as_in_adam_without_momentum() -> None:
    whole, by_row = table(), table()
    train(torch.optim.Adam([whole], lr=0.1, betas=(0.0, 0.999)), whole, sparse=False)
    train(RowAdam([by_row], lr=0.1), by_row, sparse=True)
    torch.testing.assert_close(by_row, whole)
    assert torch.equal(by_row[5], table()[5])  # nobody read it


def test_what_has_a_whole_gradient_learns_by_adam() -> None:
    whole, same = table(), table()
    train(torch.optim.Adam([whole], lr=0.1), whole, sparse=False)
    train(RowAdam([same], lr=0.1), same, sparse=False)
    torch.testing.assert_close(same, whole)  # the same step in another order of operations


@pytest.mark.parametrize("after", [1, 4])
def test_continues_from_its_state(after: int) -> None:
    straight, stopped = table(), table()
    train(RowAdam([straight], lr=0.1), straight, sparse=True)
    first = RowAdam([stopped], lr=0.1)
    for number, rows in enumerate(BATCHES):
        if number == after:
            state = first.state_dict()
            first = RowAdam([stopped], lr=0.1)
            first.load_state_dict(state)
        first.zero_grad()
        ((F.embedding(torch.tensor(rows), stopped, sparse=True) - number) ** 2).sum().backward()
        first.step()
    assert torch.equal(stopped, straight)
