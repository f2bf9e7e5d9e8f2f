"""What is wrong, and what to do about it: facts in, findings out; gathering them is the command's."""
