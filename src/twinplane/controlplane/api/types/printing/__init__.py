"""How `kubectl get` shows each kind: columns and cells, one module a group of kinds. `tables` is the front."""
