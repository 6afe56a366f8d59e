# shellcheck shell=bash
# Sourced by the other scripts: where things are, what they need, and how a step is run and counted.
# Everything installs itself only when it is missing, so a second call costs nothing.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

# The oldest Node that the page's builder accepts, and what is fetched where the system has less.
NODE_MINIMUM=20.19.0
NODE_OWN="${XDG_CACHE_HOME:-$HOME/.cache}/hanok/node"

say() { printf '\033[1m%s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
# have COMMAND or have /a/file. Administrators' commands are not in everybody's PATH.
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || { [ "${1#/}" != "$1" ] && [ -e "$1" ]; }; }
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else die "this needs root: $*"
  fi
}

# need COMMAND PACKAGE …: installs, in one go, the packages of every command (or file) that is missing. Their services
# are not started: tests start what they need, where they need it.
need() {
  local missing=()
  while [ $# -gt 0 ]; do
    have "$1" || missing+=("$2")
    shift 2
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  have apt-get || die "please install: ${missing[*]}"
  say "installing ${missing[*]}"
  (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap 'as_root rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
      as_root chmod 755 "$policy"
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  )
}

# A C compiler for the crypto library; cmake is its other way to build where the first does not fit.
setup_build() {
  need cc build-essential cmake cmake git git curl curl /etc/ssl/certs/ca-certificates.crt ca-certificates
  setup_rust
}

# rust-toolchain.toml names the version; rustup fetches it by itself at the first call of cargo.
setup_rust() {
  local wanted
  wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
  if have cargo && at_least "$wanted" "$(cargo --version 2>/dev/null | cut -d' ' -f2)"; then return 0; fi
  if ! have rustup; then
    if apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
      need rustup rustup
    else
      install_rustup
    fi
  fi
  rustup toolchain install "$wanted" --profile minimal --component clippy --component rustfmt
}

# Into the caller's home, as rustup's own instructions do, with the check sum beside it.
install_rustup() {
  local folder from
  from="https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu"
  say "installing rustup"
  folder=$(mktemp -d)
  curl --proto '=https' --tlsv1.2 -sSf -o "$folder/rustup-init" "$from/rustup-init" -o "$folder/sum" "$from/rustup-init.sha256"
  printf '%s  %s\n' "$(cut -d' ' -f1 "$folder/sum")" "$folder/rustup-init" | sha256sum --check --quiet
  chmod +x "$folder/rustup-init"
  "$folder/rustup-init" -y --no-modify-path --profile minimal --default-toolchain none
  rm -r "$folder"
}

# Debian's Node is used where it is new enough; else Node and npm come as plain npm packages into a
# folder of our own, which touches nothing of the system's.
setup_node() {
  local own="$NODE_OWN/node_modules" arch
  [ ! -x "$own/.bin/npm" ] || export PATH="$own/.bin:$PATH"
  need node nodejs npm npm
  if at_least "$NODE_MINIMUM" "$(node --version | tr -d v)"; then return 0; fi
  case "$(uname -m)" in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) die "please install Node $NODE_MINIMUM or newer" ;;
  esac
  say "installing Node 22 into $NODE_OWN"
  mkdir -p "$NODE_OWN"
  npm install --silent --no-fund --no-audit --ignore-scripts --prefix "$NODE_OWN" "node-linux-$arch@22" npm@11
  export PATH="$own/.bin:$PATH"
}

# What scripts/package uses beside the compiler, and what tests of the packages do with them.
setup_package() {
  need dpkg-shlibdeps dpkg-dev strip binutils shellcheck shellcheck
}

# The other C library, for a binary that needs none, with the compiler's target for it.
setup_static() {
  local target
  target="$(uname -m)-unknown-linux-musl"
  need musl-gcc musl-tools
  if ! have rustup || rustup target list --installed | grep -qx "$target"; then return 0; fi
  rustup --quiet target add "$target"
}

# A fresh system to install into, and Debian's own checker of packages.
setup_clean() {
  need debootstrap debootstrap lintian lintian curl curl
}

# Browsers and tools that only tests use.
setup_tests() {
  setup_build
  setup_node
  need chromium chromium firefox-esr firefox-esr turnutils_uclient coturn certutil libnss3-tools promtool prometheus \
    ip iproute2 nft nftables sysctl procps nginx nginx openssl openssl curl curl pebble pebble \
    systemd-analyze systemd strace strace faketime faketime
  setup_package
  setup_pebble
}

# Debian's Pebble is a certificate authority for tests; the newest one knows renewal information and profiles, too. It
# is built where a Go that can is here, and used instead.
PEBBLE_VERSION=v2.10.1
setup_pebble() {
  local own="${XDG_CACHE_HOME:-$HOME/.cache}/hanok/pebble-$PEBBLE_VERSION"
  if [ ! -x "$own/pebble" ]; then
    have go && at_least 1.24 "$(go env GOVERSION | tr -d go)" || return 0
    say "building Pebble $PEBBLE_VERSION"
    GOBIN="$own" go install "github.com/letsencrypt/pebble/v2/cmd/pebble@$PEBBLE_VERSION" || return 0
  fi
  export HANOK_TEST_PEBBLE="$own/pebble"
}

# npm_ci FOLDER: installs exactly what the folder's lock file names, unless that is there already.
npm_ci() {
  local stamp="$1/node_modules/.package-lock.json"
  if [ -e "$stamp" ] && [ "$stamp" -nt "$1/package-lock.json" ]; then return 0; fi
  npm ci --prefix "$1" --silent --no-fund --no-audit --ignore-scripts
  touch "$stamp"
}

# step NAME SECONDS COMMAND …: runs one step, bounded in time, and counts how it ended.
PASSED=0 FAILED=0 FAILURES=()
step() {
  local name=$1 limit=$2 start=$SECONDS status=0
  shift 2
  say "== $name"
  if [ "$(type -t "$1")" = function ]; then set -- bash -euo pipefail -c "$1"; fi
  timeout --kill-after=15 "$limit" "$@" || status=$?
  if [ "$status" = 0 ]; then
    PASSED=$((PASSED + 1))
    printf -- '-- %s: %ss\n' "$name" $((SECONDS - start))
  else
    FAILED=$((FAILED + 1))
    FAILURES+=("$name")
    [ "$status" != 124 ] || printf -- '-- %s: stopped after its %ss\n' "$name" "$limit"
    printf -- '-- %s: FAILED (%s) after %ss\n' "$name" "$status" $((SECONDS - start))
  fi
}

# Closes a run of steps: what failed, how long it took, and the line that CI reads.
finish() {
  [ "$FAILED" = 0 ] || printf 'failed: %s\n' "${FAILURES[@]}"
  printf 'in %s min %s s\n' $((SECONDS / 60)) $((SECONDS % 60))
  printf '%s passed, %s failed\n' "$PASSED" "$FAILED"
  [ "$FAILED" = 0 ]
}

# What scripts/check does and scripts/test begins with.
checks() {
  step "format" 60 cargo fmt --check
  step "lints" 1500 cargo clippy --quiet --all-targets -- -D warnings
  step "unit tests" 1500 cargo test --quiet --lib
  [ ! -e tests/layering.rs ] || step "layering" 900 cargo test --quiet --test layering
  step "docs" 900 env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --lib
  step "lock files" 20 no_download_addresses
  if have cargo-deny && [ -e deny.toml ]; then
    step "dependencies" 120 cargo deny --log-level error check bans licenses sources
  fi
}

# Lock files say what is needed, never where from: that is the registry client's own setting.
no_download_addresses() {
  local found
  found=$(git ls-files -z '*package-lock.json' | xargs -0 -r grep -nE '"resolved": *"(https?|git)' || true)
  found+=$(git ls-files -z '*Cargo.lock' | xargs -0 -r grep -nE '^source = ' | grep -v '"registry+' || true)
  [ -z "$found" ] || { printf '%s\n' "$found"; return 1; }
}
export -f no_download_addresses
