"""The commands, a module for each subject: what was typed in, what is printed out; what they do is next door."""
