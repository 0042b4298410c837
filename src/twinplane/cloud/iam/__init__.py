"""What IAM decides beyond moto's records: trust policies of roles, tokens of web identities."""
