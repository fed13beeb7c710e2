"""Own data as people have it: generated cases, one line each, and what is right for every one."""
