"""What a call does when the other side fails: wait, try again, stop trying."""
