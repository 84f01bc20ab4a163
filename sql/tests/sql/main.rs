//! The program from outside: its views on lakes of known rows, and its endpoint under attack.

mod attack;
mod joined;
mod kept;
mod support;
mod views;
