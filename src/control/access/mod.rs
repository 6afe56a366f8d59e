//! The secret, its comparison, and the limit on failed guesses.
