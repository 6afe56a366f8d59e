# shellcheck shell=bash
# Sourced by scripts/bench: reverse proxies under the load of wrk, with one upstream, in a network of their own.

# What is fetched, and what wrk is told. Connections are kept, but in `fresh` (result.lua).
declare -A PROXY_CASES=(
  [small]="small --connections 32"
  [1mb]="large --connections 16"
  [fresh]="small --connections 16"
)
PROXY_ORDER=(small 1mb fresh)
# what is measured | goal, as a share of nginx
declare -A PROXY_TITLES=(
  [small]="body of 1 KiB|0.8"
  [1mb]="body of 1 MiB|0.8"
  [fresh]="body of 1 KiB, a connection for each|"
)
PROXY_BEGIN='<!-- scripts/bench proxy: begin -->'
PROXY_END='<!-- scripts/bench proxy: end -->'
PROXY_IP=127.0.0.1
PROXY_PORT=8443
PROXY_UPSTREAM=$PROXY_IP:8080

# A loopback interface on which nothing else happens, one certificate for all, and what is fetched.
proxy_stage() {
  proxy_ns=hanok-bench-p$$
  ip netns add "$proxy_ns"
  ip -n "$proxy_ns" link set lo up
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$PROXY_IP" \
    -addext "subjectAltName=IP:$PROXY_IP" -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2>/dev/null
  mkdir "$WORK/files"
  head -c 1024 /dev/urandom >"$WORK/files/small"
  head -c 1048576 /dev/urandom >"$WORK/files/large"
  chmod 755 "$WORK" "$WORK/files"
  cat >"$WORK/result.lua" <<'EOF_LUA'
if os.getenv("WRK_CASE") == "fresh" then wrk.headers["Connection"] = "close" end
-- wrk's own summary has no percentile that a script could read.
done = function(summary, latency)
  local errors = summary.errors
  local file = io.open(os.getenv("WRK_RESULT"), "w")
  file:write(string.format(
    '{"requests":%d,"seconds":%.6f,"bytes":%d,"errors":%d,"latency_ms":{"p50":%.3f,"p99":%.3f,"max":%.3f}}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
  file:close()
end
EOF_LUA
  proxy_write_nginx "$WORK/upstream" "
    server { listen $PROXY_UPSTREAM reuseport; root $WORK/files; sendfile on; tcp_nopush on; }"
  # The generator's core is also the upstream's.
  proxy_run 1 nginx -p "$WORK/upstream" -c conf >"$WORK/upstream.log" 2>&1 &
  upstream_pid=$!
}

# proxy_run CORE COMMAND …: in the network, on one core.
proxy_run() {
  # shellcheck disable=SC2086 # the prefix may be several words
  exec ip netns exec "$proxy_ns" ${RUN_WITH:-} taskset -c "$@"
}

# proxy_write_nginx FOLDER SERVERS: one worker that keeps its connections and writes no log.
proxy_write_nginx() {
  mkdir -p "$1"
  cat >"$1/conf" <<EOF_NGINX
user root;
daemon off;
worker_processes 1;
pid $1/pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path $1/client; proxy_temp_path $1/proxy; fastcgi_temp_path $1/fastcgi;
  uwsgi_temp_path $1/uwsgi; scgi_temp_path $1/scgi;
  $2
}
EOF_NGINX
}

# exec_proxy_SERVER FOLDER: becomes the proxy, on the first core. Another one is measured by another function of this
# kind, and its name in SERVERS. All keep connections to the upstream; none writes a line for each request.
exec_proxy_nginx() {
  # What does not fit its buffers waits in the upstream's, not in a file.
  proxy_write_nginx "$1" "
    upstream application { server $PROXY_UPSTREAM; keepalive 64; keepalive_requests 1000000000; }
    server {
      listen $PROXY_IP:$PROXY_PORT ssl;
      ssl_certificate $WORK/cert.pem; ssl_certificate_key $WORK/key.pem;
      ssl_protocols TLSv1.2 TLSv1.3;
      location / {
        proxy_pass http://application;
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_set_header Host \$host;
        proxy_set_header X-Real-IP \$remote_addr;
        proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto \$scheme;
        proxy_max_temp_file_size 0;
      }
    }"
  proxy_run 0 nginx -p "$1" -c conf
}

exec_proxy_caddy() {
  cat >"$1/Caddyfile" <<EOF_CADDY
{
  admin off
  auto_https off
  storage file_system $1/storage
}
https://$PROXY_IP:$PROXY_PORT {
  tls $WORK/cert.pem $WORK/key.pem
  reverse_proxy $PROXY_UPSTREAM
}
EOF_CADDY
  export HOME=$1
  proxy_run 0 caddy run --adapter caddyfile --config "$1/Caddyfile"
}

exec_proxy_hanok() {
  cat >"$1/env" <<EOF_ENV
DOMAIN_OR_PUBLIC_IP=$PROXY_IP
OPENVIDU_SECRET=not-used-by-anybody
CERTIFICATE_TYPE=owncert
HANOK_CERTIFICATE_FILE=$WORK/cert.pem
HANOK_CERTIFICATE_KEY_FILE=$WORK/key.pem
HTTPS_PORT=$PROXY_PORT
HTTP_PORT=8081
HANOK_APP_UPSTREAM=http://$PROXY_UPSTREAM
HANOK_PLAIN_LISTEN=
HANOK_BIND=$PROXY_IP
HANOK_WORKERS=1
HANOK_ADMIN_LISTEN=
HANOK_CONTROL_SOCKET=$1/control.sock
HANOK_STATE_DIR=$1/state
HANOK_LOG=warn
EOF_ENV
  proxy_run 0 env -i PATH="$PATH" "$HANOK_BIN" serve --env-file "$1/env"
}

# What the proxy hands on is what the upstream has, or the figures are worth nothing.
proxy_is_right() {
  local name
  for name in small large; do
    ip netns exec "$proxy_ns" curl -sf --max-time 5 --cacert "$WORK/cert.pem" "https://$PROXY_IP:$PROXY_PORT/$name" |
      cmp -s - "$WORK/files/$name" || return 1
  done
}

start_proxy() {
  local server=$1 folder=$WORK/$1
  rm -rf "$folder" && mkdir -p "$folder"
  # A subshell that becomes the proxy, so that its number is the proxy's.
  ("exec_proxy_$server" "$folder") >"$folder/log" 2>&1 &
  server_pid=$!
  for _ in $(seq 100); do
    kill -0 "$server_pid" 2>/dev/null || break
    if proxy_is_right; then return 0; fi
    sleep 0.1
  done
  cat "$folder/log" "$WORK/upstream.log" >&2
  die "$server does not hand on what the upstream has"
}

# Processor time of the proxy and its children so far, in nanoseconds.
proxy_cpu_ns() {
  local pid pids
  read -ra pids <"/proc/$server_pid/task/$server_pid/children" || true
  for pid in "$server_pid" "${pids[@]}"; do cat "/proc/$pid"/task/*/schedstat; done |
    awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# proxy_load CASE SECONDS: prints wrk's result.
proxy_load() {
  local file arguments
  read -r file arguments <<<"${PROXY_CASES[$1]}"
  rm -f "$WORK/wrk"
  # shellcheck disable=SC2086 # several words
  (WRK_RESULT=$WORK/wrk WRK_CASE=$1 proxy_run 1 wrk --threads 1 --duration "$2s" --timeout 10s --script "$WORK/result.lua" \
    $arguments "https://$PROXY_IP:$PROXY_PORT/$file") >"$WORK/wrk.log" 2>&1 || { cat "$WORK/wrk.log" >&2; return 1; }
  cat "$WORK/wrk"
}

# one_proxy_run SERVER CASE: one line of JSON.
one_proxy_run() {
  local server=$1 case=$2 json before after
  start_proxy "$server"
  proxy_load "$case" 1 >/dev/null
  before=$(proxy_cpu_ns)
  json=$(proxy_load "$case" "$SECONDS_EACH")
  after=$(proxy_cpu_ns)
  stop_server
  jq -c --arg server "$server" --arg case "$case" --argjson ns $((after - before)) '. + {
    server_name: $server, case_name: $case, cpu_seconds: ($ns / 1e9),
    cpu_percent: ($ns / 1e7 / .seconds), value: (.requests * 1e9 / $ns)}' <<<"$json"
}

# proxy_table RESULTS: medians and the ratio to nginx, as a table in Markdown.
proxy_table() {
  jq -rs --argjson titles "$(for name in "${PROXY_ORDER[@]}"; do printf '%s|%s\n' "$name" "${PROXY_TITLES[$name]}"; done |
    jq -Rn '[inputs / "|"] | to_entries | map({key: .value[0],
      value: {order: .key, title: .value[1], goal: .value[2]}}) | from_entries')" '
    def median: sort | .[(length / 2) | floor];
    def round($digits): pow(10; $digits) as $scale | . * $scale | round / $scale;
    def of(f): map(f) | median;
    "| fetched | proxy | requests per CPU-s (range) | to nginx | goal | of a core | requests, errors | latency p50 / p99 / max, ms | runs |",
    "|---|---|---|---|---|---|---|---|---|",
    (group_by($titles[.case_name].order)[] | $titles[.[0].case_name] as $is
      | (map(select(.server_name == "nginx")) | if length == 0 then null else of(.value) end) as $nginx
      | group_by(.server_name)[] | .[0].server_name as $server
      | (if $nginx == null or $server == "nginx" then "" else "\(of(.value) / $nginx | round(2)) ×" end) as $ratio
      | (if $server == "hanok" and $is.goal != "" then "≥ \($is.goal) ×" else "" end) as $goal
      | "| \($is.title) | \($server) | **\(of(.value) | round(0))** (\(map(.value) | min | round(0))–\(map(.value) | max | round(0))) | \($ratio) | \($goal) | \(of(.cpu_percent) | round(0)) % | \(map(.requests) | add), \(map(.errors) | add) | \(of(.latency_ms.p50) | round(2)) / \(of(.latency_ms.p99) | round(2)) / \(of(.latency_ms.max) | round(1)) | \(length) |")
  ' "$1"
}

proxy_clean() {
  stop_server
  [ -z "$upstream_pid" ] || kill "$upstream_pid" 2>/dev/null || true
  wait 2>/dev/null || true
  ip netns del "$proxy_ns" 2>/dev/null || true
  rm -rf "$WORK"
}

bench_proxy() {
  local whole=no results run case server
  need jq jq curl curl taskset util-linux ip iproute2 openssl openssl cmp diffutils nginx nginx caddy caddy wrk wrk
  RUNS=${RUNS:-3} SECONDS_EACH=${SECONDS_EACH:-5} RUN_WITH=${RUN_WITH:-}
  read -ra servers <<<"${SERVERS:-nginx caddy hanok}"
  if [ $# = 0 ]; then
    whole=yes
    set -- "${PROXY_ORDER[@]}"
  fi
  for case in "$@"; do
    [ -n "${PROXY_CASES[$case]:-}" ] || die "no such case: $case (there are: ${PROXY_ORDER[*]})"
  done
  for server in "${servers[@]}"; do
    [ "$(type -t "exec_proxy_$server")" = function ] || die "no such proxy: $server"
  done
  [ "$(id -u)" = 0 ] || die "this needs root, for a network of its own"
  [ "$(nproc)" -ge 2 ] || die "this needs two cores: one for the proxy, one for the generator and the upstream"
  if [[ " ${servers[*]} " = *" hanok "* ]]; then
    if [ -z "${HANOK_BIN:-}" ]; then
      cargo build --release
      HANOK_BIN=target/release/hanok
    fi
    HANOK_BIN=$(realpath "$HANOK_BIN")
  fi
  WORK=$(mktemp -d) server_pid='' upstream_pid=''
  trap proxy_clean EXIT
  proxy_stage
  results=${RESULTS:-${TMPDIR:-/tmp}/hanok-bench-proxy-$(date +%s).jsonl}
  : >"$results"
  # Interleaved, so that what else the machine does falls on all alike.
  for run in $(seq "$RUNS"); do
    for case in "$@"; do
      for server in "${servers[@]}"; do
        one_proxy_run "$server" "$case" >>"$results"
        printf 'run %s: %s\n' "$run" "$(tail -n 1 "$results" | jq -r '"\(.server_name) \(.case_name): \(.value | round) requests per CPU-s, \(.errors) errors, latency p99 \(.latency_ms.p99) ms"')" >&2
      done
    done
  done
  printf 'all results: %s\n' "$results" >&2
  proxy_table "$results" | tee "$WORK/table"
  if [ "$whole" = yes ]; then
    # shellcheck disable=SC2016 # the command's name is to stand there
    { printf '\n`scripts/bench proxy`, %s, %s runs of %s s, nginx %s, caddy %s, wrk %s, load of the machine besides: %s.\n\n' \
        "$(date +%F)" "$RUNS" "$SECONDS_EACH" "$(dpkg-query -W -f '${Version}' nginx 2>/dev/null || true)" \
        "$(dpkg-query -W -f '${Version}' caddy 2>/dev/null || true)" "$(dpkg-query -W -f '${Version}' wrk 2>/dev/null || true)" \
        "$(cut -d' ' -f1-3 /proc/loadavg)"
      cat "$WORK/table"; printf '\n'; } >"$WORK/section"
    write_section "$PROXY_BEGIN" "$PROXY_END" "$WORK/section"
  fi
}
