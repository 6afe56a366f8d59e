//! `kurentoOptions` of a connection (section 4.8).

use serde_json::{Map, Value, json};

use super::body::{Invalid, Members, truncated, truncated_f64};
use crate::control::session::KurentoOptions;
use crate::units::Bitrate;

/// Reads the options and the JSON that shows them, in upstream's member order.
///
/// # Errors
/// A bandwidth that is no whole number from 0 to 2³¹-1, or `allowedFilters` that are not all strings.
pub(super) fn parse(options: Members<'_>) -> Result<(KurentoOptions, Value), Invalid> {
    let mut shown = Map::new();
    let mut bandwidth = |name: &str| -> Result<Option<Bitrate>, Invalid> {
        let kbps = options
            .value(name)
            .map(|value| {
                kbps(value).ok_or_else(|| {
                    Invalid::new(format!(
                        "Parameter '{name}' of 'kurentoOptions' is not a number of kbps"
                    ))
                })
            })
            .transpose()?;
        if let Some(kbps) = kbps {
            shown.insert(name.to_owned(), json!(kbps));
        }
        Ok(kbps.map(|kbps| Bitrate::from_kbps(kbps.into())))
    };
    let mut parsed = KurentoOptions {
        video_max_recv: bandwidth("videoMaxRecvBandwidth")?,
        video_min_recv: bandwidth("videoMinRecvBandwidth")?,
        video_max_send: bandwidth("videoMaxSendBandwidth")?,
        video_min_send: bandwidth("videoMinSendBandwidth")?,
        allowed_filters: Vec::new(),
    };
    for filter in options.array("allowedFilters")?.unwrap_or_default() {
        let Some(filter) = filter.as_str() else {
            return Err(Invalid::new(
                "Parameter 'allowedFilters' of 'kurentoOptions' is not an array of strings",
            ));
        };
        parsed.allowed_filters.push(filter.to_owned());
    }
    if !parsed.allowed_filters.is_empty() {
        shown.insert("allowedFilters".to_owned(), json!(parsed.allowed_filters));
    }
    Ok((parsed, Value::Object(shown)))
}

/// Numbers are truncated and numeric strings count as numbers, as upstream has it.
fn kbps(value: &Value) -> Option<u32> {
    let number = match value {
        Value::String(text) => text
            .parse()
            .ok()
            .or_else(|| text.parse().ok().and_then(truncated_f64)),
        Value::Number(_) => truncated(value),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }?;
    u32::try_from(number)
        .ok()
        .filter(|kbps| *kbps <= i32::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_json(value: Value) -> Result<(KurentoOptions, Value), Invalid> {
        parse(Members::new(value.as_object().unwrap()))
    }

    #[test]
    fn given_members_are_shown_in_upstream_order() {
        let (options, shown) = parse_json(json!({
            "allowedFilters": ["GStreamerFilter"],
            "videoMinSendBandwidth": "300.7",
            "videoMaxSendBandwidth": 700.9,
            "videoMinRecvBandwidth": null,
            "videoMaxRecvBandwidth": "1000",
        }))
        .unwrap();
        assert_eq!(
            shown.to_string(),
            r#"{"videoMaxRecvBandwidth":1000,"videoMaxSendBandwidth":700,"videoMinSendBandwidth":300,"allowedFilters":["GStreamerFilter"]}"#
        );
        assert_eq!(options.video_max_recv, Some(Bitrate::from_kbps(1000)));
        assert_eq!(options.video_min_recv, None);
        assert_eq!(parse_json(json!({})).unwrap().1, json!({}));
        assert_eq!(
            parse_json(json!({"allowedFilters": []})).unwrap().1,
            json!({})
        );
    }

    #[test]
    fn what_is_no_bandwidth_or_filter_list_is_refused() {
        for bad in [
            json!({"videoMaxRecvBandwidth": true}),
            json!({"videoMaxRecvBandwidth": "fast"}),
            json!({"videoMaxRecvBandwidth": -1}),
            json!({"videoMaxRecvBandwidth": 1e20}),
            json!({"videoMaxRecvBandwidth": 2_147_483_648_u32}),
            json!({"videoMinSendBandwidth": "NaN"}),
            json!({"videoMinSendBandwidth": {}}),
            json!({"allowedFilters": "GStreamerFilter"}),
            json!({"allowedFilters": [1]}),
        ] {
            assert!(parse_json(bad.clone()).is_err(), "{bad}");
        }
    }
}
