# opa test policies/opa
package holdfast_test

import rego.v1

import data.holdfast

facts := {
	"worst": "person", "target_uses": 4, "amount": 20, "amount_z": 0.1, "new_target": false,
	"schema_changed": false, "denials": 0,
}

action := {
	"agent": "clerk", "role": "", "kind": "tool", "tool": "pay_invoice", "effect": "once", "args": {},
}

outcome(changed) := found if {
	found := holdfast.verdict.outcome with input as {
		"action": action, "facts": object.union(facts, changed),
	}
}

test_known_payee_is_allowed if outcome({}) == "allow"

test_new_payee_is_asked_about if outcome({"new_target": true, "target_uses": 0}) == "escalate"

test_large_is_asked_about if outcome({"amount": 1000.01}) == "escalate"

test_unusual_is_asked_about if outcome({"amount_z": 3}) == "escalate"

test_untrusted_is_denied if outcome({"worst": "untrusted"}) == "deny"

test_changed_tool_is_denied if outcome({"schema_changed": true}) == "deny"

test_after_three_refusals if outcome({"denials": 3}) == "deny"

test_nothing_known_is_denied if holdfast.verdict.outcome == "deny" with input as {}

test_reading_is_allowed if {
	holdfast.verdict.outcome == "allow" with input as {
		"action": object.union(action, {"effect": "read"}), "facts": facts,
	}
}
