"""Network and Application Load Balancers as a stack: what is wanted, what is there, and the steps between."""
