//! Asking the kernel, every 10 ms or as often as the machine can, by the cheapest means that misses nothing.

mod choice;
mod findings;
mod kernel;
mod outbox;
mod pace;
mod sampler;

pub(crate) use sampler::{Sampler, SamplerSetup};
