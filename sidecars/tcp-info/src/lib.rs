//! Records every connection of a test: each change, the last word included.
