//! `defaultRecordingProperties` of a session (sections 4.2 and 9.1).

use serde_json::{Map, Value, json};

use super::body::{Invalid, Members};

const MIN_SHM_SIZE: i64 = 134_217_728;
const DEFAULT_SHM_SIZE: i64 = 536_870_912;

/// Reads the object and returns it in the form in which sessions show it: defaults filled in, members in upstream's
/// order, members that do not apply to the mode dropped after their types were checked.
///
/// # Errors
/// A wrong type or value. Upstream answers 400 to all of them here, also where `recordings/start` says 422.
pub(super) fn parse(given: Members<'_>) -> Result<Value, Invalid> {
    let name = given.string("name")?.unwrap_or_default();
    let output_mode = given.string("outputMode")?.unwrap_or("COMPOSED");
    let has_audio = given.boolean("hasAudio")?.unwrap_or(true);
    let has_video = given.boolean("hasVideo")?.unwrap_or(true);
    let layout = given.string("recordingLayout")?.unwrap_or("BEST_FIT");
    let custom_layout = given.string("customLayout")?.unwrap_or_default();
    let resolution = given.string("resolution")?.unwrap_or("1280x720");
    let frame_rate = given.integer("frameRate")?.unwrap_or(25);
    let shm_size = given.integer("shmSize")?.unwrap_or(DEFAULT_SHM_SIZE);
    let ignore_failed_streams = given.boolean("ignoreFailedStreams")?.unwrap_or(false);
    let media_node = media_node(given)?;

    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_~-".contains(&byte))
    {
        return Err(Invalid::new(
            "Parameter 'name' of a recording may only hold letters, digits, '_', '~' and '-'",
        ));
    }
    let composed = match output_mode {
        "COMPOSED" | "COMPOSED_QUICK_START" => true,
        "INDIVIDUAL" => false,
        _ => {
            return Err(Invalid::new(
                "Parameter 'outputMode' must be COMPOSED, COMPOSED_QUICK_START or INDIVIDUAL",
            ));
        }
    };
    if !has_audio && !has_video {
        return Err(Invalid::new(
            "'hasAudio' and 'hasVideo' of a recording cannot both be false",
        ));
    }
    if composed {
        check_composed(layout, resolution, frame_rate, shm_size)?;
    }

    let mut shown = Map::new();
    let mut show = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    show("name", json!(name));
    show("hasAudio", json!(has_audio));
    show("hasVideo", json!(has_video));
    show("outputMode", json!(output_mode));
    if composed && has_video {
        show("recordingLayout", json!(layout));
        if layout == "CUSTOM" {
            show("customLayout", json!(custom_layout));
        }
        show("resolution", json!(resolution));
        show("frameRate", json!(frame_rate));
        show("shmSize", json!(shm_size));
    }
    if !composed {
        show("ignoreFailedStreams", json!(ignore_failed_streams));
    }
    if let (true, Some(id)) = (composed, media_node) {
        show("mediaNode", json!(id));
    }
    Ok(Value::Object(shown))
}

/// What a session shows when its request says nothing about recordings.
pub(super) fn defaults() -> Value {
    parse(Members::new(&Map::new())).expect("every default passes its own check")
}

fn check_composed(
    layout: &str,
    resolution: &str,
    frame_rate: i64,
    shm_size: i64,
) -> Result<(), Invalid> {
    if !matches!(
        layout,
        "BEST_FIT"
            | "PICTURE_IN_PICTURE"
            | "VERTICAL_PRESENTATION"
            | "HORIZONTAL_PRESENTATION"
            | "CUSTOM"
    ) {
        return Err(Invalid::new(
            "Parameter 'recordingLayout' must be BEST_FIT, PICTURE_IN_PICTURE, VERTICAL_PRESENTATION, \
             HORIZONTAL_PRESENTATION or CUSTOM",
        ));
    }
    if !is_resolution(resolution) {
        return Err(Invalid::new(
            "Parameter 'resolution' must be WIDTHxHEIGHT, each from 100 to 1999",
        ));
    }
    if !(1..=120).contains(&frame_rate) {
        return Err(Invalid::new(
            "Parameter 'frameRate' must lie between 1 and 120",
        ));
    }
    if shm_size < MIN_SHM_SIZE {
        return Err(Invalid::new(
            "Parameter 'shmSize' must be at least 134217728",
        ));
    }
    Ok(())
}

fn is_resolution(text: &str) -> bool {
    let side = |text: &str| {
        (3..=4).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && !text.starts_with('0')
            && text
                .parse::<u16>()
                .is_ok_and(|side| (100..=1999).contains(&side))
    };
    text.split_once('x')
        .is_some_and(|(width, height)| side(width) && side(height))
}

/// An object with an `id` or the id itself.
fn media_node(given: Members<'_>) -> Result<Option<&str>, Invalid> {
    match given.value("mediaNode") {
        Some(Value::Object(node)) => Members::new(node)
            .string("id")?
            .map(Some)
            .ok_or_else(|| Invalid::new("Parameter 'mediaNode' has no 'id'")),
        Some(_) => given.string("mediaNode"),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_json(value: Value) -> Result<Value, Invalid> {
        parse(Members::new(value.as_object().unwrap()))
    }

    #[test]
    fn the_defaults_are_upstreams_in_upstreams_order() {
        assert_eq!(
            defaults().to_string(),
            r#"{"name":"","hasAudio":true,"hasVideo":true,"outputMode":"COMPOSED","recordingLayout":"BEST_FIT","resolution":"1280x720","frameRate":25,"shmSize":536870912}"#
        );
    }

    #[test]
    fn members_follow_the_mode() {
        assert_eq!(
            parse_json(json!({"outputMode": "INDIVIDUAL", "resolution": "nonsense", "mediaNode": {"id": "m"}}))
                .unwrap()
                .to_string(),
            r#"{"name":"","hasAudio":true,"hasVideo":true,"outputMode":"INDIVIDUAL","ignoreFailedStreams":false}"#
        );
        assert_eq!(
            parse_json(
                json!({"recordingLayout": "CUSTOM", "frameRate": 30.9, "mediaNode": {"id": "m"}})
            )
            .unwrap()
            .to_string(),
            r#"{"name":"","hasAudio":true,"hasVideo":true,"outputMode":"COMPOSED","recordingLayout":"CUSTOM","customLayout":"","resolution":"1280x720","frameRate":30,"shmSize":536870912,"mediaNode":"m"}"#
        );
        assert_eq!(
            parse_json(json!({"hasVideo": false})).unwrap().to_string(),
            r#"{"name":"","hasAudio":true,"hasVideo":false,"outputMode":"COMPOSED"}"#
        );
    }

    #[test]
    fn wrong_types_and_values_are_refused() {
        for bad in [
            json!({"name": 999}),
            json!({"name": "notalphanumeric@"}),
            json!({"outputMode": "NOT_EXISTS"}),
            json!({"recordingLayout": "NOT_EXISTS"}),
            json!({"hasVideo": false, "recordingLayout": "NOT_EXISTS"}),
            json!({"resolution": 999}),
            json!({"outputMode": "INDIVIDUAL", "resolution": 999}),
            json!({"resolution": "1920x2000"}),
            json!({"resolution": "99x1080"}),
            json!({"resolution": "0999x1080"}),
            json!({"resolution": "+100x1080"}),
            json!({"frameRate": true}),
            json!({"frameRate": 0}),
            json!({"frameRate": 121}),
            json!({"shmSize": 134_217_727}),
            json!({"hasAudio": false, "hasVideo": false}),
            json!({"mediaNode": 1}),
            json!({"mediaNode": {}}),
        ] {
            assert!(parse_json(bad.clone()).is_err(), "{bad}");
        }
    }
}
