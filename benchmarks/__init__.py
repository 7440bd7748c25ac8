"""What MailGuard costs, measured: `make bench`, `make bench-scale`, `make soak`; docs/performance.md tells the results."""
