"""The operator's rights as files: what a chart may put in the place of names, and what has to stay."""

from __future__ import annotations

from typing import Any

import yaml

from development import credentials, house
from vmext_operator.control import secrets

FILES = sorted(house.RIGHTS.glob("*.yaml"))
TEXT = "\n---\n".join(file.read_text() for file in FILES)


def objects(text: str) -> list[Any]:
    return [one for one in yaml.safe_load_all(text) if one]


def test_every_policy_is_bound_refuses_and_fails_closed() -> None:
    found = objects(TEXT)
    policies = {one["metadata"]["name"]: one for one in found if one["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [one["spec"] for one in found if one["kind"] == "ValidatingAdmissionPolicyBinding"]

    assert sorted(one["policyName"] for one in bindings) == sorted(policies)
    assert all(one == {"policyName": one["policyName"], "validationActions": ["Deny"]} for one in bindings)
    assert all(one["spec"]["failurePolicy"] == "Fail" for one in policies.values())
    # Whoever installs waits for this one: those before it are in force when it is.
    assert list(policies)[-1] == house.LAST_POLICY


def test_policies_are_applied_before_the_rights_that_they_narrow() -> None:
    names = [file.name for file in FILES]
    assert names.index("rbac.yaml") == len(names) - 1


def test_names_can_be_replaced_where_they_stand_and_what_is_the_programs_own_stays() -> None:
    assert secrets._KEY_NAME == "vmext-operator-key"
    for own in ("'vmext-' + 'operator-key'", "'vmext-' + 'operator'"):
        assert own in TEXT
    assert "vmext-operator-key" not in TEXT

    replaced = TEXT.replace(credentials.OPERATOR, "another-name").replace(credentials.NAMESPACE, "another-place")

    assert house.OPERATOR_USER not in replaced
    assert replaced.count("'system:serviceaccount:another-place:another-name'") == TEXT.count(house.OPERATOR_USER)
    binding = next(one for one in objects(replaced) if one["kind"] == "ClusterRoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "another-name", "namespace": "another-place"}]
    assert binding["roleRef"]["name"] == "another-name"
    assert "'vmext-' + 'operator-key'" in replaced


def test_the_longest_token_is_what_the_operator_asks_for_by_default() -> None:
    assert f"expirationSeconds.orValue(0) <= {30 * 86_400}" in TEXT
