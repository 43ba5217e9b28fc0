"""A challenger's daemon: follows the chain, re-runs every claim on the models it has, and challenges what is wrong."""
