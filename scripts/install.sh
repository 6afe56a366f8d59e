#!/usr/bin/env bash
# Installs hanok, brings it up to date, or takes it away. Asks nothing and may be run again at any time.
#   curl -fsSL ADDRESS/install.sh | sudo bash
#   curl -fsSL ADDRESS/install.sh | sudo bash -s -- --domain meet.example.com --email me@example.com
#   sudo ./install.sh ./hanok_0.1.0-1_amd64.deb        (or the .tar.gz; SHA256SUMS beside it is honoured)
#   sudo ./install.sh --uninstall [--purge]
# What it does where: the package on Debian and its kin, else one static binary below /usr/local. An existing
# configuration is never touched. Nothing runs before the last line, so half a download does nothing.

# Where this release lies: a folder on the web with SHA256SUMS and the files that it names.
RELEASE=${HANOK_RELEASE_URL:-}

USAGE='usage: install.sh [FILE] [--domain NAME] [--email ADDRESS] [--tarball] [--no-start]
       install.sh --uninstall [--purge]
  FILE             a package or an archive of hanok, instead of the one in the release
  --domain NAME    the domain name or public address of this machine (or DOMAIN_OR_PUBLIC_IP in the environment)
  --email ADDRESS  have certificates from Let'"'"'s Encrypt, whose letters go there (or LETSENCRYPT_EMAIL)
  --tarball        the static binary, where the package would do, too
  --no-start       do not start the service
  --uninstall      take hanok away; configuration and state stay
  --purge          and the state in /var/lib/hanok, but not recordings and not /etc/hanok/.env'

CONFIGURATION=/etc/hanok/.env
OPENVIDU=/opt/openvidu
STATE=/var/lib/hanok
LOCAL=/usr/local
# What the archive has put below /usr/local, one file a line.
INSTALLED=$LOCAL/share/hanok/installed-files
UNITS=(hanok.socket hanok-turn-udp.socket hanok.service)

main() {
  set -euo pipefail
  # What is found where may change on the way.
  set +h
  umask 022
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive
  local file='' domain=${DOMAIN_OR_PUBLIC_IP:-} email=${LETSENCRYPT_EMAIL:-}
  local tarball=no start=yes uninstall=no purge=no
  while [ $# -gt 0 ]; do
    case "$1" in
      --domain) domain=${2-}; shift ;;
      --email) email=${2-}; shift ;;
      --tarball) tarball=yes ;;
      --no-start) start=no ;;
      --uninstall) uninstall=yes ;;
      --purge) purge=yes ;;
      -h | --help) printf '%s\n' "$USAGE"; return 0 ;;
      -*) usage "there is no option $1" ;;
      *) [ -z "$file" ] || usage "one file, not two"; file=$1 ;;
    esac
    [ $# -gt 0 ] || usage "the last option lacks its value"
    shift
  done
  [ "$purge" = no ] || [ "$uninstall" = yes ] || usage "--purge goes with --uninstall"
  [[ $domain =~ ^[A-Za-z0-9.:-]{0,253}$ ]] || usage "--domain is a domain name or an address: $domain"
  [[ -z $email || $email =~ ^[^[:space:]@]+@[^[:space:]@]+$ ]] || usage "--email is an address like me@example.com"
  [ "$(id -u)" = 0 ] || die "this needs root: run it with sudo"
  [ "$(uname -s)" = Linux ] || die "hanok runs on Linux; this is $(uname -s)"

  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # apt reads packages as a user of its own.
  chmod 755 "$work"
  if [ "$uninstall" = yes ]; then
    take_away "$purge"
  else
    bring "$file" "$domain" "$email" "$tarball" "$start"
  fi
}

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
usage() { printf 'error: %s\n\n%s\n' "$1" "$USAGE" >&2; exit 64; }
have() { command -v "$1" >/dev/null 2>&1; }
has_systemd() { [ -d /run/systemd/system ]; }
package_status() { dpkg-query --show --showformat '${db:Status-Status}' hanok 2>/dev/null || true; }
# As the service sees it: without the caller's environment, whose variables would count as configuration.
hanok() { env -i PATH="$PATH" CREDENTIALS_DIRECTORY=/etc/credstore hanok "$@"; }
is_active() { has_systemd && systemctl --quiet is-active hanok.service; }

bring() {
  local file=$1 domain=$2 email=$3 tarball=$4 start=$5 kind is_new=yes created=no
  if [ -e "$INSTALLED" ] || [ "$(package_status)" = installed ]; then is_new=no; fi
  kind=$(kind_for_this_system "$file" "$tarball")
  if [ -n "$file" ]; then
    [ -f "$file" ] || die "there is no file $file"
    [ "$kind" != none ] || die "$file is neither a package (.deb) nor an archive (.tar.gz) of hanok"
    cp "$file" "$work/"
    check_beside "$file"
    file=$work/${file##*/}
  else
    file=$(download "$kind")
  fi
  if [ "$kind" = deb ] && ! fits "$file"; then
    [ -z "${1:-}" ] || die "this system cannot take the package; the archive (.tar.gz) runs everywhere"
    say "this system is older than the package needs: the static binary it is"
    kind=tarball
    file=$(download tarball)
  fi
  if [ "$kind" = deb ]; then install_package "$file"; else install_archive "$file"; fi
  say "installed: $(hanok version)"

  if [ ! -e "$CONFIGURATION" ] && [ ! -e "$OPENVIDU/.env" ]; then
    configure "$domain" "$email"
    created=yes
  elif [ -n "$domain$email" ]; then
    say "there is a configuration already; it is left as it is"
  fi
  if [ "$start" = yes ] && { [ "$is_new" = yes ] || [ "$created" = yes ]; }; then start; fi
  firewall
  next_steps
}

# The word that stands for how hanok comes to this system: deb, tarball, or none of both.
kind_for_this_system() {
  case "$1" in
    *.deb)
      if ! have dpkg || ! have apt-get; then die "packages are for Debian and its kin; take the archive (.tar.gz)"; fi
      echo deb
      ;;
    *.tar.gz | *.tgz) echo tarball ;;
    ?*) echo none ;;
    '')
      local family
      # shellcheck disable=SC1091 # It is there or it is not.
      family=$(. /etc/os-release 2>/dev/null && echo " ${ID:-} ${ID_LIKE:-} ") || family=
      if [ "$2" = no ] && [[ $family =~ \ (debian|ubuntu)\  ]] && have dpkg && have apt-get; then echo deb; else echo tarball; fi
      ;;
  esac
}

# fetch NAME FILE: from the folder of the release.
fetch() {
  local from=$RELEASE/$1
  case "$RELEASE" in
    file://*) cp "${from#file://}" "$2" ;;
    https://* | http://127.0.0.1:* | http://localhost:* | http://\[::1\]:*)
      local scheme=${RELEASE%%:*}
      if have curl; then
        curl --proto "=$scheme" --proto-redir "=$scheme" -fsSL --retry 3 -o "$2" "$from"
      elif have wget; then
        wget --quiet --tries=3 --max-redirect="$([ "$scheme" = https ] && echo 5 || echo 0)" -O "$2" "$from"
      else
        die "curl or wget is needed to download: install one, or give this script a file"
      fi
      ;;
    *) die "the release is fetched by https:// only, not from $RELEASE" ;;
  esac || die "$from cannot be fetched"
}

# download KIND: prints where the file lies, checked against SHA256SUMS.
download() {
  local pattern name
  [ -n "$RELEASE" ] || die "this copy of the script belongs to no release: give it a file, or set HANOK_RELEASE_URL"
  if [ "$1" = deb ]; then
    pattern="^hanok_[A-Za-z0-9.+~-]+_$(dpkg --print-architecture)\.deb$"
  else
    pattern="^hanok-[A-Za-z0-9.+~-]+-$(uname -m)-linux\.tar\.gz$"
  fi
  [ -s "$work/SHA256SUMS" ] || fetch SHA256SUMS "$work/SHA256SUMS"
  name=$(awk '{ print $2 }' "$work/SHA256SUMS" | grep -E "$pattern" || true)
  [ -n "$name" ] || die "this release has nothing for $(uname -m)"
  [ "$(printf '%s\n' "$name" | wc -l)" = 1 ] || die "this release has more than one file for $(uname -m)"
  fetch "$name" "$work/$name"
  check "$work/$name" "$work/SHA256SUMS"
  printf '%s\n' "$work/$name"
}

# check FILE SUMS: whether the file is what the list of check sums says.
check() {
  local name=${1##*/} sum
  sum=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "$2")
  [[ $sum =~ ^[0-9a-f]{64}$ ]] || die "$2 does not say what $name has to be"
  printf '%s  %s\n' "$sum" "$1" | sha256sum --check --status ||
    die "$name is not what SHA256SUMS says: a broken download, or somebody else's file"
}

# A file that was given: whoever can write it can write the sums, too, so what counts is that it arrived whole.
check_beside() {
  local sums
  sums=$(dirname "$1")/SHA256SUMS
  if [ -f "$sums" ]; then
    check "$work/${1##*/}" "$sums"
  else
    say "no SHA256SUMS beside $1: taken as it is"
  fi
}

# fits PACKAGE: whether this system's C library is new enough for it.
fits() {
  local needed there
  needed=$(dpkg-deb --field "$1" Depends | sed -n 's/.*libc6 (>= \([^)]*\)).*/\1/p')
  there=$(dpkg-query --show --showformat '${Version}' libc6 2>/dev/null || true)
  [ -z "$needed" ] || dpkg --compare-versions "$there" ge "$needed"
}

install_package() {
  if [ -e "$INSTALLED" ]; then
    say "taking away the static binary, which the package replaces"
    remove_archive
  fi
  local command=(apt-get install -y -qq --no-install-recommends --reinstall --allow-downgrades "$1")
  # Systems whose package lists were never fetched know nothing of what the package depends on.
  "${command[@]}" >"$work/log" 2>&1 </dev/null && return 0
  apt-get update -qq || true
  "${command[@]}" >"$work/log" 2>&1 </dev/null || {
    cat "$work/log" >&2
    die "apt-get could not install the package; above are its words"
  }
}

install_archive() {
  [ "$(package_status)" != installed ] ||
    die "hanok is installed as a package: take that away first (apt-get remove hanok), or give me the package"
  local tree="$work/tree" file was_active=no
  mkdir "$tree"
  tar -xzf "$1" -C "$tree" --no-same-owner --strip-components=1
  [ -x "$tree/bin/hanok" ] || die "$1 is no archive of hanok"
  "$tree/bin/hanok" version >/dev/null || die "the binary in $1 does not run on $(uname -m)"
  if is_active; then was_active=yes; fi
  (cd "$tree" && find bin lib share -type f | sort) >"$work/files"
  # What the former version had and this one has not.
  if [ -e "$INSTALLED" ]; then remove_listed "$(comm -23 <(sort "$INSTALLED") "$work/files")"; fi
  while IFS= read -r file; do
    install -D -m "$(stat -c %a "$tree/$file")" "$tree/$file" "$LOCAL/$file"
  done <"$work/files"
  install -D -m 644 "$work/files" "$INSTALLED"
  if have restorecon; then (cd "$LOCAL" && xargs restorecon -F <"$INSTALLED") || true; fi
  make_user
  [ -d "$STATE" ] || install -d -m 0700 -o hanok -g hanok "$STATE"
  [ -d /etc/hanok ] || install -d -m 0750 -o root -g hanok /etc/hanok
  if [ -f "$CONFIGURATION" ] && [ ! -L "$CONFIGURATION" ]; then
    chown root:hanok "$CONFIGURATION"
    chmod 0640 "$CONFIGURATION"
  fi
  has_systemd || return 0
  systemctl daemon-reload
  [ ! -x /lib/systemd/systemd-sysctl ] || /lib/systemd/systemd-sysctl 50-hanok.conf >/dev/null 2>&1 || true
  [ "$was_active" = yes ] || return 0
  if hanok check-config >/dev/null 2>&1; then
    systemctl restart hanok.service
  else
    say "hanok was not restarted: this version refuses the configuration, and the former one goes on."
    say "\"hanok check-config\" tells why. Afterwards: systemctl restart hanok"
  fi
}

make_user() {
  if getent passwd hanok >/dev/null 2>&1; then return 0; fi
  if have systemd-sysusers; then
    systemd-sysusers "$LOCAL/lib/sysusers.d/hanok.conf"
  elif have useradd; then
    useradd --system --user-group --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin hanok
  else
    addgroup -S hanok && adduser -S -D -H -h "$STATE" -s /sbin/nologin -G hanok hanok
  fi
}

# configure DOMAIN EMAIL: the first configuration, with a secret that nobody knows yet.
configure() {
  local secret draft=$CONFIGURATION.new sample=/usr/share/hanok/hanok.env
  [ ! -e "$INSTALLED" ] || sample=$LOCAL/share/hanok/hanok.env
  secret=$(head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
  [ ${#secret} = 48 ] || die "/dev/urandom gives nothing"
  secret=OPENVIDU_SECRET=$secret
  # Two forms of one secret would be refused.
  [ ! -e /etc/credstore/OPENVIDU_SECRET ] || secret="# It lies in /etc/credstore/OPENVIDU_SECRET."
  rm -f "$draft"
  (
    umask 077
    cat >"$draft" <<LINES
# The configuration of hanok. Every other key, with its default: $sample
# "hanok check-config" tells what is wrong with it; "systemctl restart hanok" makes it count.

# The domain name or public IP address of this machine.
DOMAIN_OR_PUBLIC_IP=$1

# The password of the REST API and the dashboard (user OPENVIDUAPP).
$secret

# selfsigned (browsers warn), letsencrypt (needs a domain name and LETSENCRYPT_EMAIL), owncert.
CERTIFICATE_TYPE=$([ -n "$2" ] && echo letsencrypt || echo selfsigned)
$([ -n "$2" ] || echo '#')LETSENCRYPT_EMAIL=$2
LINES
  )
  chown root:hanok "$draft"
  chmod 0640 "$draft"
  # Never over a file that came in between.
  ln -T "$draft" "$CONFIGURATION" 2>/dev/null || true
  rm -f "$draft"
  [ -e "$CONFIGURATION" ] || die "$CONFIGURATION cannot be written"
  say "wrote $CONFIGURATION with a new secret"
}

start() {
  has_systemd || return 0
  if [ ! -e "$CONFIGURATION" ] || ! hanok check-config --env-file "$CONFIGURATION" >/dev/null 2>&1; then return 0; fi
  systemctl --quiet enable --now hanok.service || {
    journalctl --unit hanok.service --lines 20 --no-pager >&2 || true
    die "hanok is installed but did not start; above are its last words"
  }
}

firewall() {
  say ""
  if hanok ports 2>/dev/null; then return 0; fi
  say "Ports to open in the firewall, with the defaults:"
  local rule
  for rule in 80/tcp 443/tcp 3478 40000:57000/udp 40000:57000/tcp; do say "  ufw allow $rule"; done
}

next_steps() {
  say ""
  if is_active; then
    say "hanok is running. Next:"
    say "  hanok doctor             what would keep calls from working here, and what mends it"
    say "  journalctl -u hanok -f   what it says"
    say "  the secret for your application is OPENVIDU_SECRET in $CONFIGURATION"
    return 0
  fi
  say "hanok is not running yet. Next:"
  if [ ! -e "$CONFIGURATION" ] && [ -e "$OPENVIDU/.env" ]; then
    say "  hanok migrate --from $OPENVIDU --dry-run   what moving over means; without --dry-run it is done,"
    say "                                               and nothing in $OPENVIDU is changed"
  elif ! hanok check-config >/dev/null 2>&1; then
    say "  write what is missing into $CONFIGURATION, DOMAIN_OR_PUBLIC_IP above all"
    say "  hanok check-config       until it finds nothing"
  fi
  say "  hanok doctor             what would keep calls from working here, and what mends it"
  if has_systemd; then
    say "  systemctl enable --now hanok"
  else
    say "  there is no systemd here: start \"hanok serve\" as the user hanok"
  fi
}

take_away() {
  local status verb=remove
  [ "$1" = no ] || verb=purge
  status=$(package_status)
  if [ "$status" = installed ] || { [ "$verb" = purge ] && [ "$status" = config-files ]; }; then
    apt-get "$verb" -y -qq hanok </dev/null
  elif [ -e "$INSTALLED" ]; then
    remove_archive
  else
    say "hanok is not installed"
  fi
  if [ "$verb" = purge ]; then purge_state; fi
  local kept
  for kept in "$CONFIGURATION" "$STATE"; do
    [ ! -e "$kept" ] || say "kept: $kept"
  done
}

remove_archive() {
  if has_systemd; then systemctl --quiet disable --now "${UNITS[@]}" 2>/dev/null || true; fi
  remove_listed "$(cat "$INSTALLED")"
  rm -f "$INSTALLED"
  rmdir --ignore-fail-on-non-empty "$LOCAL/share/hanok" 2>/dev/null || true
  if has_systemd; then systemctl daemon-reload; fi
}

# remove_listed FILES: and the folders that they leave empty.
remove_listed() {
  local file folder
  while IFS= read -r file; do
    [[ $file =~ ^(bin|lib|share)/ && $file != *..* ]] || continue
    rm -f "$LOCAL/$file"
    folder=$(dirname "$file")
    while [[ $folder == */* && $folder != share/man ]]; do
      rmdir --ignore-fail-on-non-empty "$LOCAL/$folder" 2>/dev/null || true
      folder=$(dirname "$folder")
    done
  done <<<"$1"
}

# As the package does it.
purge_state() {
  if [ -d "$STATE" ]; then
    find "$STATE" -xdev -mindepth 1 -maxdepth 1 ! -name recordings -exec rm -rf {} +
    rmdir --ignore-fail-on-non-empty "$STATE"
  fi
  [ ! -d /etc/hanok ] || rmdir --ignore-fail-on-non-empty /etc/hanok
}

# In braces, which have to be closed: not even a cut in this very line does anything.
{ main "$@"; exit; }
