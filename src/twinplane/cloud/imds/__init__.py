"""Instance metadata (IMDSv2): what 169.254.169.254 answers to machines and their pods."""
