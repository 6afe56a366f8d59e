//! `.env` keys to a validated configuration.
