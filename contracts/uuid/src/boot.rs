//! The name of this boot of this machine.

use std::fs;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in whole seconds at which the kernel booted: now minus the first
/// field of `/proc/uptime` (proc(5)), rounded down as M-Lab's tool does.
pub fn boot_time_s() -> io::Result<i64> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime_s: f64 = uptime
        .split_ascii_whitespace()
        .next()
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no uptime in /proc/uptime"))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(io::Error::other)?;
    Ok((now.as_secs_f64() - uptime_s).floor() as i64)
}

/// The random id that the kernel gave this boot (`/proc/sys/kernel/random/boot_id`).
/// Unlike the boot time it does not move when the clock is stepped.
pub fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

/// The first part of a prefix: `POD_NAME` if it is set and not
/// empty, else the host name. `None` if neither gives a usable name.
pub fn machine_name() -> Option<String> {
    let pod = std::env::var("POD_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    let name = pod.or_else(|| {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(host.trim().to_owned())
    })?;
    // The name becomes part of file names, so nothing may pass that a file name cannot hold.
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let safe = safe.trim_start_matches('.').to_owned();
    (!safe.is_empty() && safe != "(none)").then_some(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_lies_in_the_past_and_is_stable() {
        let first = boot_time_s().unwrap();
        let second = boot_time_s().unwrap();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        assert!(first <= now);
        // Rounding down may fall on either side of a second.
        assert!((second - first).abs() <= 1);
    }

    #[test]
    fn boot_id_is_a_uuid() {
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
