"""Photos and vectors -> [triage]: series, what people prefer, heads that pick, how good the picks are, and the picks."""

import dagster as dg

from vibe_assets.defs.checks.gate import gate_check
from vibe_assets.defs.embeddings import image_embeddings
from vibe_assets.defs.library import photo_groups, raw_photos
from vibe_assets.defs.metadata import column_schema, counts_table, page_links, stored
from vibe_assets.defs.resources import Installation
from vibe_assets.records.series import BEST_OF_SERIES, IMAGE_QUALITY, PHOTO_SERIES, SERIES_PREFERENCES
from vibe_assets.triage import gates, learn, picks, report, study

OWNERS = ["team:triage"]


@dg.asset(
    deps=[raw_photos, image_embeddings, photo_groups],
    group_name="triage",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="2",
    description="Photos of one moment: taken within seconds by one camera and alike, undated neighbours by name that are much alike, or "
    "imported as a series. Ids and splits stay, also of a series that was gone for a while; series that share a photo or a near-duplicate "
    "share a split.",
)
def photo_series(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Build the series of the library and of the imports."""
    platform = installation.open(context)
    rows = study.build_series(platform)
    once = rows.unique("series_id")
    return stored(
        platform,
        PHOTO_SERIES,
        rows,
        series=once.height,
        lengths=counts_table(
            "photos in the series", {str(k): v for k, v in once["series_size"].value_counts().sort("series_size").iter_rows()}
        ),
        splits=counts_table("split", dict(once["split"].value_counts(sort=True).iter_rows())),
        sources=counts_table("source", dict(once["source"].value_counts(sort=True).iter_rows())),
    )


@dg.asset(
    deps=[photo_series],
    group_name="triage",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version=study.MEASURE,
    description="Sharpness, exposure, clipping, colourfulness, contrast and noise of every take of a series, upright, at 512 px.",
)
def image_quality(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Measure the takes that were not measured yet."""
    platform = installation.open(context)
    rows = study.measure_quality(platform)
    names = [name for name, column in IMAGE_QUALITY.columns.items() if column.dtype == "f32"]
    medians = {name: round(float(rows[name].median() or 0.0), 3) for name in names}  # type: ignore[arg-type]
    return stored(platform, IMAGE_QUALITY, rows, medians=counts_table("median", medians))


@dg.asset(
    deps=[photo_series],
    group_name="triage",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="1",
    description="Which of two photos of a series people prefer: imported comparisons and what was chosen on the review page. Ties stay "
    "ties; comparisons with too few or too divided reviewers do not count, and say so.",
)
def series_preferences(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Settle what people said."""
    platform = installation.open(context)
    rows = study.settle_preferences(platform)
    counted = rows.filter(rows["reason"].is_null())
    reasons = dict(rows["reason"].fill_null("counts").value_counts(sort=True).iter_rows())
    return stored(
        platform,
        SERIES_PREFERENCES,
        rows,
        **{"series compared": counted["series_id"].n_unique()},
        tied=counted.filter(counted["votes_a"] == counted["votes_b"]).height,
        comparisons=counts_table("comparisons", reasons),
    )


@dg.asset(
    deps=[series_preferences, image_quality, image_embeddings, photo_series],
    group_name="triage",
    kinds={"pytorch", "safetensors"},
    owners=OWNERS,
    code_version=learn.CODE_VERSION,
    description="Heads that score the photos of a series: linear, Bradley-Terry, antisymmetric pairs, MLP with and without the series in "
    "view, Transformer. Validation top-1 stops each of them and chooses the one that picks.",
)
def series_heads(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Train every recipe."""
    platform = installation.open(context)
    trained = learn.train_heads(platform)
    lines = ["| recipe | top-1 on validation | series | temperature | file |", "|---|---:|---:|---:|---|"]
    lines += [
        f"| {recipe} | {head.card.selection['top1']:.3f} | {head.card.n_val} | {head.card.temperature:.2f} | {head.version} |"
        for recipe, head in trained.heads.items()
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(trained.version),
        metadata={
            "series": trained.series,
            "heads": dg.MetadataValue.md("\n".join(lines)),
            "encoder": next(iter(trained.heads.values())).card.encoder,
        },
    )


@dg.asset(
    deps=[series_heads],
    group_name="triage",
    kinds={"html"},
    owners=OWNERS,
    code_version="1",
    description="Every head and every rule on the test series, side by side: top-1 to 3, rank, MRR, pairs, points over random, paired "
    "tests, contact sheets of wins and misses.",
)
def triage_report(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Judge the heads."""
    written = report.report_triage(installation.open(context))
    best = written.judged.best
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.version),
        metadata={
            "models": dg.MetadataValue.md(written.markdown),
            **page_links(written.path),
            "chosen": written.judged.chosen,
            "top-1": round(best.figures["top1"].value, 4),
            "random": round(best.figures["top1"].baseline or 0.0, 4),
            "series": best.figures["top1"].n,
        },
    )


@dg.asset(
    deps=[triage_report, photo_series, image_quality, image_embeddings],
    group_name="triage",
    kinds={"python", "deltalake", "html"},
    owners=OWNERS,
    code_version="2",
    description="The photo to keep of every series of the library, with its chance, or too close to call. Waits for the report's gates. "
    "Nothing is moved or deleted.",
    metadata={"dagster/column_schema": column_schema(BEST_OF_SERIES)},
)
def best_of_series(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Pick in every series of the library."""
    platform = installation.open(context)
    found = picks.pick_library(platform)
    return stored(
        platform,
        BEST_OF_SERIES,
        found.rows,
        picked=found.picked,
        **{"too close to call": found.series - found.picked},
        model=found.model,
        gates=found.caution or "passed, or none needed: picked by rule",
        page=dg.MetadataValue.path(str(found.page)),
        csv=dg.MetadataValue.path(str(found.table)),
    )


assets = [photo_series, image_quality, series_preferences, series_heads, triage_report, best_of_series]
checks = [
    gate_check(photo_series, "series_in_one_split", gates.series_in_one_split),
    gate_check(series_heads, "series_scores_finite", gates.series_scores_finite),
    gate_check(series_heads, "series_order_ignored", gates.series_order_ignored),
    gate_check(triage_report, "beats_random", gates.beats_random),
    gate_check(triage_report, "beats_rules", gates.beats_rules),
    gate_check(best_of_series, "one_pick_at_most", gates.one_pick_at_most),
]
triage_study = dg.define_asset_job(
    "triage_study",
    selection=dg.AssetSelection.assets(*(asset.key for asset in assets)),
    description="Series, quality, preferences, heads, the report and the picks, from what is in the lake.",
)
jobs = [triage_study]
