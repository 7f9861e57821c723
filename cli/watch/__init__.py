"""`murmur watch`: the page of `murmur report` on this machine, which follows a run as its rounds end."""
