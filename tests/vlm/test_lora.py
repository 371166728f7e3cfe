"""Fine-tuning on a real but tiny Qwen2.5-VL: the loss falls because of the picture, and what is saved is what answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests.vlm.discs import PROMPT, answer, records, tiny  # noqa: E402
from vibe_assets.vlm.failures import VlmError  # noqa: E402
from vibe_assets.vlm.local import LocalModel, load_local  # noqa: E402
from vibe_assets.vlm.lora import LoraKnobs, Record, Training, encode, finetune, merge, newest_checkpoint, read_picture  # noqa: E402

KNOBS = LoraKnobs(
    learning_rate=2e-2, dropout=0.1, epochs=5, batch_size=8, accumulation=1, patience=50, gradient_checkpointing=False, max_side_px=56
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("base") / "tiny-vl")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return records(tmp_path_factory.mktemp("discs"), 32)


@pytest.fixture(scope="module")
def trained(base: Path, examples: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Training:
    return finetune(str(base), examples[:24], examples[24:], tmp_path_factory.mktemp("run"), knobs=KNOBS, device="cpu", progress=False)


def said(local: LocalModel, record: Record) -> str:
    return local.answer(PROMPT, read_picture(record.path, 56), max_tokens=20)[0]


def loss(local: LocalModel, record: Record, *, picture_of: Record | None = None) -> float:
    example = encode(local, dataclasses.replace(record, path=(picture_of or record).path), max_side_px=56)
    local.model.eval()
    with torch.inference_mode():
        return float(local.model(**example).loss)


def test_the_loss_falls_and_the_best_step_is_kept(trained: Training) -> None:
    assert trained.best_val_loss < 0.2 * trained.first_val_loss
    assert trained.best_val_loss == min(value for _, value in trained.val_curve)
    assert trained.train_curve[0][1] > trained.train_curve[-1][1]
    assert 0 < trained.trainable < 0.3 * trained.parameters


def test_the_adapter_changes_the_answers_to_those_of_the_pictures(base: Path, trained: Training, examples: list[Record]) -> None:
    alone, adapted = load_local(str(base), device="cpu"), load_local(str(base), adapter=trained.adapter, device="cpu")
    held_out = examples[24:28]
    assert all(said(alone, record) != record.answer for record in held_out)
    assert [said(adapted, record) for record in held_out] == [record.answer for record in held_out]


def test_another_picture_makes_the_answer_unlikely(base: Path, trained: Training, examples: list[Record]) -> None:
    local = load_local(str(base), adapter=trained.adapter, device="cpu")
    red, green = examples[24], examples[25]
    assert loss(local, red, picture_of=green) > loss(local, red) + 0.3


def test_without_the_picture_the_same_training_cannot_get_there(
    base: Path, trained: Training, examples: list[Record], tmp_path: Path
) -> None:
    blind = [dataclasses.replace(record, path=examples[0].path) for record in examples]
    run = finetune(str(base), blind[:24], blind[24:], tmp_path, knobs=KNOBS, device="cpu", progress=False)
    assert run.best_val_loss > 2 * trained.best_val_loss


def test_only_the_answer_is_learnt_from(base: Path, examples: list[Record]) -> None:
    local = load_local(str(base), device="cpu")
    example = encode(local, examples[0], max_side_px=56)
    learnt = example["input_ids"][example["labels"] != -100]
    assert local.processor.decode(learnt) == answer("red") + "<|im_end|>"
    assert example["mm_token_type_ids"].shape == example["labels"].shape
    assert int((example["input_ids"] == local.model.config.image_token_id).sum()) == int(example["image_grid_thw"].prod()) // 4


def test_the_vision_tower_stays_frozen_unless_asked(base: Path) -> None:
    from vibe_assets.vlm.lora import _with_lora

    def trainable(knobs: LoraKnobs) -> set[str]:
        model = _with_lora(load_local(str(base), device="cpu"), knobs)
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    frozen, open_ = trainable(KNOBS), trainable(dataclasses.replace(KNOBS, train_vision=True))
    assert not any("visual" in name for name in frozen)
    assert all("lora_" in name for name in open_)
    assert any("visual" in name for name in open_ - frozen)


def test_a_run_that_was_cut_off_ends_with_the_same_weights(base: Path, trained: Training, examples: list[Record], tmp_path: Path) -> None:
    arguments = (str(base), examples[:24], examples[24:], tmp_path)
    cut = finetune(*arguments, knobs=KNOBS, device="cpu", stop_after=7, progress=False)
    assert cut.steps == 7
    assert newest_checkpoint(tmp_path) is not None
    resumed = finetune(*arguments, knobs=KNOBS, device="cpu", progress=False)
    assert resumed.steps == trained.steps
    assert resumed.first_val_loss == trained.first_val_loss
    assert dict(resumed.val_curve) == pytest.approx(dict(trained.val_curve), abs=1e-6)
    assert weights(resumed.adapter).keys() == weights(trained.adapter).keys()
    for name, weight in weights(resumed.adapter).items():
        torch.testing.assert_close(weight, weights(trained.adapter)[name], rtol=0, atol=1e-6)


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(adapter / "adapter_model.safetensors")


def test_a_qwen3_with_checkpointed_activations_and_accumulated_batches_learns_too(examples: list[Record], tmp_path: Path) -> None:
    three = tiny(tmp_path / "tiny-3-vl", family="qwen3_vl")
    knobs = dataclasses.replace(KNOBS, gradient_checkpointing=True, batch_size=4, accumulation=2, epochs=3, dropout=0.0)
    run = finetune(str(three), examples[:24], examples[24:28], tmp_path / "run", knobs=knobs, device="cpu", progress=False)
    assert run.best_val_loss < 0.6 * run.first_val_loss


def test_it_stops_early_when_validation_no_longer_improves(base: Path, examples: list[Record], tmp_path: Path) -> None:
    knobs = dataclasses.replace(KNOBS, learning_rate=1e-12, epochs=9, patience=1)
    run = finetune(str(base), examples[:8], examples[24:26], tmp_path, knobs=knobs, device="cpu", progress=False)
    assert run.stopped_early
    assert run.steps < 9


def test_a_merged_model_answers_like_base_and_adapter(base: Path, trained: Training, examples: list[Record], tmp_path: Path) -> None:
    merged = merge(str(base), trained.adapter, tmp_path / "merged")
    whole = load_local(str(merged), device="cpu")
    assert [said(whole, record) for record in examples[24:28]] == [record.answer for record in examples[24:28]]
    with pytest.raises(VlmError, match="not empty"):
        merge(str(base), trained.adapter, merged)


def test_what_cannot_be_loaded_is_said_in_one_line(base: Path, trained: Training, tmp_path: Path) -> None:
    with pytest.raises(VlmError, match="no such folder"):
        load_local(str(tmp_path / "nowhere"), device="cpu")
    with pytest.raises(VlmError, match="no adapter there"):
        load_local(str(base), adapter=tmp_path, device="cpu")
    with pytest.raises(VlmError, match="was trained on"):
        load_local(str(tiny(tmp_path / "other-vl")), adapter=trained.adapter, device="cpu")
    with pytest.raises(VlmError, match="vlm dataset"):
        finetune(str(base), [], [], tmp_path, device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(VlmError, match="CUDA"):
            load_local(str(base), device="cpu", four_bit=True)


def test_a_base_whose_weights_changed_in_place_is_another_base(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"first weights")
    before = KNOBS.version(str(tmp_path), "data")
    assert KNOBS.version(str(tmp_path), "data") == before
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert KNOBS.version(str(tmp_path), "data") != before
