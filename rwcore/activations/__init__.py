"""One pass over a text: in which sign quadrant of gate and input each neuron is, how often, how strongly."""
