"""The monthly service report of a tenant, in plain words: facts from the recorded events, as HTML, as PDF and as mail."""
