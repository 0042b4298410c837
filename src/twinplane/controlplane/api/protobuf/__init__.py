"""Kubernetes' protobuf encoding, read only: what kubectl's typed commands and Go clients send as request bodies."""
