"""Every contract is explained, judged, triggered by its example, and predicts what exists."""

from __future__ import annotations

import pytest

import quadlib.diagnosis.checks  # noqa: F401 - registers the checks
from quadlib.diagnosis.catalogue import explain
from quadlib.diagnosis.contract import Contract
from quadlib.diagnosis.finding import ORDER, STAGES
from quadlib.diagnosis.registry import contracts
from quadlib.diagnosis.report import Diagnosis

CONTRACTS = contracts()
FILES = ("contracts", "watched_contracts")
# Symptoms come last whatever their stage: loss on its plateau, equal embeddings, chance scores.
SYMPTOMS = {"QL-N10", "QL-P10", "QL-P11", "QL-P12", "QL-P17", "QL-E10"}


def declared() -> dict[str, Contract]:
    """Every contract that a stage's file holds, whether a check judges it or not."""
    folders = [getattr(quadlib.diagnosis.checks, stage) for stage in STAGES.values()]
    files = [vars(folder).get(name) for folder in folders for name in FILES]
    return {
        item.code: item
        for file in filter(None, files)
        for item in vars(file).values()
        if isinstance(item, Contract)
    }


def test_every_contract_has_a_check_and_every_check_its_contract():
    assert declared() == {code: item for code, item in CONTRACTS.items() if code[:3] == "QL-"}


@pytest.mark.parametrize("code", sorted(CONTRACTS))
def test_predicted_codes_exist_and_are_of_no_earlier_stage(code):
    for other in CONTRACTS[code].predicts:
        assert other in CONTRACTS or (other.endswith("*") and other[3] in STAGES), other
        assert ORDER.index(other[3]) >= ORDER.index(code[3]) or {code, other} & SYMPTOMS, other


def test_no_two_contracts_predict_each_other():
    named = {(code, other) for code, item in CONTRACTS.items() for other in item.predicts}
    assert not [pair for pair in named if pair[::-1] in named]


@pytest.mark.parametrize("code", sorted(CONTRACTS))
def test_example_triggers_its_code(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {"__name__": "example"}
    exec(compile(CONTRACTS[code].example, f"<example of {code}>", "exec"), scope)
    results = [value for value in scope.values() if isinstance(value, Diagnosis)]
    assert results, f"the example of {code} makes no Diagnosis"
    found = [item.code for item in results[-1].findings]
    assert not results[-1].crashed
    assert code in found, f"the example of {code} gives {found}; not run: {results[-1].not_run}"


@pytest.mark.parametrize("code", sorted(CONTRACTS))
def test_contract_says_what_why_and_what_to_do(code):
    contract = CONTRACTS[code]
    assert all(
        len(text) > 15 for text in (contract.title, contract.what, contract.why, contract.fix)
    )
    assert explain(code).startswith(f"{code}: {contract.title}")


def test_unknown_code_lists_the_known_ones():
    with pytest.raises(KeyError, match="QL-S01"):
        explain("QL-X99")
