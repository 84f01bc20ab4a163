//! The recorder's own description, built into the program.

use groma_manifest::Sidecar;

/// Returns `sidecar.toml`: what the recorder stores, for the policy that people see.
///
/// # Panics
///
/// Never: a test reads the file.
pub fn sidecar() -> Sidecar {
    Sidecar::parse(include_str!("../sidecar.toml")).expect("the built-in declaration is tested")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_declaration_names_what_is_published_and_how_long_addresses_are_kept() {
        let sidecar = super::sidecar();
        let names: Vec<String> = sidecar.datatypes.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["tcpinfo", "unadmitted"]);
        let hours = u64::from(sidecar.unadmitted.unwrap().hours);
        assert_eq!(hours * 3600, crate::unadmitted::KEEP_SECONDS);
    }
}
