"""`murmur plot`: figures for papers, from run folders."""
