"""One job on several GPUs: what each rank holds, what the ranks exchange, and how long that takes."""
