"""Your AWS account: moto behind one adapter. Nothing outside this package imports moto.

- `account`     the `Account` that the endpoint and the daemon hold;
- `worker`      the one thread in which moto runs, and the group commit before an answer leaves;
- `snapshots`   the account on disk;
- `waking`      importing moto without what this region never needs;
- `corrections` where moto differs from AWS in ways that matter here: addresses, scaling, leaks.
"""
