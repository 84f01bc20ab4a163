//! The flow events that the sidecars of a node tell each other.
