"""Clusters: several destinations of one service, and what is known of each."""
