"""Reading journals for people: sentences, evidence, reports. Pure; it knows no store."""
