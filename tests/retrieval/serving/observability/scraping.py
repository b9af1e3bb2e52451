"""What `/metrics` says, read by the parser of Prometheus's own client."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient


class Samples(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by name and labels."""

    def value(self, name: str, **labels: str) -> float:
        return self[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all labels but those given."""
        wanted = labels.items()
        return sum(value for (one, given), value in self.items() if one == name and wanted <= dict(given).items())

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label that a metric has."""
        return {dict(given)[label] for (one, given) in self if one == name}

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self}


def samples_of(text: str) -> Samples:
    found = Samples()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def scraped(client: TestClient, headers: Mapping[str, str] | None = None) -> Samples:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples_of(answer.text)
