"""What a training costs: at offers, on machines that are taken away, and as one of many in a search."""
