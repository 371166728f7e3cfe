from __future__ import annotations

import numpy as np
import pytest
import torch

from vibe_assets.heads.margins import ClassHead, MarginLoss, Method, effective_number_weights, with_angular_margin
from vibe_assets.heads.minibatch import Recipe, choose, moments, reciprocal_rank, train_classes, true_ranks

COUNTS = torch.tensor([400, 60, 40])


def data(n: int = 600, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.8, 0.12, 0.08])
    x = rng.standard_normal((n, 12)).astype(np.float32)
    x[np.arange(n), y] += 1.5
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y.astype(np.int64)


def trained(method: Method, **options: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = data()
    val_x, val_y = data(300, seed=1)
    fitted = train_classes(x, y, val_x, val_y, classes=3, recipe=Recipe(method, lr=1e-2, epochs=10, **options), seed=5, threads=1)
    return fitted.score(val_x), val_y


def test_class_balanced_weights_are_those_of_the_formula_with_mean_one() -> None:
    raw = [(1 - 0.999) / (1 - 0.999 ** int(count)) for count in COUNTS]
    assert effective_number_weights(COUNTS, 0.999).tolist() == pytest.approx([weight * 3 / sum(raw) for weight in raw], rel=1e-5)
    assert effective_number_weights(torch.tensor([5, 0]), 0.999).isfinite().all()


def test_the_angular_margin_moves_the_true_class_only_and_makes_it_harder() -> None:
    cosine = torch.tensor([[0.8, 0.1, -0.3], [-0.99, 0.2, 0.1]])
    pushed = with_angular_margin(10 * cosine, torch.tensor([0, 0]), torch.tensor(10.0), 0.3)
    assert pushed[0, 0].item() == pytest.approx(10 * np.cos(np.arccos(0.8) + 0.3), rel=1e-4)
    assert torch.allclose(pushed[:, 1:], 10 * cosine[:, 1:])
    assert pushed[1, 0] < 10 * cosine[1, 0]


def test_focal_loss_without_focus_is_cross_entropy_and_with_it_less() -> None:
    x, y = (torch.from_numpy(part) for part in data())
    mean, std = moments(x)
    head = ClassHead(Method("linear"), mean, std, 3)
    torch.nn.init.normal_(head.weight, std=0.3)
    plain, focal = (MarginLoss(Method("m", gamma=gamma), COUNTS)(head, x, y).item() for gamma in (0.0, 2.0))
    assert plain == pytest.approx(torch.nn.functional.cross_entropy(head(x), y).item())
    assert focal < plain


def test_a_linear_head_standardises_inside_its_weights() -> None:
    x = torch.from_numpy(data()[0])
    mean, std = moments(x)
    assert torch.allclose(mean, x.mean(dim=0), atol=1e-6)
    assert torch.allclose(std, x.std(dim=0, correction=0), atol=1e-6)
    head = ClassHead(Method("linear"), mean, std, 3)
    torch.nn.init.normal_(head.weight)
    assert torch.allclose(head(x), ((x - mean) / std) @ head.weight.T + head.bias, atol=1e-4)


def test_training_repeats_bit_for_bit_and_keeps_the_best_epoch() -> None:
    assert (trained(Method("cosine", "cosine", learn_scale=True))[0] == trained(Method("cosine", "cosine", learn_scale=True))[0]).all()
    x, y = data()
    fitted = train_classes(x, y, *data(300, seed=1), classes=3, recipe=Recipe(Method("linear"), lr=1e-2, epochs=10), seed=5, threads=1)
    assert fitted.val_score == max(entry["val_mrr"] for entry in fitted.history) or fitted.val_score == pytest.approx(
        max(entry["val_mrr"] for entry in fitted.history), abs=1e-6
    )


@pytest.mark.parametrize(
    "method",
    [
        Method("linear"), Method("cosine", "cosine", learn_scale=True), Method("focal", gamma=2.0),
        Method("arcface", "cosine", scale=16.0, margin=0.1), Method("class_balanced", beta=0.999), Method("logit_adjusted", tau=1.0),
    ],
    ids=lambda method: method.name,
)  # fmt: skip
def test_every_method_learns(method: Method) -> None:
    logits, y = trained(method)
    recall = [(logits.argmax(1) == y)[y == name].mean() for name in range(3)]
    assert np.mean(recall) > 0.55


def test_logit_adjustment_and_balanced_weights_find_the_rare_classes() -> None:
    def rare(method: Method) -> float:
        logits, y = trained(method)
        return float((logits.argmax(1) == y)[y > 0].mean())

    plain = rare(Method("linear"))
    assert rare(Method("adjusted", tau=1.0)) > plain
    assert rare(Method("balanced", beta=0.999)) > plain


def test_only_a_learned_scale_moves() -> None:
    x, y = data()
    for learn in (True, False):
        method = Method("m", "cosine", scale=16.0, learn_scale=learn)
        head = train_classes(x, y, x, y, classes=3, recipe=Recipe(method, lr=1e-2, epochs=3), seed=0, threads=1).head
        assert (abs(head.log_scale.exp().item() - 16) > 0.01) is learn


def test_ranks_count_ties_half() -> None:
    head = ClassHead(Method("linear"), torch.zeros(2), torch.ones(2), 4)  # all logits alike
    ranks = true_ranks(head, np.ones((3, 2), np.float32), np.array([0, 1, 3]))
    assert ranks.tolist() == [2.5, 2.5, 2.5]
    assert reciprocal_rank(np.array([1.0, 2.0, 4.0]), np.array([0, 0, 2]), balanced=True) == pytest.approx((0.75 + 0.25) / 2)


def test_the_recipe_with_the_best_held_out_rank_is_chosen() -> None:
    x, y = data()
    lazy, good = Recipe(Method("linear"), lr=1e-7, epochs=1), Recipe(Method("linear"), lr=1e-2, epochs=8)
    best, tried = choose(x, y, *data(300, seed=1), classes=3, recipes=[lazy, good], seed=0, threads=1)
    assert best.recipe is good
    assert len(tried) == 2


def test_rows_that_do_not_fit_are_refused() -> None:
    x, y = data(20)
    recipe = Recipe(Method("linear"))
    with pytest.raises(ValueError, match="val: expected at least one row"):
        train_classes(x, y, x[:0], y[:0], classes=3, recipe=recipe, seed=0)
    with pytest.raises(ValueError, match=r"expected classes 0\.\.1"):
        train_classes(x, y, x, y, classes=2, recipe=recipe, seed=0)
