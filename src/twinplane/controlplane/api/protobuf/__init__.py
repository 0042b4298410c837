"""Kubernetes' protobuf encoding, of what kubectl's typed commands and Go clients send and ask to be answered in."""
