"""The study of recurrent beside feed-forward networks: what is kept of its runs, its claims, and its page."""
