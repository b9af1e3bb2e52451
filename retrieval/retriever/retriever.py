"""`Retriever`: search, similar items, recommendations, reranking and postprocessing, all for batches of queries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Unpack

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.encoders import Encoder
from indexing.index import VectorIndex
from indexing.runtime.arguments import check_kind, renamed_arguments
from retrieval.candidates import Candidates
from retrieval.filters import Where
from retrieval.interactions.context import ContextLike
from retrieval.interactions.impressions import ImpressionsLike
from retrieval.interactions.parse_values import Moment
from retrieval.models.profile_model import ProfilesLike
from retrieval.postprocess.blend import Blend
from retrieval.postprocess.diversify import Method
from retrieval.postprocess.duplicates import Collapse, ShowOnce
from retrieval.postprocess.rules import Rule, Ruled, Rules
from retrieval.ranking.confidence import MatchClassifier, MatchConfidence
from retrieval.ranking.explain import Explanation
from retrieval.ranking.published_heads import PublishedHeads
from retrieval.ranking.reranker import Reranker
from retrieval.retriever import after_retrieval as after
from retrieval.retriever import search as searching
from retrieval.retriever.fallback.top_items import Order, top_items
from retrieval.retriever.index_status import Status
from retrieval.retriever.loaded_bundle import HowOpened, LoadedBundle, open_bundle
from retrieval.retriever.queries import Query
from retrieval.retriever.queries.compose import Contribution, contributions
from retrieval.retriever.queries.documented import documented
from retrieval.retriever.queries.media import Picture, Recording
from retrieval.retriever.query_inputs import Histories, LastTimes
from retrieval.retriever.recommend import Stages, pool_of, recommended_once, request_of, users_of
from retrieval.retriever.related.items import By, complements, next_items, similar
from retrieval.retriever.related.users import RankedUsers, users_for


class Retriever:
    """Answers queries from one state of a bundle; safe to share between threads.

    Methods raise an `UnknownItemError` for an item that the bundle lacks, a `FilterError` for an attribute that it
    lacks, a `ShapeError` for arguments of different lengths, and an `InputError` for other arguments that cannot be
    used, also where the bundle lacks a part that is needed. Each names the value and how to correct it.

    Args:
        bundle: The opened bundle.
        encoder: The encoder that built it; loaded by name at the first text or image query when None.
        previous: A retriever of an earlier state, whose unchanged parts are reused; see `latest`.

    Attributes:
        bundle, items, learned, adapter, users, vectors, indexed, behaviour: Those of the state.

    Example::

        retriever = Retriever.open("bundles/shop")
        hits = retriever.search_texts(["red canvas shoes"], k=10)[0]
        hits[0]  # Hit(item_id='shoe-3', score=0.71, rank=1, source='content')
    """

    def __init__(self, bundle: Bundle, encoder: Encoder | None = None, *, previous: "Retriever | None" = None) -> None:
        if previous is not None:
            check_kind(previous, Retriever, "previous", "give a retriever, or None")
        self.state: LoadedBundle = LoadedBundle(bundle, encoder, previous=None if previous is None else previous.state)
        self.bundle, self.items = bundle, bundle.items
        self.learned, self.adapter, self.users = self.state.learned, self.state.adapter, self.state.users
        self.vectors, self.indexed, self.behaviour = self.state.vectors, self.state.indexed, self.state.behaviour

    @classmethod
    def open(cls, path: Path | str, encoder: Encoder | None = None, **how: Unpack[HowOpened]) -> "Retriever":
        """Open a bundle; `load` is another name for it.

        ``generation`` names an earlier one that is kept, which answers with the changes since. ``learned=False`` leaves
        out what `fit` learned: answers are those of the frozen vectors, searched exactly. ``check`` says when files are
        compared with what was written, see `Bundle.open`.

        Raises:
            BundleError: When there is no bundle or no such generation, or it is damaged or of a newer version.
            EncoderMismatchError: When ``encoder`` is not the one that built the bundle.
        """
        return cls(open_bundle(path, **how), encoder)

    load = open

    def __repr__(self) -> str:
        """Name the bundle, what it has learned, and which requests the heads order."""
        learned, heads = ", ".join(self.bundle.manifest.features) or "nothing", PublishedHeads.of(self.state.reranker)
        ordered = "" if heads is None else f"; {heads}"
        return f"<Retriever of {self.bundle.root}: {self.bundle.is_live.sum()} items, learned {learned}{ordered}>"

    def latest(self) -> "Retriever":
        """Give a retriever of the current state, or this one if it is current; both share memory and can be used."""
        bundle = self.bundle.latest()
        if bundle is self.bundle:
            return self
        same = bundle.manifest.encoder.fingerprint == self.bundle.manifest.encoder.fingerprint
        return Retriever(bundle, self.state.known_encoder if same else None, previous=self)

    @documented
    def search(
        self,
        queries: Sequence[str | Query],
        k: int = 10,
        *,
        mode: searching.SearchMode = "vector",
        where: Where = (),
        **once: Unpack[ShowOnce],
    ) -> Candidates:
        """Find the k items that answer each text or `Query` best.

        ``"vector"`` finds the nearest items, ``"words"`` those that have its words (BM25), ``"hybrid"`` both, fused.
        """
        return searching.search(self.state, queries, k, mode, where, once)

    @documented
    def search_texts(
        self, texts: Sequence[str], k: int = 10, *, where: Where = (), **once: Unpack[ShowOnce]
    ) -> Candidates:
        """Find the k items nearest to each text, which is never read as a path or URL.

        ``where`` filters hits: ``field("year") >= 1990``, ``"year >= 1990"``, or a list of ``("year", ">=", 1990)``.
        """
        return searching.search_texts(self.state, texts, k, where, once)

    @documented
    def search_images(
        self, images: Sequence[Picture], k: int = 10, *, where: Where = (), **once: Unpack[ShowOnce]
    ) -> Candidates:
        """Find the k items nearest to each image: a PIL image, the bytes of a file, or its path."""
        return searching.search_images(self.state, images, k, where, once)

    @documented
    def search_audio(
        self, sounds: Sequence[Recording], k: int = 10, *, where: Where = (), **once: Unpack[ShowOnce]
    ) -> Candidates:
        """Find the k items nearest to each audio clip: a file's bytes or path, or mono float32 samples.

        Samples have the ``audio_rate`` of the encoder; one that embeds no audio raises an `EncoderError`.
        """
        return searching.search_audio(self.state, sounds, k, where, once)

    @documented
    def search_vectors(
        self, vectors: Vectors, k: int = 10, *, modality: str | None = None, where: Where = (), **once: Unpack[ShowOnce]
    ) -> Candidates:
        """Find the k items nearest to each of (B, D) query vectors, of any length but zero.

        ``modality`` is ``"text"``, ``"image"`` or ``"audio"``. A bundle of separate spaces needs it, or raises a
        `SeparateSpacesError`: D is then that of the modality, and only items that have it are hits.
        """
        return searching.search_vectors(self.state, vectors, k, modality, where, once)

    @documented
    def similar_items(
        self,
        item_ids: Sequence[str] | Literal["all"],
        k: int = 10,
        by: By = "content",
        *,
        where: Where = (),
        **once: Unpack[ShowOnce],
    ) -> Candidates:
        """Find the k items nearest to each item, which is itself left out.

        They are nearest in ``"content"``, in ``"behaviour"`` (what users take together), or by the sum of both z-scores
        (``"both"``). ``"all"`` is every item; `retrieval.batch.write_neighbours` streams them.
        """
        return similar(self.state, item_ids, k, by, where, once)

    @documented
    def complements(self, baskets: Sequence[Sequence[str]], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find items that users take with each basket, without items that are similar to it.

        Needs a behaviour block, and at least one item in each basket.
        """
        return complements(self.state, baskets, k, where)

    @documented
    def next_items(self, item_ids: Sequence[str], k: int = 10, *, where: Where = ()) -> Candidates:
        """Find the items that users take soon after each item: fewer than k where fewer were taken.

        Needs a second stage.
        """
        return next_items(self.state, item_ids, k, where)

    @documented
    def users_for(
        self, item_ids: Sequence[str], interactions: Histories, k: int = 10, *, times: Moment | None = None
    ) -> RankedUsers:
        """Find for each item the k users of a log with the highest score, without those who have it.

        The score is that of ``recommend(interactions, stages="retrieval", times=times)``; a new item is scored as in a
        list of new items alone. Users without an item of the bundle are left out.
        """
        return users_for(self.state, item_ids, interactions, k, times)

    @renamed_arguments(least="min_relevance")
    @documented
    def recommend(
        self,
        histories: Histories,
        k: int = 10,
        *,
        stages: Stages = "all",
        where: Where = (),
        exclude_seen: bool = True,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
        times: Moment | Sequence[Moment] | None = None,
        last_times: LastTimes = None,
        profiles: ProfilesLike | None = None,
        context: ContextLike | None = None,
        min_relevance: float | None = None,
        **once: Unpack[ShowOnce],
    ) -> Candidates:
        """Recommend k items to each user by all published stages, as `fit` validated them.

        See `retrieval.retriever.recommend.Request`; ``stages="retrieval"`` is the first stage alone.
        """
        users = users_of(self.state, histories, user_ids, weights, times, last_times)
        request = request_of(self.state, users, profiles, context, where, exclude_seen, min_relevance, stages)
        return recommended_once(self.state, request, k, stages, once)

    @documented
    def top_items(
        self,
        order: Order = "popular",
        k: int = 10,
        *,
        where: Where = (),
        by: str | None = None,
        date: str | None = None,
    ) -> Candidates:
        """Give the k items that are trending, popular or newest, of all or of each value of the attribute ``by``.

        ``"popular"`` counts the likes in the log of `fit`, ``"trending"`` with a half-life of a week before its end.
        ``"newest"`` is by the column ``date``, or by the order of addition without one.
        """
        return top_items(self.state, order, k, where, by, date)

    @renamed_arguments(each="per_source")
    @documented
    def pool(
        self,
        histories: Histories,
        per_source: int | None = None,
        *,
        where: Where = (),
        exclude_seen: bool = True,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
        times: Moment | Sequence[Moment] | None = None,
        last_times: LastTimes = None,
        profiles: ProfilesLike | None = None,
        context: ContextLike | None = None,
    ) -> Candidates:
        """Give each user at most ``per_source`` candidates of each source, for `rerank`; as in training when None.

        Needs a second stage.
        """
        users = users_of(self.state, histories, user_ids, weights, times, last_times)
        request = request_of(self.state, users, profiles, context, where, exclude_seen, None)
        return pool_of(self.state, request, per_source)

    @documented
    def rerank(self, candidates: Candidates, k: int | None = None) -> Candidates:
        """Order candidates by the published head, and keep the best k of each query (all when None).

        Without a head the order is that of the exact score, and the stage is ``"exact"``. Lists of both stages of
        `recommend` of this state keep their order.
        """
        return after.rerank(self.state, candidates, k)

    @documented
    def blend(self, candidates: Candidates, weights: Mapping[str, float]) -> Candidates:
        """Add weighted attributes to the score, ``{"margin": 0.2}``; see `retrieval.postprocess.blend.Blend`."""
        return Blend(self.bundle.attributes, weights).rerank(self.state.here(candidates))

    @renamed_arguments(apart="max_similarity", spread="exposure_weight")
    @documented
    def diversify(
        self,
        candidates: Candidates,
        k: int | None = None,
        *,
        method: Method = "mmr",
        strength: float = 0.3,
        sharpness: float = 1.0,
        attribute: str | None = None,
        caps: Mapping[str, int] | None = None,
        max_similarity: float | None = None,
        page: int | None = None,
        shown: Candidates | None = None,
        exposure_weight: float = 0.1,
    ) -> Candidates:
        """Pick k relevant and diverse candidates of each query (all, reordered, when None).

        The arguments are those of `retrieval.retriever.after_retrieval.Diversity`.
        """
        limits = caps, max_similarity, page, shown, exposure_weight
        settings = after.Diversity(method, strength, sharpness, attribute, *limits)
        return after.diversify(self.state, candidates, settings, k)

    @documented
    def collapse(
        self,
        candidates: Candidates,
        k: int | None = None,
        *,
        group_by: str | None = None,
        min_similarity: float | None = None,
    ) -> Candidates:
        """Keep the best-ranked hit of each group of variants or near-duplicates, and k hits (all when None).

        Items of a group share the value of the attribute ``group_by``, or have a cosine of ``min_similarity``. The
        verbs that find items have ``group_by`` and ``duplicates``, which fill the lists up to k.
        """
        return searching.collapse_hits(self.state, candidates, k, Collapse(group_by, min_similarity))

    @documented
    def apply_rules(
        self,
        candidates: Candidates,
        rules: Rules | Sequence[Rule],
        k: int | None = None,
        *,
        impressions: ImpressionsLike | None = None,
        at: Moment | None = None,
    ) -> Ruled:
        """Apply business rules, as the last stage, and keep the best k of each query; hits name the rules.

        Frequency caps and rotation read ``impressions`` by query_id as user_id, up to ``at``: a time, read as
        ``times`` of `recommend`; the time of the last impression when None.
        """
        return after.apply_rules(self.state, candidates, rules, k, after.shown_until(impressions, at))

    @documented
    def verdicts(
        self, candidates: Candidates, *, kind: str = "text", matching: MatchClassifier | None = None
    ) -> MatchConfidence:
        """Say for each query whether the catalogue has a good match; candidates may be reranked.

        ``kind`` is ``"text"``, ``"image"`` or ``"audio"``. ``matching`` is fitted to the items of the bundle when None.
        """
        return after.verdicts(self.state, candidates, kind, matching)

    @renamed_arguments(most="max_reasons")
    @documented
    def explain(
        self,
        candidates: Candidates,
        *,
        weights: Sequence[Sequence[float]] | None = None,
        max_reasons: int = 5,
        among: Candidates | None = None,
    ) -> list[list[Explanation]]:
        """Give the reasons for each hit of `recommend`: at most ``max_reasons`` items of the history, and features.

        The other arguments are described by `retrieval.retriever.after_retrieval.explain_hits`.
        """
        return after.explain_hits(self.state, candidates, weights, max_reasons, among)

    @documented
    def explain_queries(
        self, queries: Sequence[str | Query], candidates: Candidates
    ) -> list[list[tuple[Contribution, ...]]]:
        """Give for each hit of `search` what each part of its query adds to the inner product."""
        return contributions(self.state, queries, candidates)

    @documented
    def nearest_parts(self, candidates: Candidates) -> list[list[after.Part | None]]:
        """Give for each hit which of its texts, images, audio clips or frames is nearest to the query, if any."""
        return after.matched_parts(self.state, candidates)

    @property
    def status(self) -> Status:
        """The recall of the index on the queries stored at build."""
        return self.state.status

    @property
    def reranker(self) -> Reranker:
        """The published second stage, or the reranker by exact score."""
        return self.state.reranker

    @property
    def index(self) -> VectorIndex:
        """The index over all items, changes included."""
        return self.state.index

    @property
    def centre(self) -> Vectors:
        """The mean content of all items: (D,) float32."""
        return self.state.centre

    @property
    def encoder(self) -> Encoder:
        """The encoder that built the bundle, loaded and checked when first needed."""
        return self.state.encoder
