"""The operator's decisions: pure functions of what is declared, offered, wanted so far and reported."""
