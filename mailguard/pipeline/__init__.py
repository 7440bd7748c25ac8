"""The life of a message after its final dot. `process` is the story; `judge`, `units` and `rescan` hold its parts."""
