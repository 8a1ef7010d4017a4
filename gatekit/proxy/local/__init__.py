"""Apps of this process as upstreams, in both colours."""
