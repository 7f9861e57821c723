"""Topics of short texts: a Flower app that trains another model than speech with DPFedAdam."""
