"""Dynamic admission over HTTPS: MutatingWebhookConfiguration and ValidatingWebhookConfiguration."""
