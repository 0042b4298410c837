"""CertificateSigningRequests: approving those of kubelets, signing for the known signers, and cleaning up."""
