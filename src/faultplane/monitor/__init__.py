"""What is happening in a domain: metrics for Prometheus and OpenMetrics."""
