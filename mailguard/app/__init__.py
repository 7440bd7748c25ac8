"""The composition root: the only room that builds services. `relay` is what a worker runs, `parent` what `mailguard serve` is."""
