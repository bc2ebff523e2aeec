# opa test policies/opa
package holdfast_test

import rego.v1

import data.holdfast

facts := {
    "worst": "person", "target_uses": 4, "amount": 20, "amount_z": 0.1, "new_target": false,
    "schema_changed": false, "denials": 0,
}

action := {
    "agent": "clerk", "role": "", "kind": "tool", "tool": "pay_invoice", "effect": "once",
    "args": {},
}

decision(changed) := found if {
    found := holdfast.verdict.decision with input as object.union(
        action,
        {"facts": object.union(facts, changed)},
    )
}

test_known_payee_is_allowed if decision({}) == "allow"

test_new_payee_is_asked_about if decision({"new_target": true, "target_uses": 0}) == "escalate"

test_large_is_asked_about if decision({"amount": 1000.01}) == "escalate"

test_unusual_is_asked_about if decision({"amount_z": 3}) == "escalate"

test_untrusted_is_denied if decision({"worst": "untrusted"}) == "deny"

test_changed_tool_is_denied if decision({"schema_changed": true}) == "deny"

test_after_three_refusals if decision({"denials": 3}) == "deny"

test_nothing_known_is_denied if holdfast.verdict.decision == "deny" with input as {}

test_reading_is_allowed if {
    holdfast.verdict.decision == "allow" with input as object.union(
        action,
        {"effect": "read", "facts": facts},
    )
}
