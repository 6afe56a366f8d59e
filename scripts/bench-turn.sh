# shellcheck shell=bash
# Sourced by scripts/bench: TURN servers under the load of `hanok loadtest turn`, in a network of their own.

# What a case asks of the generator. SOURCES stands for a network of many client addresses, FEW for one of as many as get
# all their answers: hanok bounds those of a source, and coturn keeps 18 kB for each. Saturated unless it says --rate; in
# the pairs half as much is on its way through half as many flows, since coturn's relay sockets hold no more. Cases
# without a line here have a function of their own: turn_case_NAME.
declare -A TURN_CASES=(
  [up-172]="up --size 172"
  [down-172]="down --size 172"
  [up-1200x8]="up --size 1200 --run 8"
  [down-1200x8]="down --size 1200 --run 8"
  [up-1200x8-merged]="up --size 1200 --run 8 --merge"
  [down-1200x8-merged]="down --size 1200 --run 8 --merge"
  [pair-172]="pair --size 172 --in-flight 1024"
  [pair-1200x8]="pair --size 1200 --run 8 --in-flight 1024"
  [pair-1200x8-merged]="pair --size 1200 --run 8 --merge --in-flight 1024"
  [up-172-paced]="up --size 172 --rate 20000 --poll-us 0"
  [down-172-paced]="down --size 172 --rate 20000 --poll-us 0"
  [allocate]="allocate --allocations 10000 --sources SOURCES"
  [binding]="binding --sources FEW"
)
TURN_ORDER=(own-sfu crossing pair-172 pair-1200x8 pair-1200x8-merged up-1200x8 down-1200x8 up-1200x8-merged down-1200x8-merged
  up-172 down-172 up-172-paced down-172-paced memory memory-with-channel allocate binding flood start base-memory)
# name: what is measured | unit | higher or lower is better | goal
declare -A TURN_TITLES=(
  [own-sfu]="client → own SFU, 172 B, 200 k/s: added by TURN|µs per packet|lower|G1: ≤ 0.25 µs"
  [crossing]="client → own SFU on another worker, 40 k/s: added by the crossing|µs per packet|lower|reported"
  [pair-172]="client → client, 172 B|k per CPU-s|higher|G2: ≥ 2.3"
  [pair-1200x8]="client → client, 1200 B × 8|k per CPU-s|higher|G3: ≥ 3.5"
  [pair-1200x8-merged]="the same, receiver merges|k per CPU-s|higher|G3: ≥ 3.5"
  [up-1200x8]="client → peer, 1200 B × 8|k per CPU-s|higher|G4: ≥ 2.2"
  [down-1200x8]="peer → client, 1200 B × 8|k per CPU-s|higher|G4: ≥ 2.2"
  [up-1200x8-merged]="client → peer, 1200 B × 8, receiver merges|k per CPU-s|higher|G4: ≥ 2.2"
  [down-1200x8-merged]="peer → client, 1200 B × 8, receiver merges|k per CPU-s|higher|G4: ≥ 2.2"
  [up-172]="client → peer, 172 B|k per CPU-s|higher|G5: ≥ 1.15"
  [down-172]="peer → client, 172 B|k per CPU-s|higher|G5: ≥ 1.15"
  [up-172-paced]="client → peer, 172 B, 20 k/s|k per CPU-s|higher|G6: ≥ 1.8"
  [down-172-paced]="peer → client, 172 B, 20 k/s|k per CPU-s|higher|G6: ≥ 1.8"
  [memory]="memory of an idle allocation (5,000)|bytes|lower|G7: ≤ 1.0 kB"
  [memory-with-channel]="the same with a channel to a peer (3,000)|bytes|lower|≤ 2 kB"
  [allocate]="allocations, challenge and retry|k per CPU-s|higher|G8: ≥ 4"
  [binding]="Binding|k per CPU-s|higher|G9: ≥ 1.4"
  [flood]="memory grown by each forged Allocate at 100 k/s, 5 k/s relayed meanwhile|bytes|lower|G10: 0, loss < 1 %"
  [start]="start of the process to the first answer|ms|lower|G11: < 30 ms"
  [base-memory]="memory of the empty server|KiB|lower|"
)
TURN_BEGIN='<!-- scripts/bench turn: begin -->'
TURN_END='<!-- scripts/bench turn: end -->'
TURN_PORT=3478
# Relay ports of all servers; the generator's own lie below, the daemon's media ports between.
TURN_RELAY_PORTS="40000 65535"
TURN_CLIENT_PORTS="20000 32000"
TURN_MEDIA_PORT=39000

# A network in which nothing else happens, and in which the server's peers are not its own addresses: hanok keeps what is
# for an own address inside the process, so clients and peers live elsewhere. WIRE=lo: one namespace with nothing but a
# loopback interface, of which the server has 127.0.0.1 and the generator all others. WIRE=veth: a namespace each.
turn_network() {
  turn_server_ns=hanok-bench-s$$ turn_client_ns=hanok-bench-s$$
  turn_server_ip=127.0.0.1 turn_client_ip=127.0.0.2 turn_allowed=127.0.0.0/8
  turn_sources=127.64.0.0/16 turn_few=127.65.0.0/23 turn_forged=127.128.0.0/12
  ip netns add "$turn_server_ns"
  ip -n "$turn_server_ns" link set lo up
  if [ "$WIRE" = veth ]; then
    turn_client_ns=hanok-bench-c$$
    turn_server_ip=10.214.2.1 turn_client_ip=10.214.2.2 turn_allowed=10.0.0.0/8
    turn_sources=10.64.0.0/16 turn_few=10.64.0.0/23 turn_forged=10.128.0.0/12
    ip netns add "$turn_client_ns"
    ip -n "$turn_client_ns" link set lo up
    ip -n "$turn_server_ns" link add wire0 type veth peer name wire0 netns "$turn_client_ns"
    ip -n "$turn_server_ns" addr add "$turn_server_ip/24" dev wire0
    ip -n "$turn_client_ns" addr add "$turn_client_ip/24" dev wire0
    ip -n "$turn_server_ns" link set wire0 up
    ip -n "$turn_client_ns" link set wire0 up
    # Every address of these is the generator's.
    for network in "$turn_sources" "$turn_forged"; do
      ip -n "$turn_client_ns" route add local "$network" dev lo
      ip -n "$turn_server_ns" route add "$network" via "$turn_client_ip"
    done
  fi
  for namespace in "$turn_server_ns" "$turn_client_ns"; do
    ip netns exec "$namespace" sysctl -qw "net.ipv4.ip_local_port_range=$TURN_CLIENT_PORTS"
  done
}

turn_clean() {
  stop_turn_server
  for namespace in "$turn_server_ns" "$turn_client_ns"; do
    ip netns del "$namespace" 2>/dev/null || true
  done
  rm -rf "$WORK"
}

# exec_turn_SERVER FOLDER SECRET: becomes the server, which has written what it needs into FOLDER. Another server is
# measured by another function of this kind, and its name in SERVERS.
exec_turn_coturn() {
  local folder=$1 secret=$2
  # shellcheck disable=SC2086 # the ports are two words
  set -- "$folder" "$secret" $TURN_RELAY_PORTS
  exec turnserver -n --listening-ip="$turn_server_ip" --relay-ip="$turn_server_ip" --listening-port=$TURN_PORT \
    --relay-threads=1 --min-port="$3" --max-port="$4" --no-tls --no-dtls --no-cli --realm=openvidu \
    --use-auth-secret --static-auth-secret="$secret" --allow-loopback-peers \
    --userdb="$folder/users" --pidfile="$folder/pid" --log-file=/dev/null --no-stdout-log
}

exec_turn_hanok() {
  local folder=$1 secret=$2
  # shellcheck disable=SC2086 # the ports are two words
  set -- "$folder" "$secret" $TURN_RELAY_PORTS
  cat >"$folder/env" <<EOF_ENV
DOMAIN_OR_PUBLIC_IP=$turn_server_ip
OPENVIDU_SECRET=not-used-by-anybody
CERTIFICATE_TYPE=selfsigned
HTTPS_PORT=8443
HTTP_PORT=8080
HANOK_PLAIN_LISTEN=
HANOK_BIND=$turn_server_ip
HANOK_WORKERS=${TURN_WORKERS:-1}
HANOK_MEDIA_MIN_PORT=$TURN_MEDIA_PORT
HANOK_MEDIA_MAX_PORT=$((TURN_MEDIA_PORT + 99))
HANOK_STATE_DIR=$folder/state
HANOK_LOG=warn
COTURN_PORT=$TURN_PORT
COTURN_MIN_PORT=$3
COTURN_MAX_PORT=$4
COTURN_SHARED_SECRET_KEY=$secret
HANOK_TURN_ALLOWED_PEERS=$turn_allowed
EOF_ENV
  exec env -i PATH="$PATH" "$HANOK_BIN" serve --env-file "$folder/env"
}

# load ARGUMENTS …: the generator on the second core; prints a line of JSON.
load() {
  # shellcheck disable=SC2086 # the prefix may be several words
  COTURN_SHARED_SECRET_KEY=$turn_secret ip netns exec "$turn_client_ns" $RUN_WITH taskset -c 1 \
    "$HANOK_BIN" loadtest turn "$@" --url "turn:$turn_server_ip:$TURN_PORT" --bind "$turn_client_ip" --json
}

# Starts a server on the first core; sets server_pid, turn_started_ms (to its first answer) and turn_base_rss.
start_turn_server() {
  local server=$1 folder=$WORK/$1 begun asking
  rm -rf "$folder" && mkdir -p "$folder"
  turn_secret=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
  # Whoever is to see the first answer asks before there is a server.
  load answer --duration 20 >"$folder/answer" &
  asking=$!
  sleep 0.4
  export -f "exec_turn_$server"
  export HANOK_BIN turn_server_ip turn_allowed TURN_PORT TURN_RELAY_PORTS TURN_MEDIA_PORT
  begun=$EPOCHREALTIME
  # shellcheck disable=SC2086 # the prefix may be several words
  ip netns exec "$turn_server_ns" $RUN_WITH taskset -c 0 \
    bash -c "exec_turn_$server \"\$@\"" bash "$folder" "$turn_secret" >"$folder/log" 2>&1 &
  server_pid=$!
  if ! wait "$asking"; then
    cat "$folder/log" >&2
    die "$server does not answer"
  fi
  turn_started_ms=$(jq -r --arg begun "$begun" '.answered_at_unix_ms - ($begun | tonumber * 1000)' "$folder/answer")
  # What is only done once settles.
  sleep 0.7
  turn_base_rss=$(awk '$1 == "VmRSS:" { print $2 }' "/proc/$server_pid/status")
}

stop_turn_server() {
  [ -n "$server_pid" ] || return 0
  kill "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=
}

# What a run says of an ordinary case: `value` is what the table shows.
turn_load() {
  local case=$1 arguments
  arguments=${TURN_CASES[$case]//SOURCES/$turn_sources}
  arguments=${arguments//FEW/$turn_few}
  # shellcheck disable=SC2086 # several words
  load $arguments --pid "$server_pid" --duration "$SECONDS_EACH" | jq -c '. + {value: (.server.counted_per_cpu_second / 1000)}'
}

# What TURN adds to a packet that is for our own SFU. No client of another kind can be compared with: the same datagrams,
# which begin like RTP, go to the worker's media port twice, straight and through an allocation. Both times the worker
# receives, looks up who that is, finds nobody and drops; the difference in processor time is what TURN adds. They leave in
# the small bursts of a sleeping generator, the same both times, so that wake-ups weigh alike. To other servers, which have
# no SFU, all that they spend on a packet is added: the SFU has to receive it again.
turn_case_own-sfu() {
  local server=$1 straight relayed
  local common=(--size 172 --rate 200000 --poll-us 200 --pid "$server_pid" --duration "$SECONDS_EACH")
  if [ "$server" != hanok ]; then
    load up "${common[@]}" | jq -c '. + {value: .server.cpu_us_each}'
    return
  fi
  straight=$(load direct "${common[@]}" --peer "$turn_server_ip:$TURN_MEDIA_PORT")
  relayed=$(load up "${common[@]}" --peer "$turn_server_ip:$TURN_MEDIA_PORT")
  jq -c --argjson straight "$straight" '. + {
    value: (.server.cpu_us_each - $straight.server.cpu_us_each),
    straight_us: $straight.server.cpu_us_each,
    valid: (.valid and $straight.valid), invalid_because: (.invalid_because + $straight.invalid_because)}' <<<"$relayed"
}

# What it costs that the client's allocation and the transport live on different workers. A daemon with two of them, on one
# core; the port of the relayed address tells on which one an allocation is, since each has a half of the relay ports, and
# clients of both send first to their own worker's media port, then to the other one's. The difference in processor time is
# the ring between them and the other thread's waking. Other servers have nothing of the kind.
turn_case_crossing() {
  local first last upper same other
  local common=(--size 172 --rate 40000 --poll-us 200 --pid "$server_pid" --duration "$SECONDS_EACH")
  read -r first last <<<"$TURN_RELAY_PORTS"
  upper=$((first + (last - first + 1) / 2))
  same=$turn_server_ip:$TURN_MEDIA_PORT other=$turn_server_ip:$((TURN_MEDIA_PORT + 1))
  load up "${common[@]}" --peer "$same" --upper-peer "$upper=$other" >"$WORK/same"
  load up "${common[@]}" --peer "$other" --upper-peer "$upper=$same" |
    jq -c --slurpfile same "$WORK/same" '$same[0] as $same | . + {
      value: (.server.cpu_us_each - $same.server.cpu_us_each), same_worker_us: $same.server.cpu_us_each,
      valid: (.valid and $same.valid), invalid_because: (.invalid_because + $same.invalid_because)}'
}

turn_case_memory() {
  # Whether the server was busy all the time does not matter here.
  load allocate --allocations 5000 --sources "$turn_sources" --pid "$server_pid" |
    jq -c '. + {value: .server.rss_per_allocation, valid: true}'
}

turn_case_memory-with-channel() {
  load idle --allocations 3000 --sources "$turn_sources" --pid "$server_pid" --duration 1 |
    jq -c '. + {value: .server.rss_per_allocation}'
}

# Requests from as many addresses, a million for hanok, and an established stream meanwhile. Other servers get them for one
# second only: coturn keeps 18 kB for each, and the machine is to survive it.
turn_case_flood() {
  local seconds=1 stream flood
  [ "$1" != hanok ] || seconds=10
  load up --size 172 --rate 5000 --duration "$seconds" --pid "$server_pid" >"$WORK/stream" &
  stream=$!
  sleep 0.5
  flood=$(load flood --rate 100000 --sources "$turn_forged" --warm-up 0 --duration "$seconds" --pid "$server_pid") || true
  wait "$stream" || true
  [ -n "$flood" ] || return 1
  jq -c --argjson flood "$flood" '. + {
    flood: $flood, value: (($flood.server.rss_after_kib - $flood.server.rss_before_kib) * 1024 / $flood.counted.count),
    valid: (.valid and $flood.valid), invalid_because: (.invalid_because + $flood.invalid_because)}' "$WORK/stream"
}

# Whoever did not ask before the server was there has not seen its first answer.
turn_case_start() {
  jq -c --argjson value "$turn_started_ms" '{value: $value, valid: (.seconds * 1000 > $value),
    invalid_because: ["the generator was not there in time"]}' "$WORK/$1/answer"
}
turn_case_base-memory() { jq -nc --argjson value "$turn_base_rss" '{value: $value, valid: true}'; }

# one_turn_run SERVER CASE: one line of JSON. A run in which the generator was late or the bottleneck is no result and is
# repeated, thrice at most.
one_turn_run() {
  local server=$1 case=$2 json attempt
  export TURN_WORKERS=1
  [ "$case" != crossing ] || TURN_WORKERS=2
  for attempt in 1 2 3; do
    start_turn_server "$server"
    if [ -n "${TURN_CASES[$case]:-}" ]; then
      json=$(turn_load "$case") || true
    else
      json=$("turn_case_$case" "$server") || true
    fi
    stop_turn_server
    [ -n "$json" ] || json='{"valid":false,"invalid_because":["there is no result"]}'
    if [ "$(jq -r .valid <<<"$json")" = true ]; then break; fi
    printf '%s %s, attempt %s: %s\n' "$server" "$case" "$attempt" \
      "$(jq -r '.invalid_because | join("; ")' <<<"$json")" >&2
  done
  jq -c --arg server "$server" --arg case "$case" '. + {server_name: $server, case_name: $case}' <<<"$json"
}

# turn_table RESULTS: medians of the valid runs, and ratios to coturn, as a table in Markdown.
turn_table() {
  jq -rs --argjson titles "$(for name in "${TURN_ORDER[@]}"; do printf '%s|%s\n' "$name" "${TURN_TITLES[$name]}"; done |
    jq -Rn '[inputs / "|"] | to_entries | map({key: .value[0],
      value: {order: .key, title: .value[1], unit: .value[2], better: .value[3], goal: .value[4]}}) | from_entries')" '
    def median: sort | if length == 0 then null else .[(length / 2) | floor] end;
    def round($digits): pow(10; $digits) as $scale | . * $scale | round / $scale;
    def short: if . == null then "–" elif fabs < 10 then round(2) elif fabs < 100 then round(1) else round(0) end;
    def of(f): map(f | select(. != null)) | median;
    def three(f): map(f // empty) | if length == 0 then "" else "\(of(.p50) | round(2)) / \(of(.p99) | round(2)) / \(of(.max) | round(1))" end;
    "| measured | server | median (range) | unit | to coturn | goal | of a core | loss | latency p50 / p99 / max, ms | runs |",
    "|---|---|---|---|---|---|---|---|---|---|",
    (group_by($titles[.case_name].order)[] | $titles[.[0].case_name] as $is
      | (map(select(.server_name == "coturn" and .valid)) | of(.value)) as $coturn
      | group_by(.server_name)[] | .[0].server_name as $server | map(select(.valid))
      | of(.value) as $value
      | (if $coturn == null or $value == null or $server == "coturn" then ""
         elif $is.better == "higher" then "\($value / $coturn | round(2)) ×"
         elif $value <= 0 then "none of \($coturn | short)"
         elif $value > $coturn then "\($value / $coturn | round(2)) × more"
         else "\($coturn / $value | round(1)) × less" end) as $ratio
      | "| \($is.title) | \($server) | **\($value | short)** (\(map(.value) | min | short)–\(map(.value) | max | short)) | \($is.unit) | \($ratio) | \($is.goal) | \(of(.server.cpu_percent) | if . == null then "" else "\(round(0)) %" end) | \(of(.datagrams.lost_percent) | if . == null then "" else "\(round(3)) %" end) | \(three(.latency_ms)) | \(length) |")
  ' "$1"
}

bench_turn() {
  local whole=no results run case server
  need jq jq taskset util-linux ip iproute2 turnserver coturn sysctl procps
  RUNS=${RUNS:-3} SECONDS_EACH=${SECONDS_EACH:-3} RUN_WITH=${RUN_WITH:-} WIRE=${WIRE:-lo}
  read -ra servers <<<"${SERVERS:-coturn hanok}"
  if [ $# = 0 ]; then
    whole=yes
    set -- "${TURN_ORDER[@]}"
  fi
  for case in "$@"; do
    [ -n "${TURN_TITLES[$case]:-}" ] || die "no such case: $case (there are: ${TURN_ORDER[*]})"
  done
  for server in "${servers[@]}"; do
    [ "$(type -t "exec_turn_$server")" = function ] || die "no such server: $server"
  done
  [ "$(id -u)" = 0 ] || die "this needs root, for a network of its own"
  [ "$(nproc)" -ge 2 ] || die "this needs two cores: one for the server, one for the generator"
  ulimit -n "$(ulimit -Hn)"
  if [ -z "${HANOK_BIN:-}" ]; then
    cargo build --release
    HANOK_BIN=target/release/hanok
  fi
  HANOK_BIN=$(realpath "$HANOK_BIN")
  WORK=$(mktemp -d) server_pid=
  trap turn_clean EXIT
  turn_network
  results=${RESULTS:-${TMPDIR:-/tmp}/hanok-bench-turn-$(date +%s).jsonl}
  : >"$results"
  # Interleaved, so that what else the machine does falls on all alike.
  for run in $(seq "$RUNS"); do
    for case in "$@"; do
      for server in "${servers[@]}"; do
        [ "$case" != crossing ] || [ "$server" = hanok ] || continue
        one_turn_run "$server" "$case" >>"$results"
        printf 'run %s: %s\n' "$run" "$(tail -n 1 "$results" | jq -r '"\(.server_name) \(.case_name): \(.value), \(.datagrams.lost_percent // 0) % lost, latency p99 \(.latency_ms.p99 // 0) ms"')" >&2
      done
    done
  done
  printf 'all results: %s\n' "$results" >&2
  turn_table "$results" | tee "$WORK/table"
  if [ "$whole" = yes ]; then
    # shellcheck disable=SC2016 # the command's name is to stand there
    { printf '\n`WIRE=%s scripts/bench turn`, %s, %s runs of %s s, coturn %s, load of the machine besides: %s.\n\n' \
        "$WIRE" "$(date +%F)" "$RUNS" "$SECONDS_EACH" "$(dpkg-query -W -f '${Version}' coturn 2>/dev/null || true)" \
        "$(cut -d' ' -f1-3 /proc/loadavg)"
      cat "$WORK/table"; printf '\n'; } >"$WORK/section"
    write_section "$TURN_BEGIN" "$TURN_END" "$WORK/section"
  fi
}
