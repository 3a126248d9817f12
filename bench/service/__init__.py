"""CPU, memory and latency of the whole service, compared with other task-queue stacks."""
