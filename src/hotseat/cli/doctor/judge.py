"""All findings over all facts, in the order in which a person reads them. Pure."""

from __future__ import annotations

from hotseat.cli.doctor import rules_containers, rules_machine, rules_store
from hotseat.cli.doctor.facts import Facts, Finding, Level


def judge(facts: Facts) -> list[Finding]:
    held = sum(process.gpu_bytes for container in facts.containers for process in container.processes)
    return [
        *rules_machine.driver(facts.driver, facts.amd),
        *rules_machine.amd_gpus(facts.amd),
        *(finding for gpu in facts.gpus for finding in rules_machine.gpu(gpu)),
        *rules_machine.rights(facts.rights),
        *rules_machine.cgroups(facts.cgroups, euid=facts.rights.euid),
        *rules_machine.host(facts.host, gpu_bytes=held),
        *rules_store.store(facts.store, containers=facts.containers),
        *(
            finding
            for platform in facts.platforms
            for finding in rules_containers.platform(platform, cgroups=facts.cgroups.mode)
        ),
        *(
            finding
            for container in facts.containers
            for finding in (
                *rules_containers.container(container, driver=facts.driver, host=facts.host),
                *rules_store.way(container, store=facts.store),
            )
        ),
    ]


def exit_code(findings: list[Finding]) -> int:
    """1 if something will not work, else 0."""
    return int(any(finding.level is Level.FAIL for finding in findings))
