"""A training set and settings go in; a trained, calibrated head with its card comes out, bit for bit the same for a seed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.calibrate import MIN_ROWS, Judged, calibrate, choose_thresholds, why_open
from vibe_assets.heads.dataset import TrainingSet, build_targets, training_set
from vibe_assets.heads.models import EARLIER, KIND, TYPES, HeadCard, TooLittleToLearn, TrainedHead, calibrated, farness
from vibe_assets.heads.scores import score_split
from vibe_assets.settings import StudentSettings
from vibe_assets.words import some

if TYPE_CHECKING:
    from vibe_assets.heads.fit import Path
    from vibe_assets.heads.losses import Loss
    from vibe_assets.heads.picked import PickedRows

__all__ = ["TrainingSet", "build_targets", "train_head", "training_set"]

ONE_OF, YES_NO, MANY_OF = TYPES
FOLDS = 5
FOLDER_FOLDS = 3  # each costs a fit: training takes twice the time with them
TAUGHT = 0.25  # share of the photos in held-out folders whose scene (label) another folder shows; below, folders are the labels themselves
FALLBACK_STRENGTH = 0.03  # where nothing can be held out: on the strong side of what validation usually picks
PROVENANCE = ("encoder", "teacher", "mapping", "data_versions", "code_version", "created_at")
SMALL = 50_000_000  # numbers in the training vectors below which one thread is used: a second one gains little and waits for busy cores
LARGE = 20_000  # rows from which samples and the rows' spectrum save time; below, the covariance is known too badly
SAMPLES = (4_096, 16_384, 65_536)  # rows on which strengths are tried first
FIRST = 0.1  # strength that the smallest sample begins with: the middle of what four thousand rows are known to want
BLOCK = 65_536  # rows whose numbers are checked at a time
FEW = 2_048  # rows that are standardised at a time: these are copied


@dataclass(frozen=True, eq=False)
class _Held:
    """Photos that did not train: their positions (n,), its logits (n, c) and, like the mask, where the label is known and trained."""

    at: NDArray[np.intp]
    logits: NDArray[np.float32]
    taught: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Fit:
    """Weights on standardised vectors, and the photos that did not train: `familiar` chose them, of folders that trained.

    `new`: each predicted without its folder in training; None where no folder can be held out.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    familiar: _Held
    new: _Held | None
    selection: dict[str, Any]
    history: tuple[dict[str, Any], ...]
    test_logits: NDArray[np.float32]


def train_head(
    kind: str, data: TrainingSet, *, labels: Sequence[str], settings: StudentSettings, provenance: Mapping[str, Any],
    qtype: str = "", threads: int | None = None, progress: bool = False,
) -> TrainedHead:  # fmt: skip
    """Train the head named `kind` of a question of type `qtype` (EARLIER knows those of three names) on the train split; val chooses,
    held-out folders set thresholds.

    Photos of a folder that trained are too easy to set thresholds on: a head that is right on 99 % of them would never abstain. So every
    fold of whole folders (`data.sources`) is predicted by a fit without it; calibration weighs these photos and the val split alike.
    Without several folders the val split does it all.
    Labels that do not beat a constant answer on these photos are left open: `card.open` names them.

    `labels` are the columns of the targets (one_of: all of the file; a class without photos keeps its slot). Those of many_of with
    fewer than `settings.min_positives` positives in the train split, and of yes_no without both outcomes there, are left out and
    named in the card. `provenance` has the keys of PROVENANCE, `encoder` required. The test split only adds figures to the card.
    Where val has nothing to choose on (no photo; no label with both outcomes), folds of groups within train take its
    place; with a single group, a fixed strength, uncalibrated. Repeats bit for bit for equal seed and library versions; `threads`
    (None: 1 or 2, by the size of the data alone) change nothing but the time. Beside `data` it needs memory for labels and logits only.
    Raises ValueError on arguments that do not fit, TooLittleToLearn when there is too little to learn from.
    """
    qtype = qtype or EARLIER.get(kind, "")
    _check(kind, qtype, data, labels, provenance)
    train = data.rows("train")
    kept, left_out = _learnable(kind, qtype, data, labels, train, settings)
    names = tuple(labels[at] for at in kept)
    if qtype != ONE_OF:
        data = replace(data, targets=data.targets[:, kept], mask=data.mask[:, kept])
    fit = _fit(qtype, data, train, classes=len(names), settings=settings, threads=threads, progress=progress)

    held = fit.new or fit.familiar
    parts = [held, fit.familiar] if fit.new else [held]
    at, taught = np.concatenate([rows.at for rows in parts]), np.concatenate([rows.taught for rows in parts])
    logits = np.concatenate([rows.logits for rows in parts])
    calibration = calibrate(qtype, names, logits, data.targets[at], taught, _even([len(rows.at) for rows in parts]))
    if qtype == ONE_OF and fit.new:  # held-out folders make it more cautious, never bolder: the next one may be further away
        familiar = calibrate(qtype, names, fit.familiar.logits, data.targets[fit.familiar.at], fit.familiar.taught)
        calibration = {"temperature": max(calibration["temperature"], familiar["temperature"], 1.0)}
    p = calibrated(logits, names, calibration)
    near, folders = None, None
    if fit.new and data.sources is not None:
        near, folders = Judged(p[len(held.at) :], data.targets[fit.familiar.at], fit.familiar.taught), data.sources[held.at]
    thresholds = choose_thresholds(
        qtype, names, p[: len(held.at)], data.targets[held.at], data.mask[held.at] if qtype == ONE_OF else held.taught,
        settings.target_precision, settings.max_open, near, folders, kind,
    )  # fmt: skip
    left_open = {} if qtype == ONE_OF or not len(at) else _open(names, p, data.targets[at] == 1, taught, thresholds)
    metrics = _metrics(qtype, names, data, fit, calibration, thresholds)
    card = HeadCard(
        kind=kind, qtype=qtype, labels=names, dim=data.x.shape[1], left_out=left_out, seed=settings.seed,
        n_train=len(train), n_val=len(data.rows("val")), positives=_positives(qtype, names, data), selection=fit.selection,
        history=fit.history, calibration=calibration, thresholds=thresholds,
        metrics=metrics, open=left_open, carry_over=_carry_over(qtype, metrics, fit, thresholds, settings.target_precision),
        distance=qtype == ONE_OF,
        **{**provenance, "data_versions": dict(provenance.get("data_versions", {}))},
    )  # fmt: skip
    return TrainedHead(fit.weight, fit.bias, fit.mean, fit.std, card)


# -- what can be learned -----------------------------------------------------------------------------------------------
def _check(kind: str, qtype: str, data: TrainingSet, labels: Sequence[str], provenance: Mapping[str, Any]) -> None:
    if not KIND.fullmatch(kind) or qtype not in TYPES:
        raise ValueError(f"kind: expected a name and a type in {TYPES}, got {kind!r}, {qtype!r}")
    if wrong := sorted(set(provenance) - set(PROVENANCE)):
        raise ValueError(f"provenance: expected keys of {PROVENANCE}, got {wrong}")
    if not provenance.get("encoder"):
        raise ValueError("provenance: expected the fingerprint of the encoder under 'encoder', got none")
    if not labels or len(set(labels)) != len(labels):
        raise ValueError(f"labels: expected at least one and each once, got {len(labels)}, {len(set(labels))} different")
    if qtype == ONE_OF and (data.targets.ndim != 1 or data.targets.max(initial=-1) >= len(labels)):
        raise ValueError(
            f"targets: expected indices (n,) below {len(labels)}, got {data.targets.shape} up to {data.targets.max(initial=-1)}"
        )
    if qtype != ONE_OF and data.targets.shape != (len(data.x), len(labels)):
        raise ValueError(f"targets: expected {(len(data.x), len(labels))}, got {data.targets.shape}")
    if not all(np.isfinite(data.x[at : at + BLOCK]).all() for at in range(0, len(data.x), BLOCK)):
        raise ValueError("x: expected finite vectors, got NaN or infinity")


def _learnable(
    kind: str, qtype: str, data: TrainingSet, labels: Sequence[str], train: NDArray[np.intp], settings: StudentSettings
) -> tuple[list[int], dict[str, int]]:
    """Columns to train, and what is left out with its positives in the train split."""
    if not len(train):
        raise TooLittleToLearn(
            f"{kind} head: no photo of the train split has a known label; annotate more photos, or check the photo groups"
        )
    if qtype == ONE_OF:
        if len(present := np.unique(data.targets[train])) < 2:
            raise TooLittleToLearn(f"{kind} head: every photo of the train split is {labels[present[0]]}; at least two {kind}s are needed")
        return list(range(len(labels))), {}
    known, positive = data.mask[train], (data.targets[train] == 1) & data.mask[train]
    positives, negatives = positive.sum(axis=0), (known & ~positive).sum(axis=0)
    enough = settings.min_positives if qtype == MANY_OF else 1
    kept = [at for at in range(len(labels)) if positives[at] >= enough and negatives[at] >= 1]
    if not kept:
        raise TooLittleToLearn(
            f"{kind} head: no label has at least {some(enough, 'photo')} with and one without it in the train split "
            f"(most: {int(positives.max(initial=0))}); annotate more photos or lower students.min_positives"
        )
    return kept, {label: int(positives[at]) for at, label in enumerate(labels) if at not in set(kept)}


def _positives(qtype: str, names: Sequence[str], data: TrainingSet) -> dict[str, dict[str, int]]:
    """Label -> split -> photos known to show it."""
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    for split in ("train", "val", "test"):
        rows = data.rows(split)
        if qtype == ONE_OF:
            per_label = np.bincount(data.targets[rows], minlength=len(names))
        else:
            per_label = ((data.targets[rows] == 1) & data.mask[rows]).sum(axis=0)
        for name, count in zip(names, per_label, strict=True):
            counts[name][split] = int(count)
    return counts


# -- fitting -----------------------------------------------------------------------------------------------------------
def _fit(
    qtype: str, data: TrainingSet, train: NDArray[np.intp], *, classes: int, settings: StudentSettings, threads: int | None, progress: bool
) -> _Fit:
    import torch

    from vibe_assets.heads import fit, picked

    threads = threads or (1 if len(train) * data.x.shape[1] < SMALL else 2)
    with fit.deterministic(seed=settings.seed, threads=1):  # `threads` share out rows, each on its own: no sum is split among them
        loss, correction = _loss(qtype, data, train)
        rows = _standardised(data, train, threads)
        val, groups = data.rows("val"), data.groups[train]
        model = fit.linear(data.x.shape[1], classes)
        at, taught = train[:0], data.mask[:0]
        if _can_choose(qtype, data, train, val):
            held = _picked(data, val, rows)
            path, selection = _along_path(model, rows, _selectable(qtype, held, rows), loss, settings=settings, progress=progress)
            selection |= {"by": "val", "n": len(val)}
            at, logits, taught = val, picked.logits(model, held), _selectable(qtype, held, rows).mask.numpy()
        elif (folds := min(FOLDS, len(np.unique(groups)))) >= 2:
            path, logits, losses = _cross_validate(qtype, rows, groups, loss, model, folds=folds, settings=settings, progress=progress)
            selection = {"by": f"{folds} folds of groups in train", "n": len(train), "loss": min(losses), "losses": losses}
            at, taught = train, data.mask[train]
        else:
            path = fit.fit_path(model, rows, None, loss, strengths=(FALLBACK_STRENGTH,), max_iterations=settings.max_epochs)
            selection, logits = {"by": "nothing: one group only", "n": 0}, torch.zeros(0, classes)
        best = path.stops[-1] if selection["by"] != "val" else path.best
        selection = {"strength": best.strength, "iteration": best.iteration, "loss": round(best.loss, 8)} | selection
        weight, bias = model.weight.detach().numpy().copy(), model.bias.detach().numpy() - correction
        mean, std = rows.mean.numpy(), rows.std.numpy()
        familiar = _Held(at, _told(qtype, logits.numpy() - correction, data, at, mean, std), taught)
        new: _Held | None = None
        if len(at) and (folders := _by_folder(qtype, data, train, settings.seed)) is not None:
            found = _over_folders(rows, folders, loss, model, path, best.strength, settings=settings).numpy() - correction
            for inside, outside in folders.splits:
                apart = _standardised(data, train[folders.rows[inside]], threads)  # as far as from a head that never saw these folders
                found[outside] = _told(qtype, found[outside], data, train[folders.rows[outside]], apart.mean.numpy(), apart.std.numpy())
            new = _Held(train[folders.rows], found, folders.taught)
            selection["folders"] = f"{len(folders.splits)} folds of {some(folders.count, 'folder')}"
        test = data.rows("test")
        tested = _told(qtype, picked.logits(model, _picked(data, test, rows)).numpy() - correction, data, test, mean, std)
    return _Fit(weight, bias, mean, std, familiar, new, selection, path.history, tested)


def _told(
    qtype: str, scores: NDArray[np.float32], data: TrainingSet, at: NDArray[np.intp], mean: NDArray[np.float32], std: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The linear layer's scores (n, c) of the photos `at` (n,) as the head will tell them: those of scenes over `farness`."""
    if qtype != ONE_OF or not len(at):
        return scores
    far = [farness((data.x[at[low : low + FEW]] - mean) / std) for low in range(0, len(at), FEW)]
    return scores / np.concatenate(far)[:, None]


@dataclass(frozen=True, eq=False)
class _Folders:
    """Folds that hold whole folders out. `rows`: places in train; `splits` (inside, outside) and `taught` are of these rows."""

    rows: NDArray[np.intp]
    splits: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
    taught: NDArray[np.bool_]
    count: int  # folders


def _by_folder(qtype: str, data: TrainingSet, train: NDArray[np.intp], seed: int) -> _Folders | None:
    """Folds of folders (a group lies in that of its first photo); None where there is one only, or where each shows labels of its own.

    On more than LARGE rows a sample of them: what is chosen is one number, and every fold costs a fit.
    """
    from sklearn.model_selection import GroupKFold

    if data.sources is None:
        return None
    _, first, of = np.unique(data.groups[train], return_index=True, return_inverse=True)
    sources = data.sources[train][first][of]
    rows = np.arange(len(train))
    if len(train) > LARGE:
        rows = np.sort(np.random.default_rng(seed).permutation(len(train))[: SAMPLES[1]])
    count = len(np.unique(sources[rows]))
    if count < 2:
        return None
    targets, known = data.targets[train[rows]], data.mask[train[rows]]
    splits = list(GroupKFold(min(FOLDER_FOLDS, count), shuffle=True, random_state=seed).split(rows, groups=sources[rows]))
    taught = known.copy()
    for inside, outside in splits:
        if qtype == ONE_OF:
            taught[outside] &= np.isin(targets[outside], targets[inside][known[inside]])
        else:
            positive = (targets[inside] == 1) & known[inside]
            taught[outside] &= positive.any(axis=0) & (known[inside] & ~positive).any(axis=0)
    shown = known if qtype == ONE_OF else known & (targets == 1)
    if (taught & shown).sum() < TAUGHT * shown.sum():
        return None
    return _Folders(rows, splits, taught, count)


def _over_folders(
    rows: PickedRows, folders: _Folders, loss: Loss, model: Any, path: Path, strength: float, *, settings: StudentSettings
) -> Any:
    """Logits of the folds' rows, each from a fit without its folder, with the strengths and iterations that the head was fitted with."""
    import torch

    from vibe_assets.heads import fit, picked

    tried = rows if len(folders.rows) == len(rows) else rows.only(torch.from_numpy(folders.rows)).copied()
    large = len(rows) >= LARGE  # then the head was fitted in whitened coordinates, from a start that the folds do not have
    stops = sorted((stop for stop in path.stops if stop.strength >= strength), key=lambda stop: -stop.strength)
    logits = torch.zeros(len(tried), model.out_features)
    for inside, outside in folders.splits:
        fold, held = fit.linear(rows.x.shape[1], model.out_features), torch.from_numpy(outside)
        fit.fit_path(
            fold, tried.only(torch.from_numpy(inside)), None, loss, max_iterations=settings.max_epochs,
            strengths=(strength,) if large else [stop.strength for stop in stops],
            budgets=None if large else [stop.iteration for stop in stops], spectrum=picked.spectrum(rows) if large else None,
        )  # fmt: skip
        logits[held] = picked.logits(fold, tried.only(held))
    return logits


def _along_path(
    model: Any, rows: PickedRows, held: PickedRows, loss: Loss, *, settings: StudentSettings, progress: bool
) -> tuple[Any, dict[str, Any]]:
    """Fit on all rows, `held` choosing. Of LARGE sets samples go first, each several times as large as the one before.

    A sample's best strength tells where the next begins: the best penalty on a mean loss falls as 1 / rows. What is chosen is the best
    on all of `held` of what was fitted on all rows, as without samples.
    """
    import torch

    from vibe_assets.heads import fit, picked

    strengths, iterations = fit.strengths_of(len(rows)), settings.max_epochs
    if len(rows) < LARGE:
        return fit.fit_path(model, rows, held, loss, strengths=strengths, max_iterations=iterations, progress=progress), {}
    begin, spectrum = FIRST, picked.spectrum(rows)
    tried: list[dict[str, Any]] = []
    order, held_order = torch.randperm(len(rows)), torch.randperm(len(held))
    for size in (*(size for size in SAMPLES if 4 * size <= len(rows)), len(rows)):
        whole = size == len(rows)
        some = rows if whole else rows.only(order[:size].sort().values).copied()
        small = held if whole else held.only(held_order[:size].sort().values).copied()
        if tried:
            begin = fit.nearest(strengths, tried[-1]["strength"] * tried[-1]["n"] / size)
        path = fit.fit_around(
            model, some, small, loss, strengths=strengths, begin=begin, max_iterations=iterations, spectrum=spectrum, progress=progress
        )
        if whole:
            return path, {"samples": tried}
        first = path.strongest
        model.load_state_dict(first.state)
        tried.append({"n": size, "strength": first.strength, "loss": round(first.loss, 8)})
    raise AssertionError("the last of the sizes is that of all rows")


def _loss(qtype: str, data: TrainingSet, train: NDArray[np.intp]) -> tuple[Loss, NDArray[np.float32]]:
    """The loss of a type of question, and what it adds to the logits (c,).

    Weighting positives by w shifts a label's logits by log(w) (Elkan 2001); taking it off again leaves probabilities at the
    label's own rate, also where there are too few positives to calibrate.
    """
    import torch

    from vibe_assets.heads.losses import positive_weights, sigmoid_loss, softmax_loss

    if qtype == ONE_OF:
        return softmax_loss(), np.zeros(1, np.float32)
    if qtype == YES_NO:
        return sigmoid_loss(), np.zeros(data.targets.shape[1], np.float32)
    positive = torch.from_numpy((data.targets[train] == 1) & data.mask[train]).sum(dim=0)
    negative = torch.from_numpy(data.mask[train]).sum(dim=0) - positive
    weights = positive_weights(positive, negative)
    return sigmoid_loss(weights), weights.log().numpy()


def _standardised(data: TrainingSet, at: NDArray[np.intp], threads: int) -> PickedRows:
    """The rows to train on, with their own mean and deviation."""
    import torch

    from vibe_assets.heads import picked

    dim = data.x.shape[1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # the lake's own memory: it is only read
        x = torch.from_numpy(data.x)
    plain = picked.PickedRows(
        x, torch.from_numpy(at), torch.zeros(dim), torch.ones(dim), torch.from_numpy(data.targets[at]),
        torch.from_numpy(data.mask[at]), threads,
    )  # fmt: skip
    mean, std = picked.moments(plain)
    return replace(plain, mean=mean, std=std)


def _picked(data: TrainingSet, at: NDArray[np.intp], like: PickedRows) -> PickedRows:
    """Other rows, standardised as those trained on."""
    import torch

    return replace(like, at=torch.from_numpy(at), targets=torch.from_numpy(data.targets[at]), mask=torch.from_numpy(data.mask[at]))


def _selectable(qtype: str, held: PickedRows, train: PickedRows) -> PickedRows:
    """Held-out rows without what training never saw (a scene; a label's one outcome): that loss grows with every step."""
    import torch

    if qtype != ONE_OF:
        positive = (train.targets == 1) & train.mask
        return replace(held, mask=held.mask & positive.any(dim=0) & (train.mask & ~positive).any(dim=0))
    return replace(held, mask=held.mask & torch.isin(held.targets, train.targets[train.mask].unique()))


def _can_choose(qtype: str, data: TrainingSet, train: NDArray[np.intp], val: NDArray[np.intp]) -> bool:
    """Whether val can choose: MIN_ROWS photos of scenes seen in training, or one label with both outcomes."""
    if qtype == ONE_OF:
        return int(np.isin(data.targets[val], data.targets[train]).sum()) >= MIN_ROWS
    positive = (data.targets[val] == 1) & data.mask[val]
    return bool((positive.any(axis=0) & (data.mask[val] & ~positive).any(axis=0)).any())


def _cross_validate(
    qtype: str, rows: PickedRows, groups: NDArray[np.str_], loss: Loss, model: Any, *, folds: int, settings: StudentSettings, progress: bool
) -> tuple[Any, Any, list[float]]:
    """Folds of groups choose the strength and the iterations of each; `model` is then fitted on all rows by that plan.

    Returns the final path, the logits of every row from the fold that did not train on it, and the held-out loss per strength.
    """
    import torch
    from sklearn.model_selection import GroupKFold

    from vibe_assets.heads import fit, picked

    splitter = GroupKFold(folds, shuffle=True, random_state=settings.seed)
    plan: list[tuple[NDArray[np.intp], Any]] = []
    strengths = fit.strengths_of(len(groups))
    for inside, outside in splitter.split(np.zeros(len(groups)), groups=groups):
        train = rows.only(torch.from_numpy(inside))
        held = _selectable(qtype, rows.only(torch.from_numpy(outside)), train)
        fold = fit.linear(rows.x.shape[1], model.out_features)
        path = fit.fit_path(
            fold, train, held, loss, strengths=strengths, max_iterations=settings.max_epochs, patient=True, progress=progress
        )
        plan.append((outside, path))
    losses = [sum(path.stops[at].loss * len(outside) for outside, path in plan) / len(groups) for at in range(len(strengths))]
    chosen = int(np.argmin(losses))
    logits = torch.zeros(len(groups), model.out_features)
    for outside, path in plan:
        model.load_state_dict(path.stops[chosen].state)
        logits[torch.from_numpy(outside)] = picked.logits(model, rows.only(torch.from_numpy(outside)))
    model.load_state_dict(fit.linear(rows.x.shape[1], model.out_features).state_dict())
    budgets = [int(np.median([path.stops[at].iteration for _, path in plan])) for at in range(chosen + 1)]
    final = fit.fit_path(model, rows, None, loss, strengths=strengths[: chosen + 1], max_iterations=settings.max_epochs, budgets=budgets)
    return final, logits, [round(value, 8) for value in losses]


# -- the card ------------------------------------------------------------------------------------------------------------
def _even(sizes: Sequence[int]) -> NDArray[np.float64] | None:
    """Weights with which parts of these sizes weigh alike, of mean one: photos of new and of known folders are equally likely to come."""
    return np.concatenate([np.full(size, sum(sizes) / (len(sizes) * size)) for size in sizes]) if len(sizes) > 1 else None


def _open(
    names: Sequence[str], p: NDArray[np.float64], positive: NDArray[np.bool_], known: NDArray[np.bool_],
    thresholds: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:  # fmt: skip
    """Label -> why it is left open, of labels that were not shown to beat a constant answer on held-out photos; all are (n, labels)."""
    found = {}
    for at, name in enumerate(names):
        upper = float(thresholds[name]["upper"])
        lower = float(thresholds[name].get("lower", np.nextafter(upper, 0)))
        if why := why_open(p[known[:, at], at], positive[known[:, at], at], upper=upper, lower=lower):
            found[name] = why
    return found


def _carry_over(
    qtype: str, metrics: Mapping[str, Mapping[str, Any]], fit: _Fit, thresholds: Mapping[str, Mapping[str, Any]], target: float
) -> dict[str, Any]:
    """What held-out folders tell of photos from a folder never seen; it carries over where the threshold reaches the target there."""
    if fit.new is None:
        return {"carries_over": None, "note": "no folder could be held out, so nothing tells how it does on photos of another"}
    figures = metrics["new_folders"]
    if qtype != ONE_OF:
        return {"n": figures["n"], "macro_average_precision": figures["macro_average_precision"]}
    right, kept = figures["accuracy_kept"], figures["kept"]
    holds = next(iter(thresholds.values()))["rule"] == "precision"
    return {
        "carries_over": holds,
        "n": figures["n"],
        "answered": kept,
        "accuracy_answered": right,
        "accuracy": figures["accuracy"],
        "note": f"of {figures['n']} photos of held-out folders it answers {kept or 0:.0%}"
        + (f", {right:.0%} of them right" if right is not None else "")
        + ("" if holds else f": not shown to carry over to new folders (wanted: {target:.0%} at the lower end)"),
    }


def _metrics(
    qtype: str, names: Sequence[str], data: TrainingSet, fit: _Fit, calibration: Mapping[str, Any],
    thresholds: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Figures of the photos that chose (val, or the folds), and of the test split where there is one."""
    raw = {"temperature": 1.0} if qtype == ONE_OF else {"platt": {name: [1.0, 0.0] for name in names}}
    majority = int(np.bincount(data.targets[data.rows("train")]).argmax()) if qtype == ONE_OF else None

    def figures(logits: NDArray[np.float32], at: NDArray[np.intp]) -> dict[str, Any]:
        return score_split(
            qtype, names, calibrated(logits, names, calibration), data.targets[at], data.mask[at], thresholds=thresholds,
            uncalibrated=calibrated(logits, names, raw), majority=majority,
        )  # fmt: skip

    parts = {"val" if fit.selection["by"] == "val" else "cross_validated": fit.familiar} | ({"new_folders": fit.new} if fit.new else {})
    metrics = {name: figures(part.logits, part.at) for name, part in parts.items() if len(part.at)}
    if len(test := data.rows("test")):
        metrics["test"] = figures(fit.test_logits, test)
    return metrics
