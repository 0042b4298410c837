"""The cloud controller: makes the AWS of a cluster's account follow its Services, Ingresses and Nodes, and back."""
