"""HTTP/1.1 for the API server: a thin asyncio protocol on httptools. The hot path of the product, hence our own."""
