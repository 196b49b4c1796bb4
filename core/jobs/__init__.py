"""From what is missing to what is stored: plan, tasks, workers, crews, queues, clusters."""
