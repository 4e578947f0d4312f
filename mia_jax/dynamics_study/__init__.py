"""A study of dynamics: runs along factors, every record followed through training, and what it shows."""
