"""What prices have to do with a choice: at which it is another one, and what a point of quality costs."""
