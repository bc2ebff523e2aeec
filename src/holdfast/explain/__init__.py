"""Reading journals for people: sentences, evidence, reports, why. Pure: it reads through the port
of stores and changes nothing."""
