"""Every decision about money, waiting, life and death: facts in, a plan with a reason out."""
