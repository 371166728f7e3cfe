"""What photos are asked: label files, and answers read by them."""
