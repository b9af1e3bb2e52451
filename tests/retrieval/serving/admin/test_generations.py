"""Generations over HTTP: rollback gives the earlier answers back, and a staged one is published when it is wanted."""

import gc
from dataclasses import replace

from indexing import index_words
from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import STAGED_ON, generations
from indexing.bundle.maintenance.staged import stage
from indexing.bundle.publish import prepare
from indexing.filesystem import fsops
from retrieval import compact
from tests.retrieval.serving.admin.conftest import AdminClient


def answers(admin: AdminClient) -> tuple[str, list[str], list[float]]:
    body = admin.client.post("/recommend", json={"histories": [["red-mug", "blue-lamp"]], "k": 5}).json()
    hits = body["results"][0]["hits"]
    return body["generation"], [hit["item_id"] for hit in hits], [hit["score"] for hit in hits]


def test_rollback_gives_the_earlier_answers_back(admin: AdminClient) -> None:
    learned = answers(admin)
    job = admin.post("rollback", {})["job"]
    assert (job["kind"], job["state"], job["generation"]) == ("rollback", "done", job["report"]["generation"])
    plain = answers(admin)
    assert plain[0] == job["generation"] != learned[0]
    assert plain[2] != learned[2]
    assert [one["state"] for one in admin.get("generations")["generations"]] == ["kept", "current"]
    admin.post("rollback", {"to": learned[0]})
    assert answers(admin) == learned
    assert admin.get("generations")["generations"][0]["learned"] == ["behaviour", "reranker"]


def test_rollback_to_what_is_not_there(admin: AdminClient) -> None:
    names = [one["generation"] for one in admin.get("generations")["generations"]]
    for name in ("gen-nothing", "../x"):
        error = admin.post("rollback", {"to": name}, 404)["error"]
        assert error["message"] == f"the bundle keeps no generation {name!r}"
        assert error["hint"] == f"it keeps {', '.join(names)}"
    assert admin.get("jobs")["jobs"] == []  # nothing has begun
    admin.post("rollback", {})
    assert "that was current before" in admin.post("rollback", {}, 409)["error"]["message"]
    error = admin.post("rollback", {"generation": "x"}, 422)["error"]
    assert error["message"] == "generation: there is no such field, there are to"


def staged_copy(admin: AdminClient, *, is_whole: bool = True, is_learned: bool = True) -> str:
    """Stage a copy of the current generation, or of the one before, which had learned nothing.

    Without what was learned its index has too many dimensions.
    """
    bundle = Bundle.open(admin.root, generation=generations(admin.root)[-1 if is_learned else 0])
    manifest = replace(bundle.manifest, learned={**bundle.manifest.learned, STAGED_ON: generations(admin.root)[-1]})
    names = [file.name for file in manifest.files]
    if not is_whole:
        names = [name for name in names if name.split(".")[0] not in manifest.features]
        manifest = replace(manifest, features=())
    return stage(admin.root, prepare(admin.root, manifest, {name: bundle.folder / name for name in names})).generation


def test_a_staged_generation_is_published(admin: AdminClient) -> None:
    before = answers(admin)
    staged = staged_copy(admin)
    assert answers(admin) == before
    admin.put({"item_id": "twin", "title": "red mug"})  # stays a change of what is published
    first = admin.get("generations")["generations"][0]
    assert (first["generation"], first["state"], first["made_on"]) == (staged, "staged", before[0])
    assert first["can_be_published"]
    assert "has no staged generation gen-x" in admin.post("publish", {"generation": "gen-x"}, 409)["error"]["message"]
    job = admin.post("publish", {"generation": staged})["job"]
    assert (job["generation"], job["change"], job["notes"]) == (staged, 1, [])
    assert answers(admin)[0] == staged
    assert "twin" in admin.found("red mug")
    states = {one["generation"]: one["state"] for one in admin.get("generations")["generations"]}
    assert (states[staged], states[before[0]], "staged" in states.values()) == ("current", "kept", False)
    assert "has no staged generation" in admin.post("publish", {}, 409)["error"]["message"]
    admin.post("rollback", {})
    assert answers(admin)[0] == before[0]


def test_a_staged_generation_answers_who_asks_for_it_by_name(admin: AdminClient) -> None:
    before = answers(admin)
    staged = staged_copy(admin, is_learned=False)
    admin.put({"item_id": "twin", "title": "red mug"})

    def asked(**version: object) -> tuple[str, list[str], list[float]]:
        body = {"histories": [["red-mug", "blue-lamp"]], "k": 5, **version}
        answer = admin.client.post("/recommend", json=body).json()
        hits = answer["results"][0]["hits"]
        return answer["generation"], [hit["item_id"] for hit in hits], [round(hit["score"], 4) for hit in hits]

    by_name = asked(generation=staged)
    assert by_name == (staged, *asked(learned=False)[1:])  # it has learned nothing
    assert asked()[0] == before[0]
    found = admin.client.post("/search", json={"texts": ["red mug"], "k": 3, "generation": staged}).json()
    assert (found["generation"], found["change"]) == (staged, 1)
    assert "twin" in [hit["item_id"] for hit in found["results"][0]["hits"]]
    error = admin.client.post("/search", json={"texts": ["red mug"], "generation": "newest"}).json()["error"]
    kept = ", ".join(map(repr, generations(admin.root)))
    assert error["hint"] == f"it keeps {kept}, and {staged!r}, which is staged"
    listed = admin.client.get("/generations").json()["generations"]
    assert [(one["generation"], one["staged"], one["served"], one["open"]) for one in listed[:2]] == [
        (staged, True, False, True), (before[0], False, True, True),
    ]  # fmt: skip
    error = admin.post("rollback", {"to": staged}, 404)["error"]
    assert error["hint"] == "publish it by /admin/publish"
    admin.post("publish", {"generation": staged})
    assert asked() == asked(generation=staged) == by_name
    assert not admin.client.get("/generations").json()["generations"][0]["staged"]


def test_a_staged_generation_whose_base_is_gone_says_so(admin: AdminClient) -> None:
    base, staged = answers(admin)[0], staged_copy(admin)
    for item in ("red-lamp", "blue-lamp", "red-shoe"):
        admin.delete(f"items/{item}")
        compact(admin.root)
        admin.client.app.state.service.served.follow()  # type: ignore[attr-defined]
        gc.collect()  # nobody reads the one before
    listed = admin.client.get("/generations").json()["generations"]
    assert listed[0]["problem"] == f"{base}, which it was made on, is not kept any more; fit again"
    refused = admin.client.post("/search", json={"texts": ["red"], "generation": staged})
    assert refused.status_code == 410
    assert f"{staged} is staged, and {base}" in refused.json()["error"]["message"]


def test_what_cannot_be_served_is_a_note_of_its_job(admin: AdminClient) -> None:
    staged = staged_copy(admin, is_whole=False)
    (note,) = admin.post("publish", {})["job"]["notes"]
    assert note.startswith("what is current now cannot be served: ")
    assert admin.client.get("/ready").json()["status"] == "degraded"
    assert answers(admin)[0] != staged


def test_one_that_was_made_on_another_generation_is_not_published(admin: AdminClient) -> None:
    staged = staged_copy(admin)
    other = index_words(admin.root, ["title"]).manifest.generation
    error = admin.post("publish", {}, 409)["error"]
    assert error["message"].endswith(f"and {other} is current since")
    assert not admin.get("generations")["generations"][0]["can_be_published"]
    admin.post("rollback", {})  # to that which it was made on
    assert admin.post("publish", {})["job"]["generation"] == staged
    assert admin.get("generations")["generations"][0]["generation"] == staged


def test_a_compaction_leaves_a_staged_generation_to_be_published(admin: AdminClient) -> None:
    staged = staged_copy(admin)
    admin.put({"item_id": "twin", "title": "red mug"})
    assert admin.until_ended(admin.post("compact", status=202))["state"] == "done"
    assert admin.get("generations")["generations"][0]["can_be_published"]
    job = admin.post("publish", {"generation": staged})["job"]
    assert (job["generation"], job["change"], job["notes"]) == (staged, 1, [])
    assert "twin" in admin.found("red mug")


def test_a_staged_generation_that_is_damaged_is_not_published(admin: AdminClient) -> None:
    staged = staged_copy(admin)
    path = admin.root / f"staged-{staged}" / "golden.safetensors"
    content = path.read_bytes()
    fsops.remove(path)  # it is a link
    path.write_bytes(content[:-1] + b"?")
    assert admin.post("publish", {}, 503)["error"]["type"] == "DamagedFileError"
    assert answers(admin)[0] != staged


def test_a_generation_that_cannot_be_read_is_told(admin: AdminClient) -> None:
    first, second = (one["generation"] for one in admin.get("generations")["generations"])
    (admin.root / second / "manifest.json").write_text("{}")
    found = admin.get("generations")["generations"]
    told = next(one for one in found if one["generation"] == second)
    assert "manifest.json" in told["problem"]
    assert next(one for one in found if one["generation"] == first)["state"] == "current"
