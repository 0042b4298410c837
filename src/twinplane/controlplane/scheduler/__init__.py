"""The scheduler: a pure core (`planner`, `ranking`, `plugins`, `preemption`) and a thin loop around it (`loop`)."""
