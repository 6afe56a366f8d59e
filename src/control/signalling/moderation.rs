//! Methods that are known but refused: moderation, filters, reconnection of media, speech to text
//! (`openvidu-signalling` sections 5.4, 8.12 to 8.15).

use crate::control::session::command::UnservedMethod;

pub(super) fn unserved(method: &str) -> Option<UnservedMethod> {
    Some(match method {
        "forceDisconnect" => UnservedMethod::ForceDisconnect,
        "forceUnpublish" => UnservedMethod::ForceUnpublish,
        "reconnectStream" => UnservedMethod::ReconnectStream,
        "applyFilter" => UnservedMethod::ApplyFilter,
        "removeFilter" => UnservedMethod::RemoveFilter,
        "execFilterMethod" => UnservedMethod::ExecFilterMethod,
        "addFilterEventListener" => UnservedMethod::AddFilterEventListener,
        "removeFilterEventListener" => UnservedMethod::RemoveFilterEventListener,
        "subscribeToSpeechToText" | "unsubscribeFromSpeechToText" => UnservedMethod::SpeechToText,
        _ => return None,
    })
}
