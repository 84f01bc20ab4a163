//! The rules [`BBR_MAX_BANDWIDTH`](super::BBR_MAX_BANDWIDTH) and [`CONNECTION_INFO`](super::CONNECTION_INFO).

use serde_json::{Map, Value};

use super::DIRECTIONS;

/// Gives `MaxBandwidth` its later name, in a measurement as written.
pub(in crate::datatype) fn name_bandwidth(raw: &mut Value) {
    for measurement in measurements(raw, &["ServerMeasurements", "ClientMeasurements"]) {
        let Some(bbr) = measurement
            .get_mut("BBRInfo")
            .and_then(Value::as_object_mut)
        else {
            continue;
        };
        if !bbr.contains_key("BW")
            && let Some(bytes_per_second) = bbr.remove("MaxBandwidth")
        {
            bbr.insert("BW".to_owned(), bytes_per_second);
        }
    }
}

/// Takes the server's own copies of the connection out of a measurement already in its schema's shape.
pub(in crate::datatype) fn drop_server_connections(raw: &mut Value) {
    for measurement in measurements(raw, &["ServerMeasurements"]) {
        measurement.remove("ConnectionInfo");
    }
}

fn measurements<'a>(
    raw: &'a mut Value,
    lists: &'a [&str],
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    raw.as_object_mut()
        .into_iter()
        .flat_map(Map::iter_mut)
        .filter(|(key, _)| DIRECTIONS.contains(&key.as_str()))
        .filter_map(|(_, direction)| direction.as_object_mut())
        .flat_map(Map::iter_mut)
        .filter(|(key, _)| lists.contains(&key.as_str()))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
        .filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{drop_server_connections, name_bandwidth};

    #[test]
    fn bandwidth_gets_its_later_name_unless_it_has_it() {
        let mut raw = json!({"Upload": {
            "ServerMeasurements": [{"BBRInfo": {"MaxBandwidth": 45609}}, {"TCPInfo": {}}, null],
            "ClientMeasurements": [{"BBRInfo": {"MaxBandwidth": 7, "BW": 9}}],
        }});
        name_bandwidth(&mut raw);
        let upload = &raw["Upload"];
        assert_eq!(
            upload["ServerMeasurements"][0]["BBRInfo"],
            json!({"BW": 45609})
        );
        assert_eq!(upload["ClientMeasurements"][0]["BBRInfo"]["BW"], json!(9));
    }

    #[test]
    fn only_the_servers_connections_go() {
        let mut raw = json!({"Download": {
            "ServerMeasurements": [{"ConnectionInfo": {"UUID": "u"}, "AppInfo": {"NumBytes": 1}}],
            "ClientMeasurements": [{"ConnectionInfo": {"UUID": "u"}}],
        }});
        drop_server_connections(&mut raw);
        let download = &raw["Download"];
        assert_eq!(
            download["ServerMeasurements"],
            json!([{"AppInfo": {"NumBytes": 1}}])
        );
        assert_eq!(
            download["ClientMeasurements"],
            json!([{"ConnectionInfo": {"UUID": "u"}}])
        );
    }

    #[test]
    fn odd_shapes_are_left_alone() {
        for odd in [
            json!(null),
            json!([]),
            json!({"Upload": 7}),
            json!({"Upload": {"ServerMeasurements": "x"}}),
        ] {
            let mut raw = odd.clone();
            name_bandwidth(&mut raw);
            drop_server_connections(&mut raw);
            assert_eq!(raw, odd);
        }
    }
}
