"""One module per study: a specification in, an artefact out."""
