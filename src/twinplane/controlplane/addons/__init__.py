"""What EKS puts into every new cluster by itself: the add-ons that a cluster is not complete without."""
