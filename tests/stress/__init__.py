"""Runs that are hurt on purpose: by hand with as many kills, files and faults as wanted, in short form in the suite."""
