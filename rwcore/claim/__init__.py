"""What a paper says, and whether a number agrees with it. Pure comparison; computes no statistic."""
