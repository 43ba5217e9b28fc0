"""The dispute: rules, moves, traces, the pure player, the loop around it, and those who lie."""
