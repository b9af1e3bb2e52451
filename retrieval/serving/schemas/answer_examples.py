"""Examples of answers for the OpenAPI: those of a small shop, shortened; a test compares their fields with its."""

from typing import Any

GENERATION, EARLIER = "gen-20260102t030405000000z-0123abcd", "gen-20260101t020304000000z-4567ef01"
REQUEST = "6f1c0a52d3e84b7f"

# fmt: off
HITS: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 0,
        "results": [
            {
                "query_id": "0",
                "hits": [
                    {
                        "item_id": "orange-slice", "rank": 1, "score": 0.592, "source": "content", "stage": "retrieve",
                        "scores": {"retrieve": 0.592}, "title": "orange slice", "attributes": {"category": "food"},
                    },
                    {
                        "item_id": "bread", "rank": 2, "score": 0.405, "source": "content", "stage": "retrieve",
                        "scores": {"retrieve": 0.405}, "title": "bread", "attributes": {"category": "food"},
                    },
                ],
            },
        ],
    },
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 0,
        "results": [
            {
                "query_id": "0",
                "hits": [
                    {
                        "item_id": "orange-slice", "rank": 1, "score": 9.928, "source": "second stage",
                        "stage": "rerank", "scores": {"rerank": 9.928}, "title": "orange slice",
                        "why": {
                            "score": 0.21, "content": -0.053, "behaviour": 0.178, "popularity": 0.086,
                            "history": [{"item_id": "croissant", "effect": 0.175}],
                            "profile": 0.0, "stages": {"retrieve": 0.21, "rerank": 9.928}, "modalities": {"text": 1.0},
                            "features": {"next": 4.14, "category": 1.712, "retrieval": 1.277},
                        },
                    },
                ],
            },
        ],
    },
]
USERS: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 0,
        "results": [{"item_id": "croissant", "users": [{"user_id": "ann", "score": 0.017, "rank": 1}]}],
    },
]
ITEM: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 0,
        "item": {
            "item_id": "mug", "title": "mug",
            "attributes": {"title": "mug", "category": "kitchen", "price": 5, "year": 2020},
        },
    },
]
ITEMS: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 0,
        "items": [
            {
                "item_id": "mug", "title": "mug",
                "attributes": {"title": "mug", "category": "kitchen", "price": 5, "year": 2020},
            },
            {
                "item_id": "cup", "title": "cup",
                "attributes": {"title": "cup", "category": "kitchen", "price": 8, "year": 2020},
            },
        ],
        "next_cursor": "Z2VuLTIwMjYwMTAydDAzMDQwNTAwMDAwMHotMDEyM2FiY2Q6Mg==",
    },
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 0,
        "items": [
            {
                "item_id": "mug", "title": "mug",
                "attributes": {"title": "mug", "category": "kitchen", "price": 5, "year": 2020},
            },
        ],
        "next_cursor": None, "unknown": ["nope"],
    },
]
ACCEPTED: list[Any] = [{"request_id": REQUEST, "accepted": 1, "duplicates": 0, "forgotten": 0, "unknown_items": []}]
MERGED: list[Any] = [{"request_id": REQUEST, "user_id": "ann", "events": 1}]
USER_EVENTS: list[Any] = [
    {
        "request_id": REQUEST,
        "events": [
            {
                "sequence": 3, "event_id": "e-1", "user_id": "ann", "session_id": None, "item_id": "mug",
                "type": "view", "time": 1767323045, "weight": 1.0, "position": None, "request_id": None,
                "variant": None, "received": 1767323045000000,
            },
        ],
        "next_before": 3,
    },
]
FORGOTTEN: list[Any] = [{"request_id": REQUEST, "events": 3, "aliases": 1}]
JOB: list[Any] = [
    {
        "request_id": REQUEST,
        "job": {
            "job_id": "20260102t030405000000-add-0123ab", "kind": "add", "asked": {"mode": "add", "items": 1},
            "created": 1767323045.0, "generation": GENERATION, "change": 1, "state": "done", "ended": 1767323045.5,
            "progress": None,
            "report": {
                "added": 1, "replaced": 0, "unchanged": 0, "encoded": 1, "rejected": {}, "failed": {},
                "rejected_rows": [],
            },
            "error": None, "notes": [], "can_be_cancelled": False,
        },
    },
    {
        "request_id": REQUEST,
        "job": {
            "job_id": "20260102t030405000000-compact-0123ab", "kind": "compact", "asked": {}, "created": 1767323045.0,
            "generation": GENERATION, "change": 1, "state": "running", "ended": None, "progress": None, "report": None,
            "error": None, "notes": [], "can_be_cancelled": True,
        },
    },
]
GENERATIONS: list[Any] = [
    {
        "request_id": REQUEST,
        "generations": [
            {
                "generation": GENERATION, "created": "2026-01-02T03:04:05+00:00", "items": 20, "change": 0,
                "learned": ["behaviour", "reranker"], "words": True, "until": 1767225600,
                "ndcg@10": {"behaviour": 1.0, "frozen": 0.354, "reranker": 1.0}, "state": "current",
            },
            {
                "generation": EARLIER, "created": "2026-01-02T03:04:05+00:00", "items": 20, "change": 0, "learned": [],
                "words": False, "until": 1767225600, "ndcg@10": None, "state": "kept",
            },
        ],
    },
]
LIVE: list[Any] = [{"status": "live"}]
READY: list[Any] = [
    {
        "status": "ready", "generation": GENERATION, "change": 1, "problems": [],
        "files": {"check": "all", "files": 28, "checked": 28, "bytes": 170942, "bytes_checked": 170942},
    },
]
INFO: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 1, "version": "0.1.0", "items": 21,
        "encoder": {"name": "pocket", "dim": 1153, "modalities": ["text", "image"]},
        "index": {"kind": "faiss-flat", "recall": {"history": 1.0, "item": 1.0}, "degraded": False, "measured": True},
        "files": {"check": "all", "files": 28, "checked": 28, "bytes": 170942, "bytes_checked": 170942},
        "learned": {"adapter": False, "behaviour": True, "second_stage": True},
        "attributes": {"item_id": "string", "title": "string", "category": "string", "price": "int64", "year": "int64"},
        "limits": {"k": 1000, "hits": 32000, "body_bytes": 16000000, "deadline_seconds": 5.0}, "writes": True,
        "events": True,
    },
]
FACETS: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 1,
        "facets": [
            {
                "name": "category", "kind": "values", "several": False, "distinct": 4,
                "values": [{"value": "animals", "items": 5}, {"value": "clothes", "items": 5}], "items": 21,
                "missing": 1,
            },
            {
                "name": "price", "kind": "numbers", "whole": True, "min": 5.0, "max": 17.0, "histogram": [4, 0, 0, 0],
                "items": 21, "missing": 0,
            },
        ],
    },
]
MAP: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 1, "item_ids": ["mug", "cup"],
        "titles": ["mug", "cup"], "places": "wPj0Phot0Gk=", "of": 2, "explained_variance": 0.356,
        "colours": ["category", "price", "popularity", "known or new"],
        "colour": {"name": "category", "kind": "groups", "names": ["food", "kitchen"], "codes": "AQE="},
    },
]
PLACES: list[Any] = [{"request_id": REQUEST, "generation": GENERATION, "change": 1, "places": [[0.685, 0.457]]}]
TASTES: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 1,
        "near": [{"attribute": "category", "value": "food", "score": 0.351, "share": 0.238}],
        "far": [{"attribute": "category", "value": "animals", "score": -0.58, "share": 0.238}],
    },
]
STATUS: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 1, "created": "2026-01-02T03:04:05+00:00",
        "batches_since": 1, "promised_recall": 0.95, "recall": {"history": 1.0, "item": 1.0}, "problems": [],
        "files": {"check": "all", "files": 28, "checked": 28, "bytes": 170942, "bytes_checked": 170942},
        "learned": {"parts": ["behaviour", "reranker"], "interactions": 320, "until": "2026-01-01T00:00:00+00:00"},
        "words": True, "scenarios": [], "event_lag_seconds": None, "media": True, "routes": ["/search", "/recommend"],
    },
]
KEPT: list[Any] = [
    {
        "request_id": REQUEST, "generation": GENERATION, "change": 1,
        "generations": [
            {
                "generation": GENERATION, "created": "2026-01-02T03:04:05+00:00", "items": 20, "change": 0,
                "learned": ["behaviour", "reranker"], "words": True, "until": 1767225600,
                "ndcg@10": {"behaviour": 1.0, "frozen": 0.354, "reranker": 1.0}, "served": True, "open": True,
                "staged": False,
            },
            {
                "generation": EARLIER, "created": "2026-01-02T03:04:05+00:00", "items": 20, "change": 0, "learned": [],
                "words": False, "until": 1767225600, "ndcg@10": None, "served": False, "open": False, "staged": False,
            },
        ],
    },
]
MEDIA: list[Any] = [{"media": {"mug": ["image"]}}]
ERROR: list[Any] = [
    {
        "error": {
            "type": "UnknownItemError",
            "message": "1 of 1 item ids are not in this bundle, e.g. 'mgu'; did you mean 'mug'?",
            "hint": "check their spelling", "request_id": REQUEST,
        },
    },
    {
        "error": {
            "type": "ValidationError", "message": "text: there is no such field, did you mean `texts`?",
            "hint": "see /openapi.json for what is expected", "request_id": REQUEST,
        },
    },
]
# fmt: on
