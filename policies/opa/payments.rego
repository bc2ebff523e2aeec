# The starter pack "payments" for Open Policy Agent: who pays whom, how much, on whose word.
#
#   opa run --server --addr localhost:8181 policies/opa/payments.rego
#
# Every rule that matches stands in `rules`; the strictest decides. The default is to deny:
# what no rule covers, and what a rule cannot evaluate, does not happen. A rule that allows names
# all facts that other rules stop at: in Rego a rule over a misspelt fact silently never matches,
# and then the one that allows must not match either.
package holdfast

import rego.v1

# ---- the document that Holdfast asks for -------------------------------------------------------

default verdict := {"decision": "deny", "rules": ["otherwise"], "reason": "no rule allows this"}

verdict := object.union(strictest, {"rules": [rule.id | some rule in ranked]}) if count(ranked) > 0

strictest := object.remove(ranked[0], ["id"])

ranked := [rule |
    some word in ["deny", "escalate", "allow"]
    some rule in matched
    rule.decision == word
]

matched contains rule if some rule in allowed
matched contains rule if some rule in escalated
matched contains rule if some rule in denied

# ---- what counts as a payment ------------------------------------------------------------------

payment if {
    input.kind == "tool"
    regex.match(`(?i)(pay|transfer|refund|payout|invoice)`, input.tool)
    input.effect in {"idempotent", "once"}
}

limit := 1000

# ---- allow -------------------------------------------------------------------------------------

allowed contains {"id": "reads", "decision": "allow"} if input.effect in {"read", "world"}

allowed contains {"id": "known-payee", "decision": "allow"} if {
    payment
    input.facts.worst in {"person", "program", "trusted"}
    input.facts.target_uses > 0
    input.facts.amount <= limit
    input.facts.amount_z < 3
    input.facts.new_target == false
    input.facts.schema_changed == false
    input.facts.denials < 3
}

# ---- ask a person ------------------------------------------------------------------------------

escalated contains rule if {
    payment
    input.facts.new_target
    rule := {
        "id": "new-payee",
        "decision": "escalate",
        "reason": "nobody was paid there before",
        "way": "pay somebody who was paid before",
        "approvers": ["finance"],
    }
}

escalated contains rule if {
    payment
    input.facts.amount > limit
    rule := {
        "id": "large",
        "decision": "escalate",
        "reason": sprintf("more than %d", [limit]),
        "way": sprintf("stay at or below %d", [limit]),
        "approvers": ["finance"],
    }
}

escalated contains rule if {
    payment
    input.facts.amount_z >= 3
    rule := {
        "id": "unusual",
        "decision": "escalate",
        "reason": "far from the amounts that were paid before",
        "approvers": ["finance"],
    }
}

# ---- never -------------------------------------------------------------------------------------

denied contains rule if {
    payment
    input.facts.worst == "untrusted"
    rule := {
        "id": "payee-from-untrusted-text",
        "decision": "deny",
        "reason": "whom or how much to pay stands only in text that anybody could have written",
        "way": "let a person name the payee and the amount",
    }
}

denied contains rule if {
    payment
    input.facts.schema_changed
    rule := {
        "id": "tool-changed",
        "decision": "deny",
        "reason": "the tool's definition is another than the one that was used before",
        "way": "look at what changed and pin it in the policy",
    }
}

denied contains rule if {
    payment
    input.facts.denials >= 3
    rule := {
        "id": "denied-in-a-row",
        "decision": "deny",
        "reason": "three actions in a row were refused",
        "way": "stop, and ask the person what is wanted",
    }
}
