"""What operators see: the log (one function a mail event), every metric in one file, and health."""
