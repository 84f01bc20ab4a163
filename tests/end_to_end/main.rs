//! The `groma` program as its users see it, from outside: one module per thing
//! that must hold.

mod addresses;
mod admin;
mod browser;
mod client;
mod commands;
mod consent;
mod demo;
mod drain;
mod groma;
mod guides;
mod hosted;
mod kill;
mod lab;
mod msak;
mod parts;
mod publish;
mod python_sdk;
mod readers;
mod signals;
mod stages;
mod stored;
mod streams;
mod unadmitted;
