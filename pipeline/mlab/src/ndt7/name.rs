//! The rule [`MEMBER_NAME`](super::MEMBER_NAME).

use groma_load::base_name;

/// `ndt7-(upload|download)-<YYYYMMDDTHHMMSS.fZ>.<UUID>.json[.gz]`.
pub(crate) fn is_wanted(member: &str) -> bool {
    let name = base_name(member);
    let direction = ["ndt7-upload-", "ndt7-download-"];
    direction
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .is_some_and(is_time_and_uuid)
}

fn is_time_and_uuid(rest: &str) -> bool {
    let rest = rest.strip_suffix(".gz").unwrap_or(rest);
    let Some((time, uuid)) = rest
        .strip_suffix(".json")
        .and_then(|stem| stem.split_once("Z."))
    else {
        return false;
    };
    !uuid.is_empty() && is_time(time)
}

fn is_time(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (second, fraction) = text.split_once('.').unwrap_or((text, "0"));
    second
        .split_once('T')
        .is_some_and(|(day, time)| day.len() == 8 && digits(day) && time.len() == 6 && digits(time))
        && digits(fraction)
}

#[cfg(test)]
mod tests {
    use super::is_wanted;

    #[test]
    fn knows_test_files_by_name() {
        let uuid = "ndt-knwp4_1583603744_00000000000058E8";
        for name in [
            format!("2020/03/18/ndt7-download-20200318T000643.982584404Z.{uuid}.json.gz"),
            format!("ndt7-upload-20200318T000643.982584404Z.{uuid}.json"),
            format!("../../ndt7-upload-20200318T000643Z.{uuid}.json"),
        ] {
            assert!(is_wanted(&name), "{name}");
        }
        for name in [
            format!("ndt7-upload-20200318T000643.982584404Z.{uuid}.json.tmp"),
            format!("ndt7-sideways-20200318T000643.982584404Z.{uuid}.json"),
            format!("ndt5-upload-20200318T000643.982584404Z.{uuid}.json"),
            format!("ndt7-upload-2020T000643.982584404Z.{uuid}.json"),
            "ndt7-upload-20200318T000643.982584404Z..json".to_owned(),
            "ndt7-upload-.json".to_owned(),
            String::new(),
        ] {
            assert!(!is_wanted(&name), "{name}");
        }
    }
}
