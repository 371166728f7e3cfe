"""Tables of the VLM study: tagged photos, what taggers said of them, the leaderboard, instruction data."""

from __future__ import annotations

from vibe_assets.records.table import IMAGE_ID, REASON, Column, Table

BATCH = {"batch": Column("str", "partition: one ingest run, lowercase letters, digits and '-'")}
GROUP = {
    "group_id": Column("str", "group of near-duplicates, shared with photo_groups where the library holds such a photo"),
    "split": Column("str", "train | val | test | aside, drawn as in photo_groups; test is never trained on"),
}
TAGGED_PHOTOS = Table(
    "tagged_photos",
    "photos with tags that people gave them, one partition per ingest run; rejected ones with a reason",
    {
        **BATCH,
        **IMAGE_ID,
        "path_bytes": Column("bytes", "where the file lies, absolute, as the file system spells it"),
        "name": Column("str", "file name or address, for people"),
        "tags": Column("list[str]", "normalised, each once, in the source's order; empty: tags nobody gave, left out of every recall"),
        "raw_tags": Column("i32", "tags as the source had them, duplicates included"),
        "source": Column("str", "unsplash | file | audited | auto"),
        "source_id": Column("str", "the source's own id"),
        "photographer": Column("str", "who took it, where the source says so"),
        "credit_url": Column("str", "page to link to beside the photo"),
        "licence": Column("str", "as the source names it"),
        "phash": Column("str", "64-bit perceptual hash, 16 hex digits"),
        **GROUP,
        "ingested_at": Column("time", "when the batch was taken in"),
        **REASON,
    },
    partitioned=True,
    key="batch",
)
TAG_PREDICTIONS = Table(
    "tag_predictions",
    "what one model said of the photos of one batch; failures with a reason",
    {
        "cell": Column("str", "partition: BATCH--MODEL"),
        "batch": Column("str", "ingest run"),
        "model": Column("str", "name of the model in the settings, or of the adapter"),
        "identity": Column("str", "what was asked, whatever it is called here: provider, model, adapter"),
        "provider": Column("str", "host of the endpoint, or local"),
        "model_id": Column("str", "model name as the server or the hub knows it"),
        "adapter": Column("str", "version of the adapter that was attached, null without one"),
        **IMAGE_ID,
        "tags": Column("list[str]", "normalised, each once, in the model's order"),
        "valid": Column("bool", "the answer was a list of tags as asked; null where there was none"),
        "answer": Column("str", "the raw answer where it was not valid, at most 500 characters"),
        "prompt": Column("str", "hash of the prompt"),
        "fingerprint": Column("str", "hash of all that changes the answer: model, prompt, sampling, picture size, adapter"),
        "latency_s": Column("f64", "seconds of the successful request"),
        "prompt_tokens": Column("i64", "as the server counted"),
        "completion_tokens": Column("i64", "as the server counted"),
        "cost_usd": Column("f64", "tokens times the settings' prices; null where no price is set, 0 for local models"),
        **REASON,
    },
    partitioned=True,
    key="cell",
)
LEADERBOARD = Table(
    "leaderboard",
    "every figure of every model, per batch and over all of them",
    {
        "identity": Column("str", "the model, each once"),
        "provider": Column("str", "host of the endpoint, or local"),
        "model": Column("str", "name shown"),
        "batch": Column("str", "ingest run, '' over all batches"),
        "metric": Column("str", "recall | semantic_recall | precision | f1 | jaccard | latency_p50_s | ... "),
        "value": Column("f64", "value"),
        "low": Column("f64", "95 % interval, bootstrap over groups"),
        "high": Column("f64", "95 % interval"),
        "n": Column("i64", "photos behind the figure"),
        "status": Column("str", "vendor | local | promoted | on trial"),
    },
)
INSTRUCTION_DATASET = Table(
    "instruction_dataset",
    "the records a model is fine-tuned on; photos that were left out with a reason",
    {
        **IMAGE_ID,
        "path_bytes": Column("bytes", "the photo, absolute"),
        "messages": Column("str", "JSON: the user's text and picture, the assistant's tags"),
        "ground_truth_tags": Column("list[str]", "the tags of the answer"),
        "origin": Column("str", "tagged (people's tags) | auto (the teacher's labels)"),
        "batch": Column("str", "ingest run, null for the library's photos"),
        **GROUP,
        **REASON,
    },
)
TAGS: tuple[Table, ...] = (TAGGED_PHOTOS, TAG_PREDICTIONS, LEADERBOARD, INSTRUCTION_DATASET)
