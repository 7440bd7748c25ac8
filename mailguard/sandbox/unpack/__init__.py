"""Files taken apart: what lies in archives, documents and pages, down to a depth, within limits. Runs in the sandbox alone."""
