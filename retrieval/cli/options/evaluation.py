"""Options of `commonspace evaluate`, `encoders rank` and `doctor`: what is measured, and what is shown of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.store.encode import EncodeConfig
from retrieval.cli.options.encoding import BatchSize, EncoderNames, Workers
from retrieval.cli.options.items import IdColumn, ImageColumns, ImageDir, PageSource, distinct, or_sample
from retrieval.cli.options.log import ContextColumnsOption, ProfilesFile, names_in
from retrieval.cli.options.output import Html, Json, MetricsOut, Save
from retrieval.cli.options.search import Mode, NumCandidates, Rerank
from retrieval.evaluation.encoder_benchmark.ranking import RankConfig
from retrieval.evaluation.report.item_map import MODALITY

MEASURES, PAGE = "Measures", "Page"

Queries = Annotated[
    Path | None,
    typer.Option("--queries", help="Instead of a log: a .parquet file of texts, each with the item_id that it means."),
]
Baselines = Annotated[
    bool | None,
    typer.Option(
        "--baselines/--no-baselines", rich_help_panel=MEASURES, help="Measure popularity, item-kNN, EASE and others."
    ),
]
BeyondAccuracy = Annotated[
    bool,
    typer.Option("--beyond-accuracy", rich_help_panel=MEASURES, help="Also measure novelty, diversity and the like."),
]
Breakdown = Annotated[
    bool,
    typer.Option(
        "--breakdown", rich_help_panel=MEASURES, help="Say how much is lost by the model, and how much by the index."
    ),
]
ColourBy = Annotated[
    str, typer.Option("--colour-by", rich_help_panel=PAGE, help="Colours of the map: 'modality' or an attribute.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, rich_help_panel=MEASURES, help="Seed of what is drawn at random.")]
LabelColumn = Annotated[
    str | None,
    typer.Option("--label-column", rich_help_panel=MEASURES, help="Column that probes predict; found by default."),
]
SampleSize = Annotated[
    int, typer.Option("--sample-size", min=1, rich_help_panel=MEASURES, help="Most items, drawn at random.")
]


@dataclass(frozen=True)
class EvaluateOptions:
    """What is evaluated: texts, or the users of a log, and by which stages they are answered."""

    queries: Queries = None
    num_candidates: NumCandidates = 200
    rerank: Rerank = True
    profiles: ProfilesFile = None
    mode: Mode = "vector"
    context: ContextColumnsOption = None

    @property
    def context_columns(self) -> tuple[str, ...]:
        """The columns of the context."""
        return names_in(self.context)


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured beside accuracy, and where the values are written."""

    baselines: Baselines = None
    beyond_accuracy: BeyondAccuracy = False
    breakdown: Breakdown = False
    save: Save = None
    metrics_out: MetricsOut = None
    as_json: Json = False


@dataclass(frozen=True)
class PageOptions:
    """A page of the evaluation, with a map and the images of items."""

    html: Html = None
    items: PageSource = None
    image_dir: ImageDir = None
    id_column: IdColumn = None
    image_column: ImageColumns = None
    colour_by: ColourBy = MODALITY

    def catalogue(self) -> Catalogue | None:
        """Open the source of the images; None when there is none."""
        if self.items is None:
            return None
        columns = NamedColumns(self.id_column, None, distinct(self.image_column))
        return Catalogue.open(or_sample(self.items), image_dir=self.image_dir, columns=columns)


@dataclass(frozen=True)
class RankOptions:
    """Which encoders are measured, and on how many items."""

    encoder: EncoderNames = None
    label_column: LabelColumn = None
    sample_size: SampleSize = RankConfig.sample
    seed: Seed = RankConfig.seed
    batch_size: BatchSize = EncodeConfig.batch_size
    workers: Workers = None
