"""The `twinplane` command: one file per noun, eksctl's verbs and words."""
