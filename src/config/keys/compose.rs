//! What else OpenVidu's template and compose files read (`openvidu-deployment` section 3.3).

use crate::config::key::{About, AnyKey, Effect, Empty, Key};
use crate::config::keys::{BUILT_IN, OF_CALL};
use crate::config::validate;

/// The keys of this file, in the order of the sample file.
pub(crate) static KEYS: &[&dyn AnyKey] = &[
    &COTURN_MIN_PORT,
    &COTURN_MAX_PORT,
    &OV_CE_DEBUG_LEVEL,
    &KMS_IMAGE,
    &KMS_DOCKER_ENV_GST_DEBUG,
    &KMS_DOCKER_ENV_KURENTO_LOG_FILE_SIZE,
    &JAVA_OPTIONS,
    &CALL_PRIVATE_ACCESS,
    &CALL_USER,
    &CALL_SECRET,
    &CALL_ADMIN_SECRET,
    &CALL_RECORDING,
];

pub(crate) static COTURN_MIN_PORT: Key<u16> = Key {
    parse: validate::port,
    about: About {
        name: "COTURN_MIN_PORT",
        default: Some("57001"),
        unit: "port",
        doc: "The first port of relayed transport addresses.",
        empty: Empty::Default,
        accepts: &["1", "65535"],
        refuses: &["0", "65536", "-1", "x", "1.5", "80 "],
        ..About::RESTART
    },
};

pub(crate) static COTURN_MAX_PORT: Key<u16> = Key {
    parse: validate::port,
    about: About {
        name: "COTURN_MAX_PORT",
        default: Some("65535"),
        unit: "port",
        doc: "The last port of relayed transport addresses.",
        empty: Empty::Default,
        accepts: &["1", "65535"],
        refuses: &["0", "65536", "-1", "x", "1.5", "80 "],
        ..About::RESTART
    },
};

pub(crate) static OV_CE_DEBUG_LEVEL: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "OV_CE_DEBUG_LEVEL",
        doc: "DEBUG: as HANOK_LOG=debug. Nothing else has an effect.",
        empty: Empty::Value,
        accepts: &["", "DEBUG", "INFO"],
        refuses: &[],
        ..About::LIVE
    },
};

pub(crate) static KMS_IMAGE: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "KMS_IMAGE",
        doc: "Kurento's container image.",
        empty: Empty::Value,
        effect: Effect::Never(BUILT_IN),
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static KMS_DOCKER_ENV_GST_DEBUG: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "KMS_DOCKER_ENV_GST_DEBUG",
        doc: "Kurento's log levels.",
        empty: Empty::Value,
        effect: Effect::Never(BUILT_IN),
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static KMS_DOCKER_ENV_KURENTO_LOG_FILE_SIZE: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "KMS_DOCKER_ENV_KURENTO_LOG_FILE_SIZE",
        default: Some("100"),
        doc: "The size of Kurento's log.",
        empty: Empty::Value,
        effect: Effect::Never(BUILT_IN),
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static JAVA_OPTIONS: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "JAVA_OPTIONS",
        doc: "Options of the Java virtual machine.",
        empty: Empty::Value,
        effect: Effect::Never("there is no Java virtual machine"),
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static CALL_PRIVATE_ACCESS: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "CALL_PRIVATE_ACCESS",
        doc: "For the OpenVidu Call application.",
        empty: Empty::Value,
        effect: Effect::Never(OF_CALL),
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static CALL_USER: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "CALL_USER",
        doc: "For the OpenVidu Call application.",
        empty: Empty::Value,
        effect: Effect::Never(OF_CALL),
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static CALL_SECRET: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "CALL_SECRET",
        doc: "For the OpenVidu Call application.",
        empty: Empty::Value,
        effect: Effect::Never(OF_CALL),
        secret: true,
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static CALL_ADMIN_SECRET: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "CALL_ADMIN_SECRET",
        doc: "For the OpenVidu Call application.",
        empty: Empty::Value,
        effect: Effect::Never(OF_CALL),
        secret: true,
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static CALL_RECORDING: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "CALL_RECORDING",
        doc: "For the OpenVidu Call application.",
        empty: Empty::Value,
        effect: Effect::Never(OF_CALL),
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};
