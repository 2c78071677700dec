"""A config as it is given: values put into it, and what nothing reads refused, before anything is built."""
