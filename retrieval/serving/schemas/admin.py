"""Bodies of what changes the bundle."""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, model_validator

from retrieval.fitting.fit_config import Effort
from retrieval.fitting.selection.temporal_split import SplitMethod
from retrieval.serving.admin.edits import Mode
from retrieval.serving.admin.jobs import Kind, State
from retrieval.serving.schemas import answer_examples
from retrieval.serving.schemas.answers import Body
from retrieval.serving.schemas.base import Id, Strict, examples

MAX_ITEMS = 10_000
_Name = Annotated[str, Field(min_length=1, max_length=100)]
_Item = Annotated[Any, WithJsonSchema({"type": "object"})]  # what is no object is a row that is rejected


class ItemsOptions(Strict):
    """What becomes of items."""

    model_config = examples([{"mode": "upsert"}])
    mode: Mode = Field(
        default="add",
        description="'add' refuses items that are there, 'upsert' replaces them whole, 'update' changes attributes.",
    )


class ItemsRequest(ItemsOptions):
    """Items: the columns that the bundle was built from, and attributes. Files are base64."""

    model_config = examples(
        [
            {"items": [{"item_id": "mug-9", "title": "a red mug", "price": 12}]},
            {"mode": "upsert", "items": [{"item_id": "mug-9", "title": "a red mug", "price": 10}]},
            {"mode": "update", "items": [{"item_id": "mug-9", "price": 9}]},
        ]
    )
    items: Annotated[list[_Item], Field(min_length=1, max_length=MAX_ITEMS)]


class DeleteRequest(Strict):
    """Items to take out: all of them, or none where one is not there."""

    model_config = examples([{"item_ids": ["mug-9"]}, {"item_ids": ["mug-9", "mug-10"], "missing_ok": True}])
    item_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_ITEMS)]
    missing_ok: bool = Field(default=False, description="Pass over items that the bundle lacks.")


class FitOptions(Strict):
    """How to learn; see `FitConfig`."""

    model_config = examples([{"refresh": True}])
    effort: Effort | None = None
    split: SplitMethod | None = None
    exposure_floor: Annotated[float, Field(ge=0, le=1)] | None = None
    refresh: bool = Field(default=False, description="Continue from the published parts, with their settings.")
    publish: bool = Field(default=True, description="Else the generation is staged, and `/admin/publish` publishes it.")
    context: Annotated[list[Id], Field(max_length=20)] = Field(
        default=[], description="Columns of what held at each event, as 'utc_hour'."
    )

    @model_validator(mode="after")
    def _settings_or_refresh(self) -> "FitOptions":
        if self.refresh and (given := self.model_fields_set & {"effort", "split", "exposure_floor"}):
            raise ValueError(f"a refresh trains as the published parts were trained; leave {', '.join(given)} out")
        return self


class FitRequest(FitOptions):
    """Learn from the log of live events as it stands, or continue a fit that did not end."""

    model_config = examples([{}, {"effort": "fast", "publish": False}, {"refresh": True}])
    replace: bool = Field(
        default=False, description="Learn also where live events are fewer than the published parts were trained on."
    )
    resume: _Name | None = Field(default=None, description="A fit that was ended or has failed: the same again.")

    @model_validator(mode="after")
    def _resume_alone(self) -> "FitRequest":
        if self.resume is not None and self.model_fields_set != {"resume"}:
            raise ValueError("a fit is resumed as it was asked for; give `resume` alone")
        if self.refresh and self.replace:
            raise ValueError("a refresh continues from the published parts and replaces none; leave `replace` out")
        return self


class CompactRequest(Strict):
    """Nothing: the body may be left out."""

    model_config = examples([{}])


class PublishRequest(Strict):
    """Which staged generation is meant."""

    model_config = examples([{}, {"generation": "gen-20260102t030405000000z-0123abcd"}])
    generation: _Name | None = Field(default=None, description="To be sure; the one that is staged when left out.")


class RollbackRequest(Strict):
    """Which generation becomes current."""

    model_config = examples([{}, {"to": "gen-20260102t030405000000z-0123abcd"}])
    to: _Name | None = Field(default=None, description="One that is kept; the one before when left out.")


class Progress(Body):
    """Where a job is, or where it ended: a job that is done has `done` of `total`, and `number` of `steps`."""

    step: str
    done: int
    total: int | None
    unit: str | None = None
    number: int | None = Field(default=None, description="Of the step, from 1.")
    steps: int | None = Field(default=None, description="Expected; steps of a part that does not help are left out.")


class JobError(Body):
    """Why a job failed."""

    type: str
    message: str
    hint: str


class JobOut(Body):
    """A job."""

    job_id: str
    kind: Kind
    state: State = Field(description="'interrupted' where its process was killed: the bundle is whole.")
    asked: dict[str, Any]
    created: float = Field(description="Seconds since 1970.")
    ended: float | None
    progress: Progress | None = Field(description="Null of what the service did itself.")
    report: dict[str, Any] | None = Field(
        description="What came of it. Of a fit what was measured, published or staged, and in `refused` why not."
    )
    error: JobError | None
    notes: list[str]
    generation: str = Field(description="That of the bundle after it; before it while it runs.")
    change: int
    can_be_cancelled: bool = Field(description="Whether it runs, in a process of its own.")


class JobAnswer(Body):
    """A job: it has ended (200), or runs (202)."""

    model_config = examples(answer_examples.JOB)

    request_id: str
    job: JobOut


class JobsAnswer(Body):
    """Jobs, the latest first."""

    model_config = examples(
        [{"request_id": answer_examples.REQUEST, "jobs": [one["job"] for one in answer_examples.JOB]}]
    )

    request_id: str
    jobs: list[JobOut]


class KeptGeneration(Body):
    """A generation."""

    generation: str
    created: str | None = None
    items: int | None = None
    change: int | None = Field(default=None, description="The last change that it contains.")
    learned: list[str] | None = Field(default=None, description="The parts that were learned.")
    words: bool | None = Field(default=None, description="Whether it has an index of words.")
    until: int | None = Field(default=None, description="Of the last event that it learned from, seconds since 1970.")
    ndcg_at_10: dict[str, float] | None = Field(default=None, alias="ndcg@10")
    problem: str | None = Field(default=None, description="Why it cannot be read.")


class Generation(KeptGeneration):
    """A generation, and what can become of it."""

    state: Literal["current", "kept", "staged"]
    made_on: str | None = Field(default=None, description="Of a staged one, the generation that it was made on.")
    can_be_published: bool | None = None


class GenerationsAnswer(Body):
    """The generations of the bundle, the newest first."""

    model_config = examples(answer_examples.GENERATIONS)

    request_id: str
    generations: list[Generation]
