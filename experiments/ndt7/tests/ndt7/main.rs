//! The ndt7 server and client over loopback: replies, rules of the channel, hostile peers, independent peers.

mod clients;
mod hostile;
mod lab;
mod operations;
mod replies;
mod rules;
mod sizes;
mod wire;
