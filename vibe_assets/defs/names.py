"""Faces by first name -> [names]: plan, index, chips, vectors by shard; split, probes, report. Started by people, never by itself."""

import dagster as dg
import polars as pl

from vibe_assets.defs.checks.gate import gate_check
from vibe_assets.defs.metadata import counts_table, page_links, stored
from vibe_assets.defs.resources import Installation, code_commit
from vibe_assets.names import gates, study
from vibe_assets.names.probes import METHODS
from vibe_assets.names.vlm_tracks import MODES
from vibe_assets.records.first_names import FACE_CHIPS, NAME_EMBEDDINGS, NAME_INDEX, NAME_PROBES, NAME_SHARDS, NAME_SPLITS

OWNERS = ["team:names"]
shards = dg.DynamicPartitionsDefinition(name="name_shards")


@dg.asset(
    group_name="names",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="1",
    description="Every first name of [names] root with the shard it falls into and the faces it promises. Makes the shards' partitions.",
)
def name_shards(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Plan the study, and make its partitions."""
    from vibe_assets.names.pictures import imbalance_markdown

    platform = installation.open(context)
    rows = study.plan_study(platform)
    planned, known = set(rows["shard"]), set(context.instance.get_dynamic_partitions(shards.name or ""))
    context.instance.add_dynamic_partitions(shards.name or "", sorted(planned - known))
    for gone in sorted(known - planned):
        context.instance.delete_dynamic_partition(shards.name or "", gone)
    per_shard = dict(rows.group_by("shard").agg(pl.col("listed").sum()).sort("shard").iter_rows())
    return stored(
        platform,
        NAME_SHARDS,
        rows.with_columns(rel_path=pl.col("name")),
        faces=int(rows["listed"].sum()),
        shards=counts_table("faces of shard", per_shard),
        imbalance=dg.MetadataValue.md(imbalance_markdown(rows["listed"].to_list())),
    )


@dg.asset(
    partitions_def=shards,
    deps=[name_shards],
    group_name="names",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="1",
    description="One row per face of the shard's names; low scores, small boxes, several faces and missing files have a reason.",
)
def name_index(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Read the indexes of one shard."""
    platform = installation.open(context)
    rows = study.index_faces(platform, context.partition_key)
    accepted = rows.filter(pl.col("reason").is_null())
    reasons = {str(reason): count for reason, count in rows["reason"].drop_nulls().value_counts(sort=True).iter_rows()}
    names = {str(name): count for name, count in accepted["name"].value_counts(sort=True).head(50).iter_rows()}
    return stored(
        platform,
        NAME_INDEX,
        rows,
        accepted=accepted.height,
        names=counts_table("faces of", names),
        ruled_out=counts_table("reason", reasons),
    )


@dg.asset(
    partitions_def=shards,
    deps=[name_index],
    group_name="names",
    kinds={"python", "jpeg"},
    owners=OWNERS,
    code_version="1",
    description="The square picture of every accepted face, cut from its upright photo with a margin, what lies outside it mirrored.",
)
def face_chips(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Cut the chips of one shard that are not on disk yet."""
    platform = installation.open(context)
    rows = study.cut_faces(platform, context.partition_key)
    cut = rows.filter(pl.col("reason").is_null())
    return stored(platform, FACE_CHIPS, rows, chips=cut.height, pictures=cut["image_id"].n_unique())


@dg.asset(
    partitions_def=shards,
    deps=[face_chips],
    group_name="names",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="1",
    description="Every chip of the shard as a unit vector, by the encoder of [encoder] and its cache.",
)
def name_embeddings(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Embed the chips of one shard that no cache holds."""
    platform = installation.open(context)
    rows = study.embed_faces(platform, context.partition_key)
    return stored(platform, NAME_EMBEDDINGS, rows, encoder=rows["encoder"].first() or "none")


@dg.asset(
    deps=[name_embeddings],
    group_name="names",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="1",
    description="Train, val and test by group: a person, a photo and near-duplicates stay on one side; a face under two names is out.",
)
def name_splits(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Group the faces of all shards and draw the sides."""
    platform = installation.open(context)
    rows = study.split_names(platform)
    sides = {str(side): count for side, count in rows.filter(pl.col("reason").is_null())["split"].value_counts(sort=True).iter_rows()}
    largest = rows.select(pl.col("group_size").max().fill_null(0)).item()
    return stored(
        platform, NAME_SPLITS, rows, groups=rows["group_id"].n_unique(), largest_group=largest, splits=counts_table("split", sides)
    )


class ProbeConfig(dg.Config):
    """Knobs of one run of the probes."""

    methods: list[str] = list(METHODS)  # noqa: RUF012 - the linear probe, the controls and the ablations always run


@dg.asset(
    deps=[name_splits, name_embeddings],
    group_name="names",
    kinds={"pytorch"},
    owners=OWNERS,
    code_version="2",
    description="What a face's vector says about the first name, at best: probes chosen on val and judged on test, controls trained on "
    "permuted names, ablations without the most recalled names. A weak association over many people; it identifies nobody.",
)
def name_probes(context: dg.AssetExecutionContext, config: ProbeConfig, installation: Installation) -> dg.MaterializeResult:
    """Train and judge every track."""
    from vibe_assets.names.results import comparison_markdown

    platform = installation.open(context, commit=code_commit())
    tracks = study.probe_names(platform, config.methods)
    return stored(
        platform,
        NAME_PROBES,
        platform.lake.read(NAME_PROBES),
        tracks=dg.MetadataValue.md(comparison_markdown(tracks)),
        results=dg.MetadataValue.path(str(study.results_dir(platform))),
        peak_memory_mb=max(int(track.config["peak_memory_mb"]) for track in tracks),
    )


@dg.asset(
    deps=[name_probes],
    group_name="names",
    kinds={"html"},
    owners=OWNERS,
    code_version="2",
    description="The study as one page: accuracy against chance, majority and permuted names, skew, best and worst names, choices as "
    "people were given them, targets met or not, and what none of it can say.",
)
def names_report(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Write the page."""
    report = study.report_names(installation.open(context, commit=code_commit()))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "headline": dg.MetadataValue.md(report.markdown),
            "skew": dg.MetadataValue.md(report.picture),
            **page_links(report.path),
        },
    )


class VlmConfig(dg.Config):
    """What a vision-language model is asked, and how it is trained for it."""

    base: str  # folder of a saved model, or a hub name such as Qwen/Qwen2.5-VL-3B-Instruct
    modes: list[str] = list(MODES)  # noqa: RUF012 - head: classification head; open: name it; choice: one of `options` names
    options: int = 5  # names on offer in a multiple choice
    tune: bool = True  # False asks the model as it is
    most: int = 0  # faces of each side at the most; 0: all
    rank: int = 64  # of the LoRA adapters
    epochs: int = 2


@dg.asset(
    deps=[name_splits, face_chips],
    group_name="names",
    kinds={"pytorch"},
    owners=OWNERS,
    code_version="1",
    pool="vlm",
    description="The same question to a vision-language model: a classification head with LoRA, the name in its own words, one of "
    "a few names in shuffled order. Needs a GPU for real models; launched by hand with the model in its configuration.",
)
def name_vlm(context: dg.AssetExecutionContext, config: VlmConfig, installation: Installation) -> dg.MaterializeResult:
    """Fine-tune and ask."""
    from vibe_assets.defs.name_tools import vlm_tools
    from vibe_assets.names.results import comparison_markdown
    from vibe_assets.names.vlm_tracks import HeadKnobs

    platform = installation.open(context, commit=code_commit())
    tools = vlm_tools(config.base, device=platform.settings.vlm.device, rank=config.rank, epochs=config.epochs)
    knobs = HeadKnobs(rank=config.rank, alpha=2 * config.rank, epochs=config.epochs)
    tracks = study.ask_model(platform, config.modes, tools, knobs=knobs, options=config.options, tune=config.tune, most=config.most)
    return dg.MaterializeResult(metadata={"tracks": dg.MetadataValue.md(comparison_markdown(tracks)), "base": config.base})


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
    name_shards, name_index, face_chips, name_embeddings, name_splits, name_probes, name_vlm, names_report,
]  # fmt: skip
checks = [
    gate_check(name_splits, "shards_ready", gates.shards_ready),
    gate_check(name_splits, "nobody_on_two_sides", gates.nobody_on_two_sides),
    gate_check(name_probes, "control_at_chance", gates.control_at_chance),
    gate_check(name_probes, "predictions_not_skewed", gates.predictions_not_skewed, blocking=False),
]
names_shard = dg.define_asset_job(
    "names_shard",
    selection=dg.AssetSelection.assets("name_index", "face_chips", "name_embeddings"),
    partitions_def=shards,
    description="The names study, one shard of names: index, chips, vectors. Materialise name_shards first, then run it for every shard.",
)
names_study = dg.define_asset_job(
    "names_study",
    selection=dg.AssetSelection.assets("name_splits", "name_probes", "names_report"),
    description="The names study on all shards: split, probes with controls and ablations, report.",
)
jobs = [names_shard, names_study]
