"""API priority and fairness: who is served first, and who is told to come back, when there are too many requests.

Upstream counts requests that execute in parallel threads. This server is one event loop, so a request executes in two
ways, and both hold seats:

- it has begun and waits for something slow: the durable commit of a write, a webhook, a kubelet. Its seats are held
  until it is answered, as upstream;
- it needs the processor only, as most reads do, and is over within the turn of the loop in which it began. Its seats
  are held until that turn ends. So a turn starts no more requests than there are seats, however many sockets became
  readable at once; the rest wait in fair queues and are started in the following turns, one flow after the other. That
  bounds the length of a turn, which is the latency that everybody else sees.

Overload is therefore: more requests at once than seats, whether commits are slow or the processor is busy. Levels are
isolated (each keeps its nominal seats less what it lends), idle seats that are lendable may be borrowed by any level at
once, flows within a level share it fairly (shuffle sharding onto queues, least served first), and a flow whose queues
are full gets 429 with `Retry-After: 1`.

When nothing waits, all of it is one dictionary look-up and a few additions a request, and one callback a turn.
"""
