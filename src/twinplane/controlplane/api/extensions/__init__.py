"""What clients add to the API: custom resources and aggregated API servers."""
