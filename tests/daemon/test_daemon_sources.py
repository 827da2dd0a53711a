"""The file and labels feed one set of workloads: the file wins, conflicts are told once, nothing fails."""

from hypothesis import given
from hypothesis import strategies as st

from hotseat.config import Workload
from hotseat.daemon.sources import FILE, merge


def spec(container: str, *models: str, platform: str = "docker") -> Workload:
    return Workload.model_validate(
        {"port": 1, "platform": platform, "container": container, "models": list(models) or [container]}
    )


def test_the_file_wins_over_labels_and_docker_before_podman() -> None:
    told = {
        "podman": {"x": spec("x", "m", platform="podman")},
        "docker": {"x": spec("x", "m"), "y": spec("ours", "y")},
        FILE: {"a": spec("ours", "n")},
    }
    merged, conflicts = merge(told)
    assert {name: s.platform for name, s in merged.items()} == {"a": "docker", "x": "docker"}
    assert [(c.source, c.workload) for c in conflicts] == [("docker", "y"), ("podman", "x")]
    assert "is workload a already" in conflicts[0].message
    assert "of this name already" in conflicts[1].message


def test_a_model_that_another_has_is_left_out_and_the_rest_stays() -> None:
    merged, conflicts = merge({FILE: {"a": spec("a", "m")}, "docker": {"b": spec("b", "m", "n"), "c": spec("c", "m")}})
    assert merged["b"].models == ["n"]
    assert "c" not in merged
    assert [c.message for c in conflicts] == ["model m belongs to workload a already"] * 2


names = st.sampled_from("abc")
sources = st.dictionaries(
    st.sampled_from([FILE, "docker", "podman"]),
    st.dictionaries(names, st.builds(lambda c, ms: spec(c, *ms), names, st.sets(st.sampled_from("mno"), min_size=1))),
)


@given(sources)
def test_whatever_they_tell_two_never_share_a_container_or_a_model_and_nothing_vanishes_unsaid(
    told: dict[str, dict[str, Workload]],
) -> None:
    merged, conflicts = merge(told)
    containers = [(s.platform, s.container) for s in merged.values()]
    models = [model for s in merged.values() for model in s.models or ()]
    assert len(set(containers)) == len(containers)
    assert len(set(models)) == len(models)
    said = {(c.source, c.workload) for c in conflicts}
    for source, workloads in told.items():
        for name, given_spec in workloads.items():
            assert merged.get(name) == given_spec or (source, name) in said
